package web

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// realm is on which side of the counter somebody is.
type realm string

const (
	realmMember realm = "member"
	realmAgent  realm = "agent"
)

const (
	// sessionIdle is how long a session lasts without a page; sessionMost how long
	// it lasts in any case.
	sessionIdle = 30 * time.Minute
	sessionMost = 8 * time.Hour
	// sessionTouch is how old the note of the last page may become before it is
	// written again.
	sessionTouch = time.Minute
	// loginMost is how long a person may take to sign in.
	loginMost = 10 * time.Minute
	// tokenMargin is how long before its end an access token is renewed.
	tokenMargin = 30 * time.Second
	// providerTimeout bounds one call to an OpenID provider.
	providerTimeout = 10 * time.Second

	sessionCookie = "__Host-session"
	loginCookie   = "__Host-login"
	// cookieBytes is how much of a sealed session goes into one cookie: browsers
	// keep 4096 bytes with the name and attributes.
	cookieBytes = 3800
	// cookiesMost bounds how many cookies one session takes.
	cookiesMost = 4

	keyBytes = 32
)

// session is who is signed in.
type session struct {
	// ID is drawn at sign-in; empty in a session of before there was one.
	ID    string `json:"i,omitempty"`
	Realm realm  `json:"r"`
	Name  string `json:"n"`
	// Profiles are a member's; Audience is the one they act as, 0 until chosen.
	Profiles   []string            `json:"p,omitempty"`
	Audience   taxonomypb.Audience `json:"a,omitempty"`
	Supervisor bool                `json:"s,omitempty"`
	Access     string              `json:"t"`
	Refresh    string              `json:"f,omitempty"`
	Expiry     time.Time           `json:"e"`
	Begun      time.Time           `json:"b"`
	Seen       time.Time           `json:"l"`
}

// over tells whether the session has ended.
func (s *session) over(now time.Time) bool {
	return now.Sub(s.Seen) > sessionIdle || now.Sub(s.Begun) > sessionMost
}

// left is how long the session goes on without another page.
func (s *session) left(now time.Time) time.Duration {
	return min(s.Seen.Add(sessionIdle).Sub(now), s.Begun.Add(sessionMost).Sub(now))
}

// sealer encrypts cookies.
type sealer struct{ ciphers []cipher.AEAD }

// newSealer reads keys in base64, separated by commas.
func newSealer(keys string) (*sealer, error) {
	s := &sealer{}
	for key := range strings.SplitSeq(keys, ",") {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
		if err != nil || len(raw) != keyBytes {
			return nil, errors.New("SESSION_KEY is not 32 bytes in base64: make one with `openssl rand -base64 32`")
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, fmt.Errorf("using SESSION_KEY: %w", err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("using SESSION_KEY: %w", err)
		}
		s.ciphers = append(s.ciphers, gcm)
	}
	return s, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// seal encrypts a value for one purpose.
func (s *sealer) seal(purpose string, value any) (string, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encoding %s: %w", purpose, err)
	}
	gcm := s.ciphers[0]
	nonce := randomBytes(gcm.NonceSize())
	return base64.RawURLEncoding.EncodeToString(gcm.Seal(nonce, nonce, plain, []byte(purpose))), nil
}

// open decrypts what seal has made for the purpose; anything else is false.
func (s *sealer) open(purpose, sealed string, value any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return false
	}
	for _, gcm := range s.ciphers {
		if len(raw) < gcm.NonceSize() {
			return false
		}
		plain, err := gcm.Open(nil, raw[:gcm.NonceSize()], raw[gcm.NonceSize():], []byte(purpose))
		if err == nil {
			return json.Unmarshal(plain, value) == nil
		}
	}
	return false
}

// sessions signs people in and keeps them signed in.
type sessions struct {
	sealer *sealer
	public string
	realms map[realm]*relyingParty
}

// relyingParty is this front end towards one OpenID provider. Its discovery waits
// until somebody signs in, so that the process starts without the provider.
type relyingParty struct {
	cfg    Provider
	client *http.Client

	asking singleflight.Group
	known  atomic.Pointer[oidc.Provider]
}

func newSessions(seal *sealer, public string, providers map[realm]Provider) *sessions {
	s := &sessions{sealer: seal, public: public, realms: make(map[realm]*relyingParty)}
	for name, cfg := range providers {
		s.realms[name] = &relyingParty{cfg: cfg, client: &http.Client{
			Timeout: providerTimeout, Transport: otelhttp.NewTransport(http.DefaultTransport),
		}}
	}
	return s
}

// config is the client side of OAuth 2.0 for this provider.
func (rp *relyingParty) config(ctx context.Context, public string) (*oauth2.Config, *oidc.Provider, error) {
	provider := rp.known.Load()
	if provider == nil {
		var err error
		if provider, err = rp.discover(ctx); err != nil {
			return nil, nil, err
		}
	}
	return &oauth2.Config{
		ClientID: rp.cfg.ClientID, ClientSecret: rp.cfg.ClientSecret, Endpoint: provider.Endpoint(),
		RedirectURL: public + "/auth/callback", Scopes: []string{oidc.ScopeOpenID, "profile", "email", "phone", oidc.ScopeOfflineAccess},
	}, provider, nil
}

// discover reads the provider's discovery document, once for all who ask meanwhile.
// Whoever leaves does not end it for the others.
func (rp *relyingParty) discover(ctx context.Context) (*oidc.Provider, error) {
	asked := rp.asking.DoChan("", func() (any, error) {
		// Keys are fetched later with the context given here, which must outlive the
		// request; the client has a time-out.
		provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), rp.client), rp.cfg.Issuer)
		if err != nil {
			return nil, fmt.Errorf("reading the discovery document of %s: %w", rp.cfg.Issuer, err)
		}
		rp.known.Store(provider)
		return provider, nil
	})
	select {
	case answer := <-asked:
		provider, _ := answer.Val.(*oidc.Provider)
		return provider, answer.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// login is a sign-in under way.
type login struct {
	Realm    realm     `json:"r"`
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Return   string    `json:"u"`
	Begun    time.Time `json:"b"`
}

// begin sends the browser to the provider.
func (s *sessions) begin(w http.ResponseWriter, r *http.Request, who realm, back string) error {
	cfg, _, err := s.realms[who].config(r.Context(), s.public)
	if err != nil {
		return err
	}
	l := login{Realm: who, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Return: ownPath(back), Begun: time.Now()}
	sealed, err := s.sealer.seal(loginCookie, l)
	if err != nil {
		return err
	}
	setCookie(w, loginCookie, sealed, int(loginMost.Seconds()))
	http.Redirect(w, r, cfg.AuthCodeURL(l.State, oidc.Nonce(l.Nonce), oauth2.S256ChallengeOption(l.Verifier)), http.StatusSeeOther) //nolint:gosec // the configured provider
	return nil
}

// errSignIn is a sign-in that did not come to its end.
var errSignIn = errors.New("the sign-in did not come to its end")

// finish takes the provider's answer and returns where the person wanted to go.
func (s *sessions) finish(w http.ResponseWriter, r *http.Request) (back string, err error) {
	var l login
	cookie, err := r.Cookie(loginCookie)
	if err != nil || !s.sealer.open(loginCookie, cookie.Value, &l) || time.Since(l.Begun) > loginMost {
		return "", fmt.Errorf("%w: no sign-in is under way", errSignIn)
	}
	setCookie(w, loginCookie, "", -1)
	if r.FormValue("state") != l.State || r.FormValue("code") == "" {
		return "", fmt.Errorf("%w: the provider's answer is not to this sign-in", errSignIn)
	}
	party := s.realms[l.Realm]
	cfg, provider, err := party.config(r.Context(), s.public)
	if err != nil {
		return "", err
	}
	ctx := oidc.ClientContext(r.Context(), party.client)
	token, err := cfg.Exchange(ctx, r.FormValue("code"), oauth2.VerifierOption(l.Verifier))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errSignIn, withoutBody(err))
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: cfg.ClientID}).Verify(ctx, raw)
	if err != nil || id.Nonce != l.Nonce {
		return "", fmt.Errorf("%w: the id token is not good: %w", errSignIn, err)
	}
	signedIn, err := newSession(l.Realm, id, token)
	if err != nil {
		return "", err
	}
	return l.Return, s.save(w, r, signedIn)
}

// withoutBody keeps a provider's answer, which may hold a code, out of the log.
func withoutBody(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return fmt.Errorf("the provider answers %d %s", refused.Response.StatusCode, refused.ErrorCode)
	}
	return err
}

func newSession(who realm, id *oidc.IDToken, token *oauth2.Token) (*session, error) {
	var claims struct {
		Name     string   `json:"name"`
		Profiles []string `json:"profiles"`
		Roles    []string `json:"roles"`
	}
	if err := id.Claims(&claims); err != nil {
		return nil, fmt.Errorf("reading the id token: %w", err)
	}
	now := time.Now()
	s := &session{
		ID: rand.Text(), Realm: who, Name: claims.Name, Access: token.AccessToken, Refresh: token.RefreshToken, Expiry: token.Expiry, Begun: now, Seen: now,
	}
	if who == realmMember {
		s.Profiles = claims.Profiles
		if len(claims.Profiles) == 1 {
			s.Audience = audienceNamed(claims.Profiles[0])
		}
	}
	for _, role := range claims.Roles {
		s.Supervisor = s.Supervisor || role == "supervisor"
	}
	return s, nil
}

// read returns the session of a request, or nil. It renews the access token when
// that is about to end, and notes that the person is still there.
func (s *sessions) read(w http.ResponseWriter, r *http.Request) *session {
	held := s.opened(r)
	if held == nil || held.over(time.Now()) {
		return nil
	}
	changed := time.Since(held.Seen) > sessionTouch
	if time.Until(held.Expiry) < tokenMargin {
		if err := s.renew(r.Context(), held); err != nil {
			return nil
		}
		changed = true
	}
	if changed {
		held.Seen = time.Now()
		if err := s.save(w, r, held); err != nil {
			return nil
		}
	}
	return held
}

// opened puts the cookies of a session together and opens them.
func (s *sessions) opened(r *http.Request) *session {
	var sealed strings.Builder
	for i := range cookiesMost {
		cookie, err := r.Cookie(cookieName(i))
		if err != nil {
			break
		}
		sealed.WriteString(cookie.Value)
	}
	held := &session{}
	if sealed.Len() == 0 || !s.sealer.open(sessionCookie, sealed.String(), held) {
		return nil
	}
	return held
}

func cookieName(i int) string {
	if i == 0 {
		return sessionCookie
	}
	return sessionCookie + "." + strconv.Itoa(i)
}

// renew fetches a new access token.
func (s *sessions) renew(ctx context.Context, held *session) error {
	party := s.realms[held.Realm]
	if party == nil || held.Refresh == "" {
		return errSignIn
	}
	cfg, _, err := party.config(ctx, s.public)
	if err != nil {
		return err
	}
	token, err := cfg.TokenSource(oidc.ClientContext(ctx, party.client), &oauth2.Token{RefreshToken: held.Refresh}).Token()
	if err != nil {
		return withoutBody(err)
	}
	held.Access, held.Expiry = token.AccessToken, token.Expiry
	if token.RefreshToken != "" {
		held.Refresh = token.RefreshToken
	}
	return nil
}

// save writes a session into cookies, and takes away those of a longer one.
func (s *sessions) save(w http.ResponseWriter, r *http.Request, held *session) error {
	sealed, err := s.sealer.seal(sessionCookie, held)
	if err != nil {
		return err
	}
	if len(sealed) > cookieBytes*cookiesMost {
		return fmt.Errorf("the tokens take %d bytes: more than cookies hold", len(sealed))
	}
	for i := range cookiesMost {
		part := sealed[:min(len(sealed), cookieBytes)]
		sealed = sealed[len(part):]
		_, err := r.Cookie(cookieName(i))
		switch {
		case part != "":
			setCookie(w, cookieName(i), part, 0)
		case err == nil:
			setCookie(w, cookieName(i), "", -1)
		}
	}
	return nil
}

// end signs out.
func (s *sessions) end(w http.ResponseWriter) {
	for i := range cookiesMost {
		setCookie(w, cookieName(i), "", -1)
	}
}

// setCookie sets a cookie that ends with the browser (age 0), after so many
// seconds, or now (-1).
func setCookie(w http.ResponseWriter, name, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// ownPath keeps a return address on this site.
func ownPath(back string) string {
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n\t") {
		return ""
	}
	return back
}

func audienceNamed(name string) taxonomypb.Audience {
	return taxonomypb.Audience(taxonomypb.Audience_value[name])
}
