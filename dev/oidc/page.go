package oidc

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

//go:embed page.html
var pageSource string

// pages holds the templates home, login and lapsed.
var pages = template.Must(template.New("pages").Parse(pageSource))

// serveHome explains the provider to a developer.
func (p *Provider) serveHome(w http.ResponseWriter, _ *http.Request) {
	type group struct {
		Title, URL string
		Personas   []Persona
	}
	titles := map[auth.Realm]string{auth.RealmMember: "Usagers", auth.RealmAgent: "Agents", auth.RealmMachine: "Machines"}
	var groups []group
	for _, iss := range p.issuers {
		groups = append(groups, group{titles[iss.realm], iss.url, personasOf(iss.realm)})
	}
	machine := personasOf(auth.RealmMachine)[0]
	render(w, http.StatusOK, "home", map[string]any{
		"Base": p.base, "Groups": groups, "Machine": machine.Name, "Secret": machine.secret(),
	})
}

// serveLogin shows the personas of the issuer.
func (iss *issuer) serveLogin(w http.ResponseWriter, r *http.Request) {
	id := r.FormValue("id")
	if _, err := iss.AuthRequestByID(r.Context(), id); err != nil {
		render(w, http.StatusBadRequest, "lapsed", nil)
		return
	}
	render(w, http.StatusOK, "login", map[string]any{
		"Action": iss.path + "/login", "ID": id, "Agents": iss.realm == auth.RealmAgent, "Personas": personasOf(iss.realm),
	})
}

// serveChoice gives the login to the persona that was clicked on, and the
// person back to op, which makes the code.
func (iss *issuer) serveChoice(w http.ResponseWriter, r *http.Request) {
	who, id := personaNamed(r.PostFormValue("persona")), r.PostFormValue("id")
	if who == nil || who.Realm != iss.realm || iss.choose(id, who) != nil {
		render(w, http.StatusBadRequest, "lapsed", nil)
		return
	}
	http.Redirect(w, r, iss.url+"/authorize/callback?id="+url.QueryEscape(id), http.StatusSeeOther)
}

// serveToken answers with a bare token, for curl -H "Authorization: Bearer
// $(curl …)", or with the JSON of a token endpoint.
func (p *Provider) serveToken(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	who := personaNamed(r.FormValue("as"))
	if who == nil {
		http.Error(w, "unknown persona; add ?as= one of: "+strings.Join(names(), ", "), http.StatusNotFound)
		return
	}
	token, err := p.Token(who.Name)
	if err != nil {
		slog.ErrorContext(r.Context(), "making a token", "persona", who.Name, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	header.Set("Vary", "Accept")
	if !strings.Contains(r.Header.Get("Accept"), "application/json") {
		header.Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, token)
		return
	}
	header.Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // the reader has gone away
		"access_token": token, "token_type": "Bearer", "expires_in": int(p.issuerOf(who).lifetime.Seconds()),
	})
}

func names() []string {
	var list []string
	for _, p := range personas {
		list = append(list, p.Name)
	}
	return list
}

// render writes a page whole or not at all. The policy has no form-action: it
// would also bind the redirect back to the application.
func render(w http.ResponseWriter, status int, page string, data any) {
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, page, data); err != nil {
		slog.Error("rendering a page", "page", page, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the reader has gone away
}
