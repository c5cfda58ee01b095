package web

import (
	"net/http"

	"github.com/ma-messagerie/messagerie/web/internal/console"
	"github.com/ma-messagerie/messagerie/web/internal/member"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/visit"
)

// routes are all pages: those for everybody, and the two sides' own.
func (s *site) routes(mux *http.ServeMux) {
	page := func(pattern string, serve func(*visit.Visit) error) { mux.HandleFunc(pattern, s.Everybody(serve)) }

	page("GET /{$}", home)
	page("GET /connexion", showSignIn)
	page("GET /connexion/{pour}", beginSignIn)
	page("GET /auth/callback", finishSignIn)
	page("POST /deconnexion", signOut)
	page("POST /langue", setLanguage)
	page("GET "+visit.HandBack, (*visit.Visit).ShowKept)
	page("POST "+visit.HandBack, (*visit.Visit).DropKept)
	page("GET /session", keepSession)
	page("POST /session", keepSession)
	page("GET /aide", visit.Static("help"))
	page("GET /accessibilite", visit.Static("accessibility"))
	page("GET /mentions-legales", visit.Static("legal"))
	page("/", func(*visit.Visit) error { return refusal.ErrNoPage })

	member.Routes(mux, s.Site)
	console.Routes(mux, s.Site)
}
