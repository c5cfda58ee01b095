package web

import (
	"net/http"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// shortcutsCookie is how an agent has set single-key shortcuts: "non" is off.
const shortcutsCookie = "__Host-raccourcis"

// console is what every page of the agents' has.
type console struct {
	// Shortcuts are on unless switched off (WCAG 2.1.4).
	Shortcuts bool
}

func (v *visit) console() console {
	cookie, err := v.r.Cookie(shortcutsCookie)
	return console{Shortcuts: err != nil || cookie.Value != "non"}
}

func (v *visit) setShortcuts() error {
	on := "non"
	if v.r.PostFormValue("actifs") == "oui" {
		on = "oui"
	}
	session.SetCookie(v.w, shortcutsCookie, on, 365*24*3600)
	return v.redirect(desk.BackOf(v.r.PostFormValue("retour")))
}

// queuePage is the agents' list.
type queuePage struct {
	console
	desk.Filter
	Conversations   []*messagingpb.Conversation
	Queues          []*messagingpb.AgentQueue
	Themes, Reasons []writing.Option
	// Next is the address of the next page; empty on the last.
	Next string
}

func (v *visit) showQueue() error {
	page := queuePage{console: v.console(), Filter: desk.FilterOf(v.r.Form)}
	list, err := v.agents.ListConversations(v.ctx, page.Request(v.r.FormValue("suite")))
	if err != nil {
		return err
	}
	page.Conversations = list.GetConversations()
	if next := list.GetNextPageToken(); next != "" {
		page.Next = page.Page(next)
	}
	queues, err := v.agents.ListQueues(v.ctx, &messagingpb.ListQueuesRequest{})
	if err != nil {
		return err
	}
	page.Queues = queues.GetQueues()
	page.Themes = v.trees.Themes(v.ctx)
	if page.Theme != "" {
		page.Reasons = v.trees.Reasons(v.ctx, page.Theme)
	}
	return v.show(http.StatusOK, "queue", page)
}
