// Package member is the members' pages: the guide's screens, from the first page with its
// conversations to a message that is written, sent and answered, and what a member sets and may
// ask of their data. What all pages have in common is in package visit.
//
// # Where things are kept
//
// What a member has begun to write is a draft of the messaging service. Between the recap
// and the sending, the text is in the page's form too: what is sent is what was shown, and
// it is still there when the session or the draft has ended meanwhile. A message is sent
// under the id of its draft as idempotency key: a double click, the back button, a second
// tab and a retry all make one message. The confirmation page is made from the answer to that
// call and from how the member is reached then, which are kept in a sealed cookie for ten
// minutes (package receipt); later the gateway is asked again. That the window of online
// services is still to be opened is in a cookie too (package window), and so are the words of a
// search until it has ended (package inquiry).
//
// # When it breaks
//
// While the taxonomy or the notifier is away, a page says less where the rest is worth showing.
// What was written is in the draft, as far as it was saved, and in the form that is shown again.
package member

import (
	"net/http"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/visit"
)

// visitor is a member who has opened or sent a page.
type visitor struct {
	*visit.Visit
	*gateway
}

// gateway is what members' pages ask.
type gateway struct {
	members    messagingpb.MessagingServiceClient
	deliveries notifierpb.NotifierServiceClient
	taxonomy   taxonomypb.TaxonomyServiceClient
	// watches is for streams of hints.
	watches messagingpb.MessagingServiceClient
}

// Routes are the members' pages. What changes something is a POST that answers with a redirect,
// so that a reload repeats nothing.
func Routes(mux *http.ServeMux, s *visit.Site) {
	g := &gateway{
		members: messagingpb.NewMessagingServiceClient(s.Gateway), deliveries: notifierpb.NewNotifierServiceClient(s.Gateway),
		taxonomy: taxonomypb.NewTaxonomyServiceClient(s.Gateway), watches: messagingpb.NewMessagingServiceClient(s.Watches),
	}
	page := func(pattern string, serve func(*visitor) error) {
		mux.HandleFunc(pattern, s.Member(func(v *visit.Visit) error { return serve(&visitor{v, g}) }))
	}
	static := func(pattern, tag string) { mux.HandleFunc(pattern, s.Member(visit.Static(tag))) }

	page("GET /profil", (*visitor).showProfiles)
	page("POST /profil", (*visitor).setProfile)
	static("GET /espace", "space")
	static("GET /espace/contact", "contact")
	static("GET /espace/messages", "messages")

	page("GET /messagerie", (*visitor).showHome)
	page("POST /messagerie/conversations/{id}/masquer", (*visitor).hide)
	page("POST /messagerie/conversations/{id}/afficher", (*visitor).unhide)
	page("GET /messagerie/conversations/{id}", (*visitor).showConversation)
	page("GET /messagerie/conversations/{id}/texte", (*visitor).exportConversation)
	page("POST /messagerie/conversations/{id}/suite", (*visitor).followUp)
	page("POST /messagerie/conversations/{id}/enregistrer", (*visitor).saveFurther)

	page("GET "+newAt, (*visitor).newMessage)
	page("GET "+searchAt, (*visitor).showFound)
	page("POST "+searchAt, (*visitor).search)
	page("GET "+searchAt+"/service/{service}", (*visitor).useFound)
	page("GET /messagerie/brouillons/{id}/{step}", (*visitor).showStep)
	page("POST /messagerie/brouillons/{id}/{step}", (*visitor).takeStep)
	page("GET /messagerie/brouillons/{id}/service/{service}", (*visitor).useService)
	page("GET /messagerie/confirmation/{id}", (*visitor).showConfirmation)

	page("GET /preferences", (*visitor).showPreferences)
	page("POST /preferences", (*visitor).setPreferences)
	static("GET /donnees-personnelles", "personal")
	page("GET /donnees-personnelles/export", (*visitor).exportMyData)
	page("POST /donnees-personnelles/effacement", (*visitor).eraseMyData)
	page("GET /evenements", (*visitor).watchConversations)
}
