package oidc_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/dev/oidc"
)

// issuerOf tells which of Issuers signs for a realm.
var issuerOf = map[auth.Realm]int{auth.RealmMember: 0, auth.RealmAgent: 1, auth.RealmMachine: 2}

// start serves a provider whose keys are in dir.
func start(t *testing.T, dir string) (*oidc.Provider, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	base := "http://" + server.Listener.Addr().String()
	provider, err := oidc.New(oidc.Config{BaseURL: base, StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = provider
	server.Start()
	t.Cleanup(server.Close)
	return provider, base
}

// discover returns go-oidc's view of an issuer.
func discover(t *testing.T, url string) *goidc.Provider {
	t.Helper()
	seen, err := goidc.NewProvider(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func TestToken_EveryPersona(t *testing.T) {
	t.Parallel()
	provider, _ := start(t, t.TempDir())
	verifier := auth.NewVerifier(auth.Config{Issuers: provider.Issuers()})
	phones := regexp.MustCompile(`^\+3363998\d{4}$`)
	for _, p := range oidc.Personas() {
		t.Run(p.Name, func(t *testing.T) {
			token, err := provider.Token(p.Name)
			if err != nil {
				t.Fatal(err)
			}
			id, err := verifier.Verify(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			iss := provider.Issuers()[issuerOf[p.Realm]]
			if id.Subject != iss.Name+":"+p.Name || id.Realm != p.Realm || id.Name != p.FullName || id.Email != p.Email ||
				id.Phone != p.Phone || id.Locale != p.Locale || id.Caisse != p.Caisse || id.Number != p.Number ||
				!slices.Equal(id.Profiles, p.Profiles) || !slices.Equal(id.Queues, p.Queues) || !slices.Equal(id.Roles, p.Roles) {
				t.Errorf("the token of %+v makes %+v", p, *id)
			}
			if p.Realm == auth.RealmMember && (!phones.MatchString(p.Phone) || p.Number == "" || len(p.Profiles) == 0 || len(p.Roles) > 0) {
				t.Errorf("not a member: %+v", p)
			}
			read, err := discover(t, iss.URL).Verifier(&goidc.Config{ClientID: "messagerie"}).Verify(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(read.Expiry); left < 59*time.Minute || left > time.Hour {
				t.Errorf("lapses in %s", left)
			}
		})
	}
	if _, err := provider.Token("nobody"); err == nil {
		t.Error("nobody has a token")
	}
}

func TestToken_NotOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	provider, _ := start(t, t.TempDir())
	token, err := provider.Token("jeanne")
	if err != nil {
		t.Fatal(err)
	}
	for i, refused := range []bool{false, true, true} {
		// The issuer's name is not looked at: the key alone must tell.
		verifier := discover(t, provider.Issuers()[i].URL).Verifier(&goidc.Config{ClientID: "messagerie", SkipIssuerCheck: true})
		if _, err := verifier.Verify(t.Context(), token); (err != nil) != refused {
			t.Errorf("%s: %v", provider.Issuers()[i].Name, err)
		}
	}
	agentsOnly := auth.NewVerifier(auth.Config{Issuers: provider.Issuers()[1:]})
	if _, err := agentsOnly.Verify(t.Context(), token); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("a member among agents: %v", err)
	}
}

func TestNew_KeysOutliveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := oidc.Config{BaseURL: "http://127.0.0.1:1", StateDir: filepath.Join(dir, "state")}
	before, err := oidc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	token, err := before.Token("claire")
	if err != nil {
		t.Fatal(err)
	}
	after, err := oidc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, cfg.BaseURL+"/agents/userinfo", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	after.ServeHTTP(recorder, req)
	if recorder.Code != http.StatusOK || !strings.Contains(recorder.Body.String(), `"Claire Bernard"`) {
		t.Errorf("after a restart: %d %s", recorder.Code, recorder.Body)
	}

	path := filepath.Join(cfg.StateDir, "agents.key.pem")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	if err := os.WriteFile(path, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := oidc.New(cfg); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("with a damaged key: %v", err)
	}
	if _, err := oidc.New(oidc.Config{BaseURL: "127.0.0.1:1", StateDir: dir}); err == nil {
		t.Error("a base URL without a scheme was accepted")
	}
}

// browser follows a login by hand.
type browser struct {
	t    *testing.T
	base string
	conf oauth2.Config
	http http.Client
}

func newBrowser(t *testing.T, base, issuer string) *browser {
	t.Helper()
	return &browser{
		t: t, base: base,
		conf: oauth2.Config{
			ClientID: "web", RedirectURL: "http://127.0.0.1:8000/auth/callback",
			Endpoint: discover(t, base+issuer).Endpoint(), Scopes: []string{goidc.ScopeOpenID, goidc.ScopeOfflineAccess},
		},
		http: http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// get returns the status, where it leads, and the page.
func (b *browser) get(address string) (int, *url.URL, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

func (b *browser) post(address string, form url.Values) (int, *url.URL, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(req)
}

func (b *browser) do(req *http.Request) (int, *url.URL, string) {
	b.t.Helper()
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	location, err := resp.Location()
	if err != nil {
		location = &url.URL{}
	}
	return resp.StatusCode, location, string(body)
}

// login returns where the application is called back after choosing a persona.
func (b *browser) login(persona string, options ...oauth2.AuthCodeOption) url.Values {
	b.t.Helper()
	_, login, _ := b.get(b.conf.AuthCodeURL("state-1", options...))
	if status, _, page := b.get(login.String()); status != http.StatusOK || !strings.Contains(page, `value="`+persona+`"`) {
		b.t.Fatalf("login page at %s: %d %s", login, status, page)
	}
	status, callback, page := b.post(login.Scheme+"://"+login.Host+login.Path, url.Values{"id": login.Query()["id"], "persona": {persona}})
	if status != http.StatusSeeOther {
		b.t.Fatalf("choosing %s: %d %s", persona, status, page)
	}
	_, back, page := b.get(callback.String())
	if !strings.HasPrefix(back.String(), b.conf.RedirectURL+"?") {
		b.t.Fatalf("called back at %q: %s", back, page)
	}
	return back.Query()
}

func TestCodeFlow(t *testing.T) {
	t.Parallel()
	provider, base := start(t, t.TempDir())
	b := newBrowser(t, base, "/usagers")
	secret := oauth2.GenerateVerifier()
	back := b.login("marc", oauth2.S256ChallengeOption(secret), goidc.Nonce("nonce-1"))
	if back.Get("state") != "state-1" {
		t.Errorf("called back with %v", back)
	}
	tokens, err := b.conf.Exchange(t.Context(), back.Get("code"), oauth2.VerifierOption(secret))
	if err != nil {
		t.Fatal(err)
	}
	who, err := auth.NewVerifier(auth.Config{Issuers: provider.Issuers()}).Verify(t.Context(), tokens.AccessToken)
	if err != nil || who.Subject != "usagers:marc" || !slices.Equal(who.Profiles, []string{"PARTICULIER", "EXPLOITANT"}) || who.Locale != "en" {
		t.Errorf("got %+v, %v", who, err)
	}
	seen := discover(t, base+"/usagers")
	raw, _ := tokens.Extra("id_token").(string)
	idToken, err := seen.Verifier(&goidc.Config{ClientID: "web"}).Verify(t.Context(), raw)
	if err != nil || idToken.Nonce != "nonce-1" || idToken.VerifyAccessToken(tokens.AccessToken) != nil {
		t.Errorf("ID token: %+v, %v", idToken, err)
	}
	info, err := seen.UserInfo(t.Context(), oauth2.StaticTokenSource(tokens))
	if err != nil || info.Subject != "marc" || info.Email != "marc@example.org" {
		t.Errorf("userinfo: %+v, %v", info, err)
	}
	if _, err := b.conf.Exchange(t.Context(), back.Get("code"), oauth2.VerifierOption(secret)); err == nil {
		t.Error("a code served twice")
	}

	next := refresh(t, b, tokens.RefreshToken)
	if next == nil || next.RefreshToken == tokens.RefreshToken || next.AccessToken == tokens.AccessToken {
		t.Fatal("refreshing gave no new tokens")
	}
	if refresh(t, b, tokens.RefreshToken) != nil {
		t.Error("a refresh token served twice")
	}
	end := base + "/usagers/end_session?" + url.Values{"id_token_hint": {raw}, "post_logout_redirect_uri": {"http://127.0.0.1:8000/"}}.Encode()
	if status, to, page := b.get(end); status != http.StatusFound || to.String() != "http://127.0.0.1:8000/" {
		t.Errorf("signing out: %d to %s: %s", status, to, page)
	}
	if refresh(t, b, next.RefreshToken) != nil {
		t.Error("a refresh token serves after signing out")
	}
}

// refresh returns new tokens, or nil if the refresh token was refused.
func refresh(t *testing.T, b *browser, token string) *oauth2.Token {
	t.Helper()
	tokens, err := b.conf.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token}).Token()
	if refused := (*oauth2.RetrieveError)(nil); err != nil && (!errors.As(err, &refused) || refused.ErrorCode != "invalid_grant") {
		t.Errorf("refreshing: %v", err)
	}
	return tokens
}

func TestCodeFlow_WrongVerifier(t *testing.T) {
	t.Parallel()
	_, base := start(t, t.TempDir())
	b := newBrowser(t, base, "/agents")
	right := oauth2.GenerateVerifier()
	code := b.login("sofiane", oauth2.S256ChallengeOption(right)).Get("code")
	for name, verifier := range map[string]string{"another": oauth2.GenerateVerifier(), "none": "", "the challenge": oauth2.S256ChallengeFromVerifier(right)} {
		if _, err := b.conf.Exchange(t.Context(), code, oauth2.VerifierOption(verifier)); err == nil {
			t.Errorf("%s: got tokens", name)
		}
	}
	if _, err := b.conf.Exchange(t.Context(), code, oauth2.VerifierOption(right)); err != nil {
		t.Errorf("the right verifier after wrong ones: %v", err)
	}
}

func TestAuthorize_Refuses(t *testing.T) {
	t.Parallel()
	_, base := start(t, t.TempDir())
	b := newBrowser(t, base, "/usagers")
	challenge := oauth2.S256ChallengeOption(oauth2.GenerateVerifier())
	for name, row := range map[string]struct {
		options []oauth2.AuthCodeOption
		want    string
	}{
		"no PKCE":       {nil, "invalid_request"},
		"plain PKCE":    {[]oauth2.AuthCodeOption{oauth2.SetAuthURLParam("code_challenge", strings.Repeat("a", 43)), oauth2.SetAuthURLParam("code_challenge_method", "plain")}, "invalid_request"},
		"implicit flow": {[]oauth2.AuthCodeOption{challenge, oauth2.SetAuthURLParam("response_type", "id_token token")}, "unauthorized_client"},
		"silent":        {[]oauth2.AuthCodeOption{challenge, oauth2.SetAuthURLParam("prompt", "none")}, "login_required"},
	} {
		status, to, page := b.get(b.conf.AuthCodeURL("s", row.options...))
		if !strings.Contains(to.String(), "error="+row.want) {
			t.Errorf("%s: %d to %s: %s", name, status, to, page)
		}
	}
	for name, option := range map[string]oauth2.AuthCodeOption{
		"redirect elsewhere": oauth2.SetAuthURLParam("redirect_uri", "http://127.0.0.1:8000/other"),
		"unknown client":     oauth2.SetAuthURLParam("client_id", "crm"),
	} {
		if status, to, _ := b.get(b.conf.AuthCodeURL("s", challenge, option)); status != http.StatusBadRequest || to.String() != "" {
			t.Errorf("%s: %d to %s", name, status, to)
		}
	}
	_, login, _ := b.get(b.conf.AuthCodeURL("s", challenge))
	for name, form := range map[string]url.Values{
		"agent among members": {"id": login.Query()["id"], "persona": {"claire"}},
		"nobody":              {"id": login.Query()["id"]},
		"unknown login":       {"id": {"x"}, "persona": {"jeanne"}},
	} {
		if status, _, page := b.post(base+"/usagers/login", form); status != http.StatusBadRequest || !strings.Contains(page, "a expiré") {
			t.Errorf("%s: %d", name, status)
		}
	}
	// A login that nobody made must not yield a code.
	if _, to, _ := b.get(base + "/usagers/authorize/callback?" + url.Values{"id": login.Query()["id"]}.Encode()); to.Query().Get("code") != "" {
		t.Error("a code for nobody")
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	provider, base := start(t, t.TempDir())
	verifier := auth.NewVerifier(auth.Config{Issuers: provider.Issuers()})
	for name, roles := range map[string][]string{"crm": {"agent"}, "gateway": {"service"}, "messaging": {"service"}, "notifier": {"service"}} {
		machine, err := provider.Machine(name)
		if err != nil {
			t.Fatal(err)
		}
		token, err := machine.TokenSource().Token()
		if err != nil {
			t.Fatal(err)
		}
		id, err := verifier.Verify(t.Context(), token.AccessToken)
		if err != nil || id.Subject != "machines:"+name || id.Realm != auth.RealmMachine || !slices.Equal(id.Roles, roles) || id.Client != name || slices.Contains(id.Scopes, "replies.write") != (name == "crm") {
			t.Errorf("%s: got %+v, %v", name, id, err)
		}
	}
	machine, err := provider.Machine("crm")
	if err != nil {
		t.Fatal(err)
	}
	// It may ask for less, not for more.
	some := clientcredentials.Config{ClientID: machine.ClientID, ClientSecret: machine.ClientSecret, TokenURL: machine.TokenURL, Scopes: []string{"queue.read", "dead-letters.write"}}
	less, err := some.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if id, err := verifier.Verify(t.Context(), less.AccessToken); err != nil || !slices.Equal(id.Scopes, []string{"queue.read"}) {
		t.Errorf("asked for one of its own and another: %+v, %v", id, err)
	}
	wrong, elsewhere, web := machine, machine, machine
	wrong.ClientSecret = "guess"
	elsewhere.TokenURL = base + "/agents/token"
	web.TokenURL, web.ClientID, web.ClientSecret = base+"/usagers/token", "web", ""
	for name, refused := range map[string]auth.MachineConfig{"wrong secret": wrong, "another issuer": elsewhere, "public client": web} {
		if _, err := refused.TokenSource().Token(); err == nil {
			t.Errorf("%s: got a token", name)
		}
	}
	if _, err := provider.Machine("jeanne"); err == nil {
		t.Error("jeanne is a machine")
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	provider, base := start(t, t.TempDir())
	b := newBrowser(t, base, "/usagers")
	verifier := auth.NewVerifier(auth.Config{Issuers: provider.Issuers()})
	status, _, token := b.get(base + "/dev/token?as=jeanne")
	if id, err := verifier.Verify(t.Context(), strings.TrimSuffix(token, "\n")); status != http.StatusOK || err != nil || id.Subject != "usagers:jeanne" {
		t.Errorf("bare token: %d %+v, %v", status, id, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/dev/token?as=crm", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	_, _, body := b.do(req)
	var answer struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.TokenType != "Bearer" || answer.ExpiresIn != 3600 {
		t.Errorf("JSON: %s, %v", body, err)
	}
	if id, err := verifier.Verify(t.Context(), answer.AccessToken); err != nil || id.Subject != "machines:crm" {
		t.Errorf("JSON: %+v, %v", id, err)
	}

	missing, _, list := b.get(base + "/dev/token?as=nobody")
	_, _, home := b.get(base + "/")
	for _, p := range oidc.Personas() {
		if missing != http.StatusNotFound || !strings.Contains(list, p.Name) {
			t.Errorf("unknown persona: %d %q lacks %s", missing, list, p.Name)
		}
		if !strings.Contains(home, p.FullName) {
			t.Errorf("the root page lacks %s", p.FullName)
		}
	}
	if !strings.HasSuffix(strings.TrimSpace(home), "</html>") || !strings.Contains(home, "Développement seulement") {
		t.Error("the root page is cut or not marked as development")
	}
}

// A page that resolved its own name to this machine gets no token.
func TestProvider_AnswersToItsOwnNames(t *testing.T) {
	t.Parallel()
	p, err := oidc.New(oidc.Config{BaseURL: "http://127.0.0.1:5556", StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"127.0.0.1:5556": http.StatusOK, "localhost:5556": http.StatusOK, "evil.example": http.StatusMisdirectedRequest, "evil.example:5556": http.StatusMisdirectedRequest,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/dev/token?as=jeanne", nil)
		r.Host = host
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, r)
		if rec.Code != want {
			t.Errorf("%s: %d, want %d", host, rec.Code, want)
		}
	}
}
