package oidc

import (
	"net/url"
	"slices"
	"time"

	protocol "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	// webClient is the id of the browser's side of the system. It is public: PKCE
	// stands in for its secret.
	webClient = "web"
	// frontClient is that of every page under development on this machine.
	frontClient = "front-end"
)

// client implements op.Client for all kinds: the web door and other front ends
// (redirects, no secret) and a machine (a secret, no redirects).
type client struct {
	id, secret                 string
	redirects, logout          []string
	redirectGlobs, logoutGlobs []string
	login                      func(requestID string) string
	lifetime                   time.Duration
}

var _ op.HasRedirectGlobs = (*client)(nil)

// newFrontEnd is the client of pages on any port of this machine, at any path.
func newFrontEnd(login func(string) string, lifetime time.Duration) *client {
	c := &client{id: frontClient, login: login, lifetime: lifetime}
	for _, host := range loopback {
		// The port is digits, not *: http://localhost:1@elsewhere is elsewhere.
		for port := "[0-9]"; len(port) <= 5*len("[0-9]"); port += "[0-9]" {
			origin := "http://" + host + ":" + port
			c.redirectGlobs = append(c.redirectGlobs, origin, origin+"/**")
			c.logoutGlobs = append(c.logoutGlobs, origin, origin+"/", origin+"/*")
		}
	}
	return c
}

// loopback are the names of this machine that a page may have.
var loopback = []string{"localhost", "127.0.0.1"}

// fromLoopback reports whether a page's origin is on this machine.
func fromLoopback(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == "http" && slices.Contains(loopback, u.Hostname()) && origin == "http://"+u.Host
}

func (c *client) machine() bool { return c.secret != "" }

func (c *client) GetID() string                               { return c.id }
func (c *client) RedirectURIs() []string                      { return c.redirects }
func (c *client) PostLogoutRedirectURIs() []string            { return c.logout }
func (c *client) RedirectURIGlobs() []string                  { return c.redirectGlobs }
func (c *client) PostLogoutRedirectURIGlobs() []string        { return c.logoutGlobs }
func (c *client) ApplicationType() op.ApplicationType         { return op.ApplicationTypeWeb }
func (c *client) LoginURL(requestID string) string            { return c.login(requestID) }
func (c *client) AccessTokenType() op.AccessTokenType         { return op.AccessTokenTypeJWT }
func (c *client) IDTokenLifetime() time.Duration              { return c.lifetime }
func (c *client) DevMode() bool                               { return true } // redirects over plain http
func (c *client) IsScopeAllowed(string) bool                  { return false }
func (c *client) IDTokenUserinfoClaimsAssertion() bool        { return true }
func (c *client) ClockSkew() time.Duration                    { return 0 }
func (c *client) RestrictAdditionalIdTokenScopes() scopes     { return allScopes }
func (c *client) RestrictAdditionalAccessTokenScopes() scopes { return allScopes }

type scopes = func([]string) []string

func allScopes(list []string) []string { return list }

func (c *client) AuthMethod() protocol.AuthMethod {
	if c.machine() {
		return protocol.AuthMethodBasic
	}
	return protocol.AuthMethodNone
}

func (c *client) ResponseTypes() []protocol.ResponseType {
	if c.machine() {
		return nil
	}
	return []protocol.ResponseType{protocol.ResponseTypeCode}
}

func (c *client) GrantTypes() []protocol.GrantType {
	if c.machine() {
		return []protocol.GrantType{protocol.GrantTypeClientCredentials}
	}
	return []protocol.GrantType{protocol.GrantTypeCode, protocol.GrantTypeRefreshToken}
}
