package desk

import (
	"net/url"
	"strings"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// Queue is the address of the list without filters, to which pages lead back.
const Queue = "/agent"

// Values of a filter by whose hands a conversation is in, and of the order.
const (
	Mine    = "moi"
	Nobodys = "personne"
	Newest  = "recentes"
	Changed = "modifiees"
	// Everything is the state of all conversations, answered and closed ones too.
	Everything = "toutes"
)

// states are the filters by state. The empty one is what waits for the fund.
var states = map[string][]messagingpb.Status{
	"nouveaux":   {messagingpb.Status_SENT},
	"encours":    {messagingpb.Status_IN_PROGRESS},
	"partielles": {messagingpb.Status_PARTLY_ANSWERED},
	"rouvertes":  {messagingpb.Status_REOPENED},
	"repondues":  {messagingpb.Status_ANSWERED},
	"closes":     {messagingpb.Status_CLOSED},
	Everything: {
		messagingpb.Status_SENT, messagingpb.Status_IN_PROGRESS, messagingpb.Status_PARTLY_ANSWERED, messagingpb.Status_ANSWERED,
		messagingpb.Status_WAITING_FOR_MEMBER, messagingpb.Status_REOPENED, messagingpb.Status_CLOSED,
	},
}

var orders = map[string]string{Newest: "newest", Changed: "changed"}

// Filter is which conversations a list has, and in which order. It is the query of the list's
// address, so that a list can be kept, sent and come back to.
type Filter struct {
	Queue, Theme string
	// Reason is "topic" or "topic/reason", of the theme.
	Reason   string
	Audience taxonomypb.Audience
	// State, Hands and Order are as above; empty: what waits, in anybody's hands, the longest
	// waiting first.
	State, Hands, Order string
}

// FilterOf reads a query. What it does not know, it leaves out.
func FilterOf(query url.Values) Filter {
	f := Filter{
		Queue: query.Get("file"), Theme: query.Get("theme"), Audience: taxonomypb.Audience(taxonomypb.Audience_value[query.Get("profil")]),
		State: query.Get("etat"), Hands: query.Get("mains"), Order: query.Get("ordre"),
	}
	if f.Theme != "" {
		f.Reason = query.Get("motif")
	}
	if states[f.State] == nil {
		f.State = ""
	}
	if f.Hands != Mine && f.Hands != Nobodys {
		f.Hands = ""
	}
	if orders[f.Order] == "" {
		f.Order = ""
	}
	return f
}

// Path is the address of the list.
func (f Filter) Path() string {
	query := url.Values{}
	for name, value := range map[string]string{"file": f.Queue, "theme": f.Theme, "motif": f.Reason, "etat": f.State, "mains": f.Hands, "ordre": f.Order} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.Audience != 0 {
		query.Set("profil", f.Audience.String())
	}
	if len(query) == 0 {
		return Queue
	}
	return Queue + "?" + query.Encode()
}

// Page is the address of the page that a token of the gateway names.
func (f Filter) Page(token string) string {
	at := f.Path()
	if at == Queue {
		return at + "?suite=" + url.QueryEscape(token)
	}
	return at + "&suite=" + url.QueryEscape(token)
}

// Request asks for a page of the list.
func (f Filter) Request(token string) *messagingpb.AgentServiceListConversationsRequest {
	topic, reason, _ := strings.Cut(f.Reason, "/")
	return &messagingpb.AgentServiceListConversationsRequest{
		Queue: f.Queue, Theme: f.Theme, Topic: topic, Reason: reason, Audience: f.Audience, Status: states[f.State],
		Mine: f.Hands == Mine, Unassigned: f.Hands == Nobodys, OrderBy: orders[f.Order], PageToken: token,
	}
}

// Few reports whether the list is by no more than what the form shows first.
func (f Filter) Few() bool {
	return f.Theme == "" && f.Audience == 0 && f.Order == ""
}

// View is one of the usual lists.
type View struct {
	// Name is that of a text in the page.
	Name string
	Path string
	// Here reports whether it is the list that is shown.
	Here bool
}

// Views are the usual lists, each with the queue, theme and profile of this one.
func (f Filter) Views() []View {
	var list []View
	for _, view := range []struct{ name, state, hands, order string }{
		{"waiting", "", "", ""}, {"mine", "", Mine, ""}, {"unassigned", "", Nobodys, ""}, {"answered", "repondues", "", Changed}, {"all", Everything, "", Changed},
	} {
		to := f
		to.State, to.Hands, to.Order = view.state, view.hands, view.order
		list = append(list, View{view.name, to.Path(), to == f})
	}
	return list
}
