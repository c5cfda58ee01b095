package web

import (
	"net/http"
	"slices"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/overview"
)

// homePage is the guide's step 1.
type homePage struct {
	Conversations []*messagingpb.Conversation
	// Empty says why nothing is listed; Waits are the unread replies that are elsewhere.
	Empty string
	Waits []overview.Wait
	// Next is the token of the page after, Hidden whether these are the hidden ones.
	Next   string
	Hidden bool
	Drafts []*messagingpb.Draft
	// Deposit is where documents are sent; empty when nowhere.
	Deposit string
	// ThemeLabels name the themes of drafts.
	ThemeLabels map[string]string
}

// showHome is the guide's step 1: write, send a document, earlier conversations.
func (v *visit) showHome() error {
	page := homePage{Hidden: v.r.FormValue("masquees") != "", ThemeLabels: make(map[string]string)}
	req := &messagingpb.ListConversationsRequest{Hidden: page.Hidden, Audience: v.session.Audience, PageToken: v.r.FormValue("suite")}
	list, err := v.members.ListConversations(v.ctx, req)
	if err != nil {
		return err
	}
	member := overview.Member{Client: v.members, Pages: v.pages, Session: v.session}
	if len(list.GetConversations()) == 0 {
		page.Empty = member.Empty(v.ctx, req)
	}
	if !req.GetHidden() && req.GetPageToken() == "" {
		page.Waits = member.Elsewhere(v.ctx, list)
	}
	v.unread = list.GetUnreadCount()
	page.Conversations, page.Next = list.GetConversations(), list.GetNextPageToken()
	drafts, err := v.members.ListDrafts(v.ctx, &messagingpb.ListDraftsRequest{})
	if err != nil {
		return err
	}
	for _, draft := range drafts.GetDrafts() {
		if slices.Contains(v.session.Audiences(), draft.GetAudience()) {
			page.Drafts = append(page.Drafts, draft)
		}
	}
	// Without the taxonomy, the list of conversations is still worth showing.
	if tree, err := v.tree(); err == nil {
		page.Deposit = tree.GetDocumentDepositUrl()
		for _, theme := range tree.GetThemes() {
			page.ThemeLabels[theme.GetCode()] = theme.GetLabel()
		}
	}
	return v.show(http.StatusOK, "home", page)
}

func (v *visit) hide() error {
	if _, err := v.members.HideConversation(v.ctx, &messagingpb.HideConversationRequest{Id: v.r.PathValue("id")}); err != nil {
		return err
	}
	v.flash(v.tr("La conversation est masquée. Vous la retrouverez dans « Afficher les conversations masquées ».", "The conversation is hidden. You will find it under “Show hidden conversations”."))
	return v.redirect("/messagerie")
}

func (v *visit) unhide() error {
	if _, err := v.members.ShowConversation(v.ctx, &messagingpb.ShowConversationRequest{Id: v.r.PathValue("id")}); err != nil {
		return err
	}
	v.flash(v.tr("La conversation est de nouveau affichée.", "The conversation is shown again."))
	return v.redirect("/messagerie")
}
