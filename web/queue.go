package web

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"time"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
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
	back := session.OwnPath(v.r.PostFormValue("retour"))
	if back == "" {
		back = "/agent"
	}
	return v.redirect(back)
}

// queuePage is the agents' queue.
type queuePage struct {
	console
	Conversations []*messagingpb.Conversation
	Queues        []*messagingpb.AgentQueue
	Themes        []writing.Option
	Next          string
	// The filters as they are.
	Queue, Theme, State string
	Now                 time.Time
}

// states are the filters by state, in the order of the form.
var states = map[string][]messagingpb.Status{
	"":           nil, // what waits for the fund
	"nouveaux":   {messagingpb.Status_SENT},
	"encours":    {messagingpb.Status_IN_PROGRESS},
	"partielles": {messagingpb.Status_PARTLY_ANSWERED},
	"rouvertes":  {messagingpb.Status_REOPENED},
	"repondues":  {messagingpb.Status_ANSWERED},
	"closes":     {messagingpb.Status_CLOSED},
}

func (v *visit) showQueue() error {
	page := queuePage{console: v.console(), Queue: v.r.FormValue("file"), Theme: v.r.FormValue("theme"), State: v.r.FormValue("etat"), Now: time.Now()}
	list, err := v.agents.ListConversations(v.ctx, &messagingpb.AgentServiceListConversationsRequest{
		Queue: page.Queue, Theme: page.Theme, Statuses: states[page.State], PageToken: v.r.FormValue("suite"),
	})
	if err != nil {
		return err
	}
	page.Conversations, page.Next = list.GetConversations(), list.GetNextPageToken()
	queues, err := v.agents.ListQueues(v.ctx, &messagingpb.ListQueuesRequest{})
	if err != nil {
		return err
	}
	page.Queues = queues.GetQueues()
	page.Themes = v.themes()
	return v.show(http.StatusOK, "queue", page)
}

// themes are those of all audiences, for filters; none while the taxonomy is away.
func (v *visit) themes() []writing.Option {
	var list []writing.Option
	for _, audience := range []taxonomypb.Audience{taxonomypb.Audience_PARTICULIER, taxonomypb.Audience_EXPLOITANT, taxonomypb.Audience_EMPLOYEUR} {
		tree, err := v.trees.Tree(v.ctx, audience)
		if err != nil {
			continue
		}
		for _, theme := range tree.GetThemes() {
			if !slices.ContainsFunc(list, func(o writing.Option) bool { return o.Code == theme.GetCode() }) {
				list = append(list, writing.Option{Code: theme.GetCode(), Label: theme.GetLabel()})
			}
		}
	}
	return list
}

// Query is the filters without the page, to go on from.
func (p queuePage) Query() template.URL {
	return template.URL(url.Values{"file": {p.Queue}, "theme": {p.Theme}, "etat": {p.State}}.Encode()) //nolint:gosec // encoded: as text, its & would be encoded once more
}

// Waits is how long a conversation has waited, in days and hours.
func (p queuePage) Waits(c *messagingpb.Conversation) (days, hours int) {
	waited := p.Now.Sub(c.GetCreateTime().AsTime())
	return int(waited.Hours()) / 24, int(waited.Hours()) % 24
}

// Days is the first part of Waits, for templates.
func (p queuePage) Days(c *messagingpb.Conversation) int { days, _ := p.Waits(c); return days }

// Hours is the second.
func (p queuePage) Hours(c *messagingpb.Conversation) int { _, hours := p.Waits(c); return hours }
