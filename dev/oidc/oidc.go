// Package oidc is an OpenID provider for development: invented members, agents
// and machines whom anybody may be, with one click and no password. It must
// never be reachable from anywhere but the developer's machine.
//
// What is promised: the protocol is the real one (discovery, JWKS, code with
// PKCE S256, refresh, client credentials, RS256 JWTs), so that a process set up
// for it is set up for a real provider. Three issuers, /usagers, /agents and
// /machines, each with a key of its own: no token of one passes for another's.
// Access tokens outlive a restart, since the keys are kept in the state folder.
//
// A page on any port of this machine may sign people in as the public client
// front-end.
//
// How: zitadel/oidc speaks the protocol; personas and clients are constants.
//
// When it breaks: a restart forgets logins under way and refresh tokens, so
// people choose their persona again. Deleting the state folder makes new keys,
// and voids all tokens. The ID token carries the audience of the access token
// besides its client's, as op takes both from one place.
package oidc

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/cors"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/text/language"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// Config sets a Provider up.
type Config struct {
	// BaseURL is where the provider is reached, without a path:
	// http://127.0.0.1:5556.
	BaseURL string
	// StateDir keeps the keys. It is made if absent.
	StateDir string
	// TokenLifetime is that of access and ID tokens; 0 takes one hour.
	TokenLifetime time.Duration
	// WebURLs are the origins of the web application, to whose /auth/callback
	// people are sent back; none takes port 8000 of this machine.
	WebURLs []string
}

// Provider is an http.Handler that serves all issuers. It is safe for
// concurrent use.
type Provider struct {
	base string
	// host and localhost are the names it answers to.
	host, localhost string
	issuers         []*issuer
	mux             *http.ServeMux
}

// New returns a provider, with new keys if the state folder has none.
func New(cfg Config) (*Provider, error) {
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || strings.Trim(base.Path, "/") != "" {
		return nil, fmt.Errorf("base URL %q is not of the form http://host:port", cfg.BaseURL)
	}
	if cfg.TokenLifetime == 0 {
		cfg.TokenLifetime = time.Hour
	}
	if len(cfg.WebURLs) == 0 {
		cfg.WebURLs = []string{"http://127.0.0.1:8000", "http://localhost:8000"}
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	p := &Provider{base: strings.TrimRight(cfg.BaseURL, "/"), host: base.Host, localhost: "localhost:" + base.Port(), mux: http.NewServeMux()}
	for _, realm := range []auth.Realm{auth.RealmMember, auth.RealmAgent, auth.RealmMachine} {
		if err := p.add(realm, cfg); err != nil {
			return nil, fmt.Errorf("setting up the issuer of realm %s: %w", realm, err)
		}
	}
	p.mux.HandleFunc("GET /dev/token", p.serveToken)
	p.mux.HandleFunc("GET /{$}", p.serveHome)
	return p, nil
}

// issuerNames are the paths of the issuers and their names in auth.Issuers.
var issuerNames = map[auth.Realm]string{
	auth.RealmMember: "usagers", auth.RealmAgent: "agents", auth.RealmMachine: "machines",
}

// add sets up one issuer and its routes.
func (p *Provider) add(realm auth.Realm, cfg Config) error {
	name := issuerNames[realm]
	signing, err := loadKey(filepath.Join(cfg.StateDir, name+".key.pem"))
	if err != nil {
		return err
	}
	iss := &issuer{
		realm: realm, path: "/" + name, url: p.base + "/" + name, key: signing, lifetime: cfg.TokenLifetime,
		logins: make(map[string]login), codes: make(map[string]string), sessions: make(map[string]session),
	}
	iss.clients = iss.newClients(cfg.WebURLs)
	// Codes are sealed with this key; none outlives the process anyway.
	settings := op.Config{
		CodeMethodS256: true, AuthMethodPost: true, GrantTypeRefreshToken: true,
		DefaultLogoutRedirectURI: p.base + "/", SupportedUILocales: []language.Tag{language.French},
	}
	rand.Read(settings.CryptoKey[:])
	provider, err := op.NewProvider(&settings, iss, op.StaticIssuer(iss.url),
		op.WithAllowInsecure(),
		op.WithCustomTokenEndpoint(op.NewEndpoint("token")),
		op.WithCustomKeysEndpoint(op.NewEndpoint("keys")),
		op.WithCORSOptions(iss.crossOrigin()),
	)
	if err != nil {
		return fmt.Errorf("starting the provider: %w", err)
	}
	p.mux.Handle(iss.path+"/", http.StripPrefix(iss.path, provider))
	p.mux.HandleFunc("GET "+iss.path+"/login", iss.serveLogin)
	p.mux.HandleFunc("POST "+iss.path+"/login", iss.serveChoice)
	p.issuers = append(p.issuers, iss)
	return nil
}

// crossOrigin lets pages on this machine sign people in. No other page has any business
// here, and no page is a machine. What the issuer says of itself anybody may read: a browser
// that comes to it by the gateway's redirect says "null" for its page.
func (iss *issuer) crossOrigin() *cors.Options {
	if iss.realm == auth.RealmMachine {
		return nil
	}
	return &cors.Options{
		AllowOriginVaryRequestFunc: func(r *http.Request, origin string) (bool, []string) {
			return fromLoopback(origin) || origin == "null" && r.URL.Path == "/.well-known/openid-configuration", nil
		},
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost},
		AllowedHeaders: []string{"Authorization", "Content-Type", "Accept", "X-Requested-With", "Traceparent", "Tracestate", "Baggage"},
	}
}

// newClients returns the machines of the machines' issuer, or the clients of browsers
// of the two others.
func (iss *issuer) newClients(origins []string) map[string]*client {
	clients := make(map[string]*client)
	if iss.realm == auth.RealmMachine {
		for _, machine := range personasOf(iss.realm) {
			clients[machine.Name] = &client{id: machine.Name, secret: machine.secret(), lifetime: iss.lifetime}
		}
		return clients
	}
	login := func(id string) string { return iss.url + "/login?id=" + url.QueryEscape(id) }
	web := &client{id: webClient, lifetime: iss.lifetime, login: login}
	for _, origin := range origins {
		web.redirects = append(web.redirects, origin+"/auth/callback")
		web.logout = append(web.logout, origin, origin+"/")
	}
	clients[web.id] = web
	clients[frontClient] = newFrontEnd(login, iss.lifetime)
	return clients
}

// ServeHTTP serves the issuers, the login pages, /dev/token and the root page.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A site could give its own name this machine's address (DNS rebinding) and
	// read tokens as if from its own origin: only our names are answered.
	if r.Host != p.host && r.Host != p.localhost {
		http.Error(w, "this provider is at "+p.base, http.StatusMisdirectedRequest)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// Issuers returns the issuers as the system's processes are told of them.
func (p *Provider) Issuers() auth.Issuers {
	var list auth.Issuers
	for _, iss := range p.issuers {
		list = append(list, auth.Issuer{Name: issuerNames[iss.realm], URL: iss.url, Realm: iss.realm, Audiences: []string{audience}})
	}
	return list
}

// Machine returns how the machine with this client id gets its tokens here.
func (p *Provider) Machine(id string) (auth.MachineConfig, error) {
	machine := personaNamed(id)
	if machine == nil || machine.Realm != auth.RealmMachine {
		return auth.MachineConfig{}, fmt.Errorf("no machine is named %q", id)
	}
	return auth.MachineConfig{
		TokenURL: p.issuerOf(machine).url + "/token", ClientID: machine.Name, ClientSecret: machine.secret(),
	}, nil
}

// Token returns an access token of the persona, the same as its login gives.
func (p *Provider) Token(persona string) (string, error) {
	who := personaNamed(persona)
	if who == nil {
		return "", fmt.Errorf("no persona is named %q", persona)
	}
	iss := p.issuerOf(who)
	holder := iss.clients[webClient]
	if holder == nil {
		holder = iss.clients[who.Name]
	}
	ctx := op.ContextWithIssuer(context.Background(), iss.url)
	request := tokenRequest(who.Name, nil)
	id, expiry, err := iss.CreateAccessToken(ctx, request)
	if err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	token, err := op.CreateJWT(ctx, iss.url, request, expiry, id, holder, iss)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return token, nil
}

func (p *Provider) issuerOf(who *Persona) *issuer {
	for _, iss := range p.issuers {
		if iss.realm == who.Realm {
			return iss
		}
	}
	panic("persona of no realm: " + who.Name) // personas are constants
}
