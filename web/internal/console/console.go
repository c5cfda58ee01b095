// Package console is the agents' pages: the lists of conversations, one conversation with all
// that can be done with it, the search, the audit, the figures and the templates of replies.
// What these are made of is in package desk, what all pages have in common in package visit.
//
// # Where things are kept
//
// What an agent has typed into a conversation's page is a draft of the messaging service, as far
// as the page's script has saved it or something else was done with the conversation. It is in
// the form too, and in the page that answers it for as long as it was not taken, whatever the
// reason (package desk). Which list a conversation was opened from is in
// its address; what is looked for is in none.
//
// # When it breaks
//
// What somebody may see is decided by the services behind the gateway: a link or a button that is
// shown may be refused. While the taxonomy or the notifier is away, the rest of a page is shown.
package console

import (
	"net/http"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/visit"
)

// visitor is an agent who has opened or sent a page.
type visitor struct {
	*visit.Visit
	*gateway
}

// gateway is what agents' pages ask.
type gateway struct {
	agents     messagingpb.AgentServiceClient
	deliveries notifierpb.AgentServiceClient
	taxonomy   taxonomypb.TaxonomyServiceClient
	// watches is for streams of hints.
	watches messagingpb.AgentServiceClient
}

// Routes are the agents' pages. What changes something is a POST that answers with a redirect,
// so that a reload repeats nothing. Searches are POSTs too: what is looked for is sealed
// in the address of the page that they lead to.
func Routes(mux *http.ServeMux, s *visit.Site) {
	g := &gateway{
		agents: messagingpb.NewAgentServiceClient(s.Gateway), deliveries: notifierpb.NewAgentServiceClient(s.Gateway),
		taxonomy: taxonomypb.NewTaxonomyServiceClient(s.Gateway), watches: messagingpb.NewAgentServiceClient(s.Watches),
	}
	page := func(pattern string, serve func(*visitor) error) {
		mux.HandleFunc(pattern, s.Agent(func(v *visit.Visit) error { return serve(&visitor{v, g}) }))
	}

	page("GET /agent", (*visitor).showQueue)
	page("GET /agent/evenements", (*visitor).watchQueue)
	page("GET /agent/conversations/{id}", (*visitor).showConversation)
	page("POST /agent/conversations/{id}/enregistrer", (*visitor).autosave)
	page("GET /agent/conversations/{id}/motifs", (*visitor).showReclassify)
	page("POST /agent/conversations/{id}/motifs", (*visitor).reclassify)
	page("POST /agent/conversations/{id}/autres", (*visitor).findOthers)
	page("POST /agent/conversations/{id}/chercher", (*visitor).findQuoted)
	page("POST /agent/conversations/{id}/{act}", (*visitor).actOn)
	page("GET /agent/recherche", (*visitor).showFind)
	page("POST /agent/recherche", (*visitor).find)
	page("GET /agent/audit", (*visitor).showAudit)
	page("POST /agent/audit", (*visitor).filterAudit)
	page("GET /agent/statistiques", (*visitor).showStatistics)
	page("GET /agent/modeles", (*visitor).showTemplates)
	page("POST /agent/modeles", (*visitor).saveTemplate)
	page("POST /agent/modeles/{id}/supprimer", (*visitor).deleteTemplate)
	page("POST /agent/raccourcis", (*visitor).setShortcuts)
}
