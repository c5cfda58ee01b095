package member

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/found"
	"github.com/ma-messagerie/messagerie/web/internal/overview"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// homePage is the guide's step 1, or a part of its list for itself: what a search has found, what
// is hidden, a further page.
type homePage struct {
	Lines []line
	// Empty says why nothing is listed; Waits are the unread replies that are elsewhere.
	Empty string
	Waits []overview.Wait
	// Words are looked for; Found says what came of it.
	Words, Found string
	// Whole: it is the first page of all that is not hidden; Hidden: these are the hidden ones.
	Whole, Hidden bool
	// Previous and Next are the addresses of the pages around, All that of the first of all, and
	// Back that of the page above.
	Previous, Next, All, Back string
	// Here is the page's own address.
	Here   string
	Drafts []*messagingpb.Draft
	// Deposit is where documents are sent; empty when nowhere.
	Deposit string
	// ThemeLabels name the themes of drafts.
	ThemeLabels map[string]string
}

// line is a conversation in the list.
type line struct {
	*messagingpb.Conversation
	// Labels are the levels of its selection; Expected says by when an answer is due.
	Labels   []string
	Expected string
}

// Changed reports whether anything has happened in it since it was sent.
func (l line) Changed() bool {
	return l.GetUpdateTime() != nil && !l.GetUpdateTime().AsTime().Equal(l.GetCreateTime().AsTime())
}

// home is the address of the list.
const home = "/messagerie"

// showHome is the guide's step 1: write, send a document, earlier conversations.
func (v *visitor) showHome() error {
	v.endSearch(false)
	req := &messagingpb.ListConversationsRequest{
		Hidden: v.R.FormValue("masquees") != "", Audience: v.Session.Audience, PageToken: v.R.FormValue("suite"),
		Q: found.First(strings.TrimSpace(v.R.FormValue("q"))), OrderBy: "unread",
	}
	page := homePage{Words: req.GetQ(), Hidden: req.GetHidden(), All: listPath(req.GetHidden(), "", ""), Back: home, Here: v.R.URL.RequestURI()}
	if page.Words != "" || req.GetPageToken() != "" {
		page.Back = page.All
	}
	list, err := v.members.ListConversations(v.Ctx, req)
	if err != nil {
		return err
	}
	// Whoever has turned back to the first page finds it as it was.
	first := req.GetPageToken() == "" || list.GetPreviousPageToken() == "" && len(list.GetConversations()) > 0
	page.Whole = first && page.Words == "" && !page.Hidden
	member := overview.Member{Client: v.members, Pages: v.Pages, Session: v.Session}
	if len(list.GetConversations()) == 0 {
		page.Empty = member.Empty(v.Ctx, req)
	}
	if page.Words != "" {
		page.Found = v.found(req, list)
	}
	if page.Whole {
		page.Waits = member.Elsewhere(v.Ctx, list)
	}
	v.Unread = list.GetUnreadCount()
	for _, c := range list.GetConversations() {
		page.Lines = append(page.Lines, line{c, desk.Labels(c), v.expected(c)})
	}
	if token := list.GetPreviousPageToken(); token != "" {
		page.Previous = listPath(page.Hidden, page.Words, token)
	}
	if token := list.GetNextPageToken(); token != "" {
		page.Next = listPath(page.Hidden, page.Words, token)
	}
	if page.Whole {
		if err := v.addDoors(&page); err != nil {
			return err
		}
	}
	return v.Show(http.StatusOK, "home", page)
}

// addDoors adds what the first page has besides the list: what was begun, and where documents go.
func (v *visitor) addDoors(page *homePage) error {
	drafts, err := v.members.ListDrafts(v.Ctx, &messagingpb.ListDraftsRequest{})
	if err != nil {
		return err
	}
	for _, draft := range drafts.GetDrafts() {
		// A further message is sent under its conversation's profile, whichever the member acts as.
		if draft.GetConversationId() == "" && draft.GetExcerpt() == "" && draft.GetText() == "" {
			continue // something was chosen, and nothing written
		}
		if draft.GetConversationId() != "" || slices.Contains(v.Session.Audiences(), draft.GetAudience()) {
			page.Drafts = append(page.Drafts, draft)
		}
	}
	page.ThemeLabels = make(map[string]string)
	// Without the taxonomy, the list of conversations is still worth showing.
	if tree, err := v.tree(); err == nil {
		page.Deposit = tree.GetDocumentDepositUrl()
		for _, theme := range tree.GetThemes() {
			page.ThemeLabels[theme.GetCode()] = theme.GetLabel()
		}
	}
	return nil
}

// found says how many conversations a search has found, as far as one page shows.
func (v *visitor) found(req *messagingpb.ListConversationsRequest, list *messagingpb.ListConversationsResponse) string {
	n, words := len(list.GetConversations()), req.GetQ()
	switch {
	case n == 0:
		return "" // why is said instead
	case list.GetPreviousPageToken() != "":
		return v.Tr("Suite des conversations trouvées pour « %s »", "More conversations found for “%s”", words)
	case list.GetNextPageToken() != "":
		return v.Tr("Plus de %d conversations trouvées pour « %s »", "More than %d conversations found for “%s”", n, words)
	case n == 1:
		return v.Tr("Une conversation trouvée pour « %s »", "One conversation found for “%s”", words)
	default:
		return v.Tr("%d conversations trouvées pour « %s »", "%d conversations found for “%s”", n, words)
	}
}

// listPath is the address of a page of the list.
func listPath(hidden bool, words, token string) string {
	query := url.Values{}
	if hidden {
		query.Set("masquees", "1")
	}
	for name, value := range map[string]string{"q": words, "suite": token} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if len(query) == 0 {
		return home
	}
	return home + "?" + query.Encode()
}

func (v *visitor) hide() error {
	if err := v.keepFurther(); err != nil {
		return v.notAdded(v.R.PathValue("id"), v.R.PostFormValue("cle"), v.R.PostFormValue("texte"), err)
	}
	if _, err := v.members.HideConversation(v.Ctx, &messagingpb.HideConversationRequest{Id: v.R.PathValue("id")}); err != nil {
		return err
	}
	v.Flash(v.Tr("La conversation est masquée. Vous la retrouverez dans « Afficher les conversations masquées ».", "The conversation is hidden. You will find it under “Show hidden conversations”."))
	return v.Redirect(v.listOfForm())
}

// listOfForm is the page of the list from which a form was sent; one of another page says none.
func (v *visitor) listOfForm() string {
	return cmp.Or(session.OwnPath(v.R.PostFormValue("retour")), home)
}

func (v *visitor) unhide() error {
	if err := v.keepFurther(); err != nil {
		return v.notAdded(v.R.PathValue("id"), v.R.PostFormValue("cle"), v.R.PostFormValue("texte"), err)
	}
	if _, err := v.members.ShowConversation(v.Ctx, &messagingpb.ShowConversationRequest{Id: v.R.PathValue("id")}); err != nil {
		return err
	}
	v.Flash(v.Tr("La conversation est de nouveau affichée.", "The conversation is shown again."))
	return v.Redirect(v.listOfForm())
}
