package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

const (
	// loginMost is how long a person may take to sign in.
	loginMost = 10 * time.Minute
	// providerTimeout bounds one call to an OpenID provider.
	providerTimeout = 10 * time.Second

	loginCookie = "__Host-login"
)

// Provider is an OpenID provider and this front end's registration with it.
type Provider struct {
	// Issuer is its address; its discovery document is read when first needed.
	Issuer string `env:"ISSUER,required"`
	// ClientID is this front end's.
	ClientID string `env:"CLIENT_ID" envDefault:"web"`
	// ClientSecret may be empty: PKCE is used in any case.
	ClientSecret string `env:"CLIENT_SECRET"`
}

// relyingParty is this front end towards one OpenID provider. Its discovery waits
// until somebody signs in, so that the process starts without the provider.
type relyingParty struct {
	cfg    Provider
	client *http.Client

	asking singleflight.Group
	known  atomic.Pointer[oidc.Provider]

	renewals renewals
}

func newRelyingParty(cfg Provider) *relyingParty {
	return &relyingParty{
		cfg:      cfg,
		client:   &http.Client{Timeout: providerTimeout, Transport: otelhttp.NewTransport(http.DefaultTransport)},
		renewals: newRenewals(),
	}
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
	Realm    Realm     `json:"r"`
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Return   string    `json:"u"`
	Begun    time.Time `json:"b"`
}

// Begin sends the browser to the provider of a realm, to come back to a path of this
// site.
func (k *Keeper) Begin(w http.ResponseWriter, r *http.Request, who Realm, back string) error {
	cfg, _, err := k.realms[who].config(r.Context(), k.public)
	if err != nil {
		return err
	}
	l := login{Realm: who, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Return: OwnPath(back), Begun: time.Now()}
	sealed, err := k.sealer.Seal(loginCookie, l)
	if err != nil {
		return err
	}
	SetCookie(w, loginCookie, sealed, int(loginMost.Seconds()))
	http.Redirect(w, r, cfg.AuthCodeURL(l.State, oidc.Nonce(l.Nonce), oauth2.S256ChallengeOption(l.Verifier)), http.StatusSeeOther)
	return nil
}

// ErrSignIn is a sign-in that did not come to its end.
var ErrSignIn = errors.New("the sign-in did not come to its end")

// Finish takes the provider's answer and returns where the person wanted to go.
func (k *Keeper) Finish(w http.ResponseWriter, r *http.Request) (back string, err error) {
	var l login
	cookie, err := r.Cookie(loginCookie)
	if err != nil || !k.sealer.Open(loginCookie, cookie.Value, &l) || time.Since(l.Begun) > loginMost {
		return "", fmt.Errorf("%w: no sign-in is under way", ErrSignIn)
	}
	SetCookie(w, loginCookie, "", -1)
	if r.FormValue("state") != l.State || r.FormValue("code") == "" {
		return "", fmt.Errorf("%w: the provider's answer is not to this sign-in", ErrSignIn)
	}
	party := k.realms[l.Realm]
	cfg, provider, err := party.config(r.Context(), k.public)
	if err != nil {
		return "", err
	}
	ctx := oidc.ClientContext(r.Context(), party.client)
	token, err := cfg.Exchange(ctx, r.FormValue("code"), oauth2.VerifierOption(l.Verifier))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrSignIn, withoutBody(err))
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: cfg.ClientID}).Verify(ctx, raw)
	if err != nil || id.Nonce != l.Nonce {
		return "", fmt.Errorf("%w: the id token is not good: %w", ErrSignIn, err)
	}
	signedIn, err := newSession(l.Realm, id, token)
	if err != nil {
		return "", err
	}
	return l.Return, k.Save(w, r, signedIn)
}

// withoutBody keeps a provider's answer, which may hold a code, out of the log.
func withoutBody(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return fmt.Errorf("the provider answers %d %s", refused.Response.StatusCode, refused.ErrorCode)
	}
	return err
}

// findScope is the scope, or role, of those who look for members' conversations.
const findScope = "member.read"

func newSession(who Realm, id *oidc.IDToken, token *oauth2.Token) (*Session, error) {
	var claims struct {
		Name     string   `json:"name"`
		Profiles []string `json:"profiles"`
		Roles    []string `json:"roles"`
	}
	if err := id.Claims(&claims); err != nil {
		return nil, fmt.Errorf("reading the id token: %w", err)
	}
	now := time.Now()
	s := &Session{
		ID: rand.Text(), Realm: who, Subject: id.Subject, Name: claims.Name, Access: token.AccessToken, Refresh: token.RefreshToken, Expiry: token.Expiry, Begun: now, Seen: now,
	}
	if who == Member {
		s.Profiles = claims.Profiles
		if len(claims.Profiles) == 1 {
			s.Act(claims.Profiles[0])
		}
	}
	for _, role := range claims.Roles {
		s.Supervisor = s.Supervisor || role == "supervisor"
		s.Finder = s.Finder || role == findScope
	}
	// RFC 6749, 5.1: the scopes that were granted, where they are not those that were asked for.
	scopes, _ := token.Extra("scope").(string)
	s.Finder = s.Finder || slices.Contains(strings.Fields(scopes), findScope)
	return s, nil
}
