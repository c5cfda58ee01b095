// Package overview says what the first page's list of conversations does not show: where else
// unread replies wait, and why it is empty.
//
// # What is promised
//
// The head of each page counts the unread replies of all of a member's profiles, of hidden
// conversations too; the list shows twenty of one profile. Whatever is counted and not listed
// is said, with the way there. A list that is empty because all is hidden, or because the
// conversations are another profile's, does not say that there are none.
//
// # When it breaks
//
// Where the messaging service cannot tell, less is said. Of another profile, or of the hidden
// ones, a hundred unread replies are counted at most.
package overview

import (
	"context"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// looked is how many conversations of each other place are looked through.
const looked = 100

// Member is whose list it is.
type Member struct {
	Client  messagingpb.MessagingServiceClient
	Pages   *render.Pages
	Session *session.Session
}

// Wait is unread replies that the list does not show.
type Wait struct {
	// Text says how many and where.
	Text string
	// Profile is to be changed to first, To where they are, Label what leads there.
	Profile   taxonomypb.Audience
	To, Label string
}

// Elsewhere are the unread replies that are counted and not among those listed, the first
// page of the profile's.
func (m Member) Elsewhere(ctx context.Context, list *messagingpb.ListConversationsResponse) (waits []Wait) {
	left := int(list.GetUnreadCount()) - unread(list)
	for _, audience := range m.others() {
		for _, hidden := range []bool{false, true} {
			if left < 1 || audience == m.Session.Audience && !hidden {
				continue
			}
			more, err := m.Client.ListConversations(ctx, &messagingpb.ListConversationsRequest{Audience: audience, Hidden: hidden, PageSize: looked, OrderBy: "unread"})
			if n := unread(more); err == nil && n > 0 {
				waits = append(waits, m.wait(audience, hidden, n))
				left -= n
			}
		}
	}
	if next := list.GetNextPageToken(); left > 0 && next != "" {
		waits = append(waits, Wait{
			Text: m.number(left) + m.Pages.Tr(" dans les conversations suivantes.", " in the next conversations."),
			To:   "/messagerie?suite=" + next, Label: m.Pages.Tr("Conversations suivantes", "Next conversations"),
		})
	}
	return waits
}

// others are the profiles, the one that the member acts as first.
func (m Member) others() []taxonomypb.Audience {
	list := []taxonomypb.Audience{m.Session.Audience}
	for _, audience := range m.Session.Audiences() {
		if audience != m.Session.Audience {
			list = append(list, audience)
		}
	}
	return list
}

func unread(list *messagingpb.ListConversationsResponse) (n int) {
	for _, c := range list.GetConversations() {
		if c.GetUnread() {
			n++
		}
	}
	return n
}

func (m Member) wait(audience taxonomypb.Audience, hidden bool, n int) Wait {
	p, profile := m.Pages, m.Pages.Audience(audience)
	w := Wait{Text: m.number(n), Profile: audience, To: "/messagerie"}
	if hidden {
		w.To += "?masquees=1"
		w.Text += p.Tr(" dans vos conversations masquées", " in your hidden conversations")
		w.Label = p.Tr("Afficher les conversations masquées", "Show hidden conversations")
	}
	if audience == m.Session.Audience {
		w.Profile = 0
	} else {
		w.Text += p.Tr(" sous le profil %s", " under the %s profile", profile)
		w.Label = p.Tr("Passer au profil %s", "Change to the %s profile", profile)
	}
	w.Text += "."
	return w
}

func (m Member) number(n int) string {
	if n == 1 {
		return m.Pages.Tr("Une réponse non lue vous attend", "An unread reply is waiting for you")
	}
	return m.Pages.Tr("%d réponses non lues vous attendent", "%d unread replies are waiting for you", n)
}

// Empty says why nothing is listed, on the page of a token or on the first, of the hidden
// conversations or of the others, of all or of those that a search has found.
func (m Member) Empty(ctx context.Context, req *messagingpb.ListConversationsRequest) string {
	p, profile := m.Pages, ""
	if len(m.Session.Audiences()) > 1 {
		profile = p.Tr(" sous le profil %s", " under the %s profile", p.Audience(m.Session.Audience))
	}
	switch {
	case req.GetPageToken() != "":
		return p.Tr("Il n’y a pas d’autre conversation.", "There are no other conversations.")
	case req.GetQ() != "" && req.GetHidden():
		return p.Tr("Aucune conversation masquée%s ne correspond à « %s ».", "No hidden conversation%s matches “%s”.", profile, req.GetQ())
	case req.GetQ() != "":
		return p.Tr("Aucune conversation affichée%s ne correspond à « %s ».", "No conversation in your list%s matches “%s”.", profile, req.GetQ())
	case req.GetHidden():
		return p.Tr("Aucune conversation n’est masquée", "No conversation is hidden") + profile + "."
	}
	hidden, err := m.Client.ListConversations(ctx, &messagingpb.ListConversationsRequest{Audience: req.GetAudience(), Hidden: true, PageSize: 1})
	switch {
	case err != nil: // there may be some
		return p.Tr("Aucune conversation n’est affichée", "No conversation is shown") + profile + "."
	case len(hidden.GetConversations()) > 0:
		return p.Tr("Toutes vos conversations sont masquées", "All your conversations are hidden") + profile + "."
	default:
		return p.Tr("Vous n’avez pas encore de conversation", "You have no conversation yet") + profile +
			p.Tr(". Pour poser une question à votre caisse, rédigez un nouveau message.", ". To ask a question, write a new message.")
	}
}
