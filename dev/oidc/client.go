package oidc

import (
	"time"

	protocol "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// webClient is the id of the browser's side of the system. It is public: PKCE
// stands in for its secret.
const webClient = "web"

// client implements op.Client for both kinds: the web door (redirects, no
// secret) and a machine (a secret, no redirects).
type client struct {
	id, secret        string
	redirects, logout []string
	login             func(requestID string) string
	lifetime          time.Duration
}

func (c *client) machine() bool { return c.secret != "" }

func (c *client) GetID() string                               { return c.id }
func (c *client) RedirectURIs() []string                      { return c.redirects }
func (c *client) PostLogoutRedirectURIs() []string            { return c.logout }
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
