package oidc_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// A front end on a port of its own signs people in without being registered.
func TestFrontEnd(t *testing.T) {
	t.Parallel()
	provider, base := start(t, t.TempDir())
	verifier := auth.NewVerifier(auth.Config{Issuers: provider.Issuers()})
	for _, row := range []struct{ issuer, persona, redirect string }{
		{"/usagers", "jeanne", "http://localhost:5173/"},
		{"/usagers", "paul", "http://127.0.0.1:3000/auth/callback"},
		{"/agents", "claire", "http://localhost:65535"},
	} {
		b := newBrowser(t, base, row.issuer)
		b.conf.ClientID, b.conf.RedirectURL = "front-end", row.redirect
		proof := oauth2.GenerateVerifier()
		code := b.login(row.persona, oauth2.S256ChallengeOption(proof), goidc.Nonce("nonce-1")).Get("code")
		if _, err := b.conf.Exchange(t.Context(), code); err == nil {
			t.Errorf("%s: tokens without a verifier", row.persona)
		}
		tokens, err := b.conf.Exchange(t.Context(), code, oauth2.VerifierOption(proof))
		if err != nil {
			t.Fatalf("%s: %v", row.persona, err)
		}
		if who, err := verifier.Verify(t.Context(), tokens.AccessToken); err != nil || who.Subject != row.issuer[1:]+":"+row.persona {
			t.Errorf("%s: got %+v, %v", row.persona, who, err)
		}
		raw, _ := tokens.Extra("id_token").(string)
		if id, err := discover(t, base+row.issuer).Verifier(&goidc.Config{ClientID: "front-end"}).Verify(t.Context(), raw); err != nil || id.Nonce != "nonce-1" {
			t.Errorf("%s: ID token %+v, %v", row.persona, id, err)
		}
		if next := refresh(t, b, tokens.RefreshToken); next == nil {
			t.Errorf("%s: refreshing gave no tokens", row.persona)
		}
		home := row.redirect[:strings.LastIndex(row.redirect, ":")] + ":5173/"
		end := base + row.issuer + "/end_session?" + url.Values{"id_token_hint": {raw}, "post_logout_redirect_uri": {home}}.Encode()
		if status, to, page := b.get(end); status != http.StatusFound || to.String() != home {
			t.Errorf("%s: signing out: %d to %s: %s", row.persona, status, to, page)
		}
	}
}

func TestFrontEnd_Refuses(t *testing.T) {
	t.Parallel()
	provider, base := start(t, t.TempDir())
	b := newBrowser(t, base, "/usagers")
	b.conf.ClientID = "front-end"
	challenge := oauth2.S256ChallengeOption(oauth2.GenerateVerifier())
	for _, redirect := range []string{
		"http://evil.example/", "https://localhost:5173/", "http://localhost:5173@evil.example/", "http://localhost:x/", "http://localhost:123456/",
		"http://localhost.evil.example:5173/", "http://localhost:5173.evil.example/", "http://192.168.0.1:5173/", "javascript:alert(1)",
	} {
		b.conf.RedirectURL = redirect
		if status, to, _ := b.get(b.conf.AuthCodeURL("s", challenge)); status != http.StatusBadRequest || to.String() != "" {
			t.Errorf("%s: %d to %s", redirect, status, to)
		}
	}
	b.conf.RedirectURL = "http://localhost:5173/"
	if _, to, _ := b.get(b.conf.AuthCodeURL("s")); to.Query().Get("error") != "invalid_request" {
		t.Errorf("without PKCE: to %s", to)
	}
	// It has no secret, so it is no machine either.
	machine, err := provider.Machine("crm")
	if err != nil {
		t.Fatal(err)
	}
	machine.ClientID, machine.ClientSecret = "front-end", ""
	for _, issuer := range []string{"/usagers", "/machines"} {
		machine.TokenURL = base + issuer + "/token"
		if _, err := machine.TokenSource().Token(); err == nil {
			t.Errorf("%s: a token by client credentials", issuer)
		}
	}
}

// What a page's library asks by fetch is for pages on this machine alone; tokens for
// curl are for none.
func TestFrontEnd_CrossOrigin(t *testing.T) {
	t.Parallel()
	_, base := start(t, t.TempDir())
	b := newBrowser(t, base, "/usagers")
	allowed := func(method, path, origin string) string {
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		if method == http.MethodOptions {
			req.Header.Set("Access-Control-Request-Method", http.MethodGet)
			req.Header.Set("Access-Control-Request-Headers", "authorization")
		}
		resp, err := b.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.Header.Get("Access-Control-Allow-Origin")
	}
	for _, issuer := range []string{"/usagers", "/agents"} {
		for path, method := range map[string]string{"/.well-known/openid-configuration": "GET", "/keys": "GET", "/token": "POST", "/userinfo": "GET"} {
			for _, method := range []string{method, http.MethodOptions} {
				for _, origin := range []string{"http://localhost:5173", "http://127.0.0.1:4321", "http://localhost"} {
					if got := allowed(method, issuer+path, origin); got != origin && got != "*" {
						t.Errorf("%s %s%s from %s: allows %q", method, issuer, path, origin, got)
					}
				}
				for _, origin := range []string{"http://evil.example", "https://localhost:5173", "http://localhost.evil.example:5173", "null"} {
					readable := origin == "null" && path == "/.well-known/openid-configuration"
					if got := allowed(method, issuer+path, origin); (got != "") != readable {
						t.Errorf("%s %s%s from %s: allows %q", method, issuer, path, origin, got)
					}
				}
			}
		}
	}
	for _, path := range []string{"/machines/token", "/dev/token?as=jeanne"} {
		if got := allowed(http.MethodPost, path, "http://localhost:5173"); got != "" {
			t.Errorf("%s: allows %q", path, got)
		}
	}
}
