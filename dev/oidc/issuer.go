package oidc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	protocol "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

const (
	// audience is what every process of the system looks for in aud.
	audience = "messagerie"
	// loginTime is how long a person may take from the redirect to the code's
	// exchange; what is older is forgotten.
	loginTime = 10 * time.Minute
)

var (
	errUnknownClient = errors.New("unknown client or wrong secret")
	errUnknownLogin  = errors.New("unknown or lapsed login: start again from the application")
)

// issuer is one of the three: its key, its clients and, in memory alone, the
// logins under way and the refresh tokens. It implements op.Storage.
type issuer struct {
	realm    auth.Realm
	path     string // under the base URL, with a slash
	url      string
	key      *key
	lifetime time.Duration
	clients  map[string]*client

	mu       sync.Mutex
	logins   map[string]login  // by request id
	codes    map[string]string // code to request id
	sessions map[string]session
}

var (
	_ op.Storage                  = (*issuer)(nil)
	_ op.ClientCredentialsStorage = (*issuer)(nil)
)

// login is an authorization request on its way to a code. It implements
// op.AuthRequest by value, so that no caller sees it change.
type login struct {
	*protocol.AuthRequest
	id      string
	persona string // empty until one was chosen
	begun   time.Time
	chosen  time.Time
}

func (l login) GetID() string          { return l.id }
func (l login) GetACR() string         { return "" }
func (l login) GetAMR() []string       { return nil }
func (l login) GetAudience() []string  { return []string{audience} }
func (l login) GetAuthTime() time.Time { return l.chosen }
func (l login) GetClientID() string    { return l.ClientID }
func (l login) GetNonce() string       { return l.Nonce }
func (l login) GetSubject() string     { return l.persona }
func (l login) GetScopes() []string    { return l.Scopes }
func (l login) Done() bool             { return l.persona != "" }
func (l login) GetCodeChallenge() *protocol.CodeChallenge {
	return &protocol.CodeChallenge{Challenge: l.CodeChallenge, Method: l.CodeChallengeMethod}
}

// session is what a refresh token stands for. It implements
// op.RefreshTokenRequest.
type session struct {
	persona, client string
	scopes          []string
	chosen          time.Time
}

func (s *session) GetAMR() []string            { return nil }
func (s *session) GetAudience() []string       { return []string{audience} }
func (s *session) GetAuthTime() time.Time      { return s.chosen }
func (s *session) GetClientID() string         { return s.client }
func (s *session) GetScopes() []string         { return s.scopes }
func (s *session) GetSubject() string          { return s.persona }
func (s *session) SetCurrentScopes(l []string) { s.scopes = l }

// CreateAuthRequest opens a login. It insists on PKCE with S256, which op
// leaves to the client's choice.
func (iss *issuer) CreateAuthRequest(_ context.Context, req *protocol.AuthRequest, _ string) (op.AuthRequest, error) {
	if req.CodeChallenge == "" || req.CodeChallengeMethod != protocol.CodeChallengeMethodS256 {
		return nil, protocol.ErrInvalidRequest().WithDescription("code_challenge with code_challenge_method=S256 is required")
	}
	if len(req.Prompt) == 1 && req.Prompt[0] == protocol.PromptNone {
		return nil, protocol.ErrLoginRequired()
	}
	l := login{AuthRequest: req, id: rand.Text(), begun: time.Now()}
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.forget()
	iss.logins[l.id] = l
	return l, nil
}

// forget drops lapsed logins and their codes. The caller holds the lock.
func (iss *issuer) forget() {
	maps.DeleteFunc(iss.logins, func(_ string, l login) bool { return time.Since(l.begun) > loginTime })
	maps.DeleteFunc(iss.codes, func(_, id string) bool { _, ok := iss.logins[id]; return !ok })
}

// choose makes the login one of a persona.
func (iss *issuer) choose(id string, p *Persona) error {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.forget()
	l, ok := iss.logins[id]
	if !ok {
		return errUnknownLogin
	}
	l.persona, l.chosen = p.Name, time.Now()
	iss.logins[id] = l
	return nil
}

// AuthRequestByID returns the login as it is now.
func (iss *issuer) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.forget()
	l, ok := iss.logins[id]
	if !ok {
		return nil, errUnknownLogin
	}
	return l, nil
}

// AuthRequestByCode returns the login that the code was given for.
func (iss *issuer) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	iss.mu.Lock()
	id := iss.codes[code]
	iss.mu.Unlock()
	return iss.AuthRequestByID(ctx, id)
}

// SaveAuthCode remembers the code given for a login.
func (iss *issuer) SaveAuthCode(_ context.Context, id, code string) error {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.codes[code] = id
	return nil
}

// DeleteAuthRequest ends a login. Of two exchanges of one code at once, the one
// that comes second here gets no answer: a code is good for one.
func (iss *issuer) DeleteAuthRequest(_ context.Context, id string) error {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if _, ok := iss.logins[id]; !ok {
		return protocol.ErrInvalidGrant()
	}
	delete(iss.logins, id)
	iss.forget()
	return nil
}

// CreateAccessToken gives a token its id and end. Tokens are JWTs: none is kept.
func (iss *issuer) CreateAccessToken(context.Context, op.TokenRequest) (string, time.Time, error) {
	return rand.Text(), time.Now().Add(iss.lifetime), nil
}

// CreateAccessAndRefreshTokens also opens a session, or moves the one of the
// current refresh token to a new one: each is good for one use.
func (iss *issuer) CreateAccessAndRefreshTokens(ctx context.Context, req op.TokenRequest, current string) (string, string, time.Time, error) {
	refresh := rand.Text()
	err := iss.renew(req, current, refresh)
	if err != nil {
		return "", "", time.Time{}, err
	}
	id, expiry, err := iss.CreateAccessToken(ctx, req)
	return id, refresh, expiry, err
}

func (iss *issuer) renew(req op.TokenRequest, current, next string) error {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if l, ok := req.(login); ok {
		iss.sessions[next] = session{persona: l.persona, client: l.ClientID, scopes: l.Scopes, chosen: l.chosen}
		return nil
	}
	held, ok := iss.sessions[current]
	if !ok {
		return protocol.ErrInvalidGrant().WithDescription("unknown or used refresh_token")
	}
	delete(iss.sessions, current)
	iss.sessions[next] = held
	return nil
}

// TokenRequestByRefreshToken returns a copy of the session.
func (iss *issuer) TokenRequestByRefreshToken(_ context.Context, refresh string) (op.RefreshTokenRequest, error) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	held, ok := iss.sessions[refresh]
	if !ok {
		return nil, op.ErrInvalidRefreshToken
	}
	return &held, nil
}

// TerminateSession forgets the persona's refresh tokens. Access tokens hold
// until they lapse, as JWTs do.
func (iss *issuer) TerminateSession(_ context.Context, persona, clientID string) error {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	maps.DeleteFunc(iss.sessions, func(_ string, s session) bool { return s.persona == persona && s.client == clientID })
	return nil
}

// RevokeToken forgets a refresh token; nothing can be done about a JWT.
func (iss *issuer) RevokeToken(_ context.Context, token, _, clientID string) *protocol.Error {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if iss.sessions[token].client == clientID {
		delete(iss.sessions, token)
	}
	return nil
}

// GetRefreshTokenInfo tells whose the refresh token is; it is its own id.
func (iss *issuer) GetRefreshTokenInfo(_ context.Context, _, token string) (string, string, error) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	held, ok := iss.sessions[token]
	if !ok {
		return "", "", op.ErrInvalidRefreshToken
	}
	return held.persona, token, nil
}

// SigningKey returns the issuer's key.
func (iss *issuer) SigningKey(context.Context) (op.SigningKey, error) { return iss.key, nil }

// SignatureAlgorithms returns that of the key.
func (iss *issuer) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{iss.key.SignatureAlgorithm()}, nil
}

// KeySet returns what is published.
func (iss *issuer) KeySet(context.Context) ([]op.Key, error) {
	return []op.Key{publicKey{iss.key}}, nil
}

// GetClientByClientID returns the client.
func (iss *issuer) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	c, ok := iss.clients[id]
	if !ok {
		return nil, errUnknownClient
	}
	return c, nil
}

// AuthorizeClientIDSecret compares the secret. A public client's is empty, and
// is sent so by libraries that try Basic first, such as x/oauth2.
func (iss *issuer) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	c, ok := iss.clients[id]
	if !ok || subtle.ConstantTimeCompare([]byte(c.secret), []byte(secret)) != 1 {
		return errUnknownClient
	}
	return nil
}

// ClientCredentials authenticates a machine.
func (iss *issuer) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if err := iss.AuthorizeClientIDSecret(ctx, id, secret); err != nil {
		return nil, err
	}
	return iss.clients[id], nil
}

// ClientCredentialsTokenRequest returns what a machine's token is made from.
func (iss *issuer) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return tokenRequest(id, scopes), nil
}

func tokenRequest(subject string, scopes []string) op.TokenRequest {
	return &protocol.JWTTokenRequest{Subject: subject, Audience: []string{audience}, Scopes: scopes}
}

// GetPrivateClaimsFromScopes returns the claims of the access token: the system's
// processes read them from there alone. A machine that asks for scopes has those of its
// own among them, and all of its own when it asks for none.
func (iss *issuer) GetPrivateClaimsFromScopes(_ context.Context, subject, _ string, asked []string) (map[string]any, error) {
	p := personaNamed(subject)
	if p == nil || p.Realm != iss.realm {
		return nil, fmt.Errorf("no persona %q here", subject)
	}
	claims := p.claims()
	if granted := grantedScopes(p, asked); len(p.Scopes) > 0 {
		claims["scope"] = strings.Join(granted, " ")
	}
	return claims, nil
}

func grantedScopes(p *Persona, asked []string) []string {
	if len(asked) == 0 {
		return p.Scopes
	}
	return slices.DeleteFunc(slices.Clone(p.Scopes), func(scope string) bool { return !slices.Contains(asked, scope) })
}

// SetUserinfoFromScopes fills the ID token.
func (iss *issuer) SetUserinfoFromScopes(ctx context.Context, info *protocol.UserInfo, subject, clientID string, scopes []string) error {
	claims, err := iss.GetPrivateClaimsFromScopes(ctx, subject, clientID, scopes)
	info.Subject, info.Claims = subject, claims
	return err
}

// SetUserinfoFromToken fills the answer of the userinfo endpoint.
func (iss *issuer) SetUserinfoFromToken(ctx context.Context, info *protocol.UserInfo, _, subject, _ string) error {
	return iss.SetUserinfoFromScopes(ctx, info, subject, "", nil)
}

// SetIntrospectionFromToken fills the answer of the introspection endpoint.
func (iss *issuer) SetIntrospectionFromToken(ctx context.Context, answer *protocol.IntrospectionResponse, _, subject, clientID string) error {
	claims, err := iss.GetPrivateClaimsFromScopes(ctx, subject, clientID, nil)
	answer.Subject, answer.Claims = subject, claims
	return err
}

// GetKeyByIDAndClientID refuses: no client has a key (RFC 7523).
func (iss *issuer) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errUnknownClient
}

// ValidateJWTProfileScopes is never reached, for lack of keys.
func (iss *issuer) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errUnknownClient
}

// Health returns nil: all is in memory.
func (iss *issuer) Health(context.Context) error { return nil }
