package web

import (
	"net/http"

	"github.com/ma-messagerie/messagerie/web/internal/refusal"
)

// routes are all pages. What changes something is a POST that answers with a
// redirect, so that a reload repeats nothing. The agents' search is a POST too, and answers
// with the page itself, since what is looked for must be in no address.
func (s *site) routes(mux *http.ServeMux) {
	page := func(pattern string, serve http.HandlerFunc) { mux.HandleFunc(pattern, serve) }

	page("GET /{$}", s.everybody((*visit).home))
	page("GET /connexion", s.everybody((*visit).showSignIn))
	page("GET /connexion/{pour}", s.everybody((*visit).beginSignIn))
	page("GET /auth/callback", s.everybody((*visit).finishSignIn))
	page("POST /deconnexion", s.everybody((*visit).signOut))
	page("POST /langue", s.everybody((*visit).setLanguage))
	page("GET "+handBack, s.everybody((*visit).showKept))
	page("GET /session", s.everybody((*visit).keepSession))
	page("POST /session", s.everybody((*visit).keepSession))
	page("GET /aide", s.everybody(static("help")))
	page("GET /accessibilite", s.everybody(static("accessibility")))
	page("GET /mentions-legales", s.everybody(static("legal")))
	page("/", s.everybody(func(*visit) error { return refusal.ErrNoPage }))

	page("GET /profil", s.member((*visit).showProfiles))
	page("POST /profil", s.member((*visit).setProfile))
	page("GET /espace", s.member(static("space")))
	page("GET /espace/contact", s.member(static("contact")))
	page("GET /espace/messages", s.member(static("messages")))

	page("GET /messagerie", s.member((*visit).showHome))
	page("POST /messagerie/conversations/{id}/masquer", s.member((*visit).hide))
	page("POST /messagerie/conversations/{id}/afficher", s.member((*visit).unhide))
	page("GET /messagerie/conversations/{id}", s.member((*visit).showConversation))
	page("GET /messagerie/conversations/{id}/texte", s.member((*visit).exportConversation))
	page("POST /messagerie/conversations/{id}/suite", s.member((*visit).followUp))
	page("POST /messagerie/conversations/{id}/enregistrer", s.member((*visit).saveFurther))

	page("GET /messagerie/nouveau", s.member((*visit).newMessage))
	page("GET /messagerie/recherche", s.member((*visit).search))
	page("POST /messagerie/recherche", s.member((*visit).chooseFound))
	page("GET /messagerie/brouillons/{id}/{step}", s.member((*visit).showStep))
	page("POST /messagerie/brouillons/{id}/{step}", s.member((*visit).takeStep))
	page("GET /messagerie/brouillons/{id}/service/{service}", s.member((*visit).useService))
	page("GET /messagerie/confirmation/{id}", s.member((*visit).showConfirmation))

	page("GET /preferences", s.member((*visit).showPreferences))
	page("POST /preferences", s.member((*visit).setPreferences))
	page("GET /donnees-personnelles", s.member((*visit).showPersonalData))
	page("GET /donnees-personnelles/export", s.member((*visit).exportMyData))
	page("POST /donnees-personnelles/effacement", s.member((*visit).eraseMyData))
	page("GET /evenements", s.member((*visit).watchConversations))

	page("GET /agent", s.agent((*visit).showQueue))
	page("GET /agent/evenements", s.agent((*visit).watchQueue))
	page("GET /agent/conversations/{id}", s.agent((*visit).showForAgent))
	page("POST /agent/conversations/{id}/{act}", s.agent((*visit).actOn))
	page("GET /agent/recherche", s.agent((*visit).showFind))
	page("POST /agent/recherche", s.agent((*visit).find))
	page("GET /agent/audit", s.agent((*visit).showAudit))
	page("POST /agent/audit", s.agent((*visit).filterAudit))
	page("GET /agent/statistiques", s.agent((*visit).showStatistics))
	page("GET /agent/modeles", s.agent((*visit).showTemplates))
	page("POST /agent/modeles", s.agent((*visit).saveTemplate))
	page("POST /agent/modeles/{id}/supprimer", s.agent((*visit).deleteTemplate))
	page("POST /agent/raccourcis", s.agent((*visit).setShortcuts))
}
