package session

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// provider is an OpenID provider whose refresh tokens are good once.
type provider struct {
	*httptest.Server
	t   *testing.T
	key jose.JSONWebKey

	// claims are those of the next id tokens, nonce the sign-in's.
	claims map[string]any
	// scope is what an answer says was granted; empty: nothing.
	scope string
	nonce atomic.Value

	mu       sync.Mutex
	refresh  map[string]bool
	drawn    int
	asked    atomic.Int32
	away     atomic.Bool
	arriving func() // called for each exchange of a refresh token, before it is answered
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{
		t: t, refresh: map[string]bool{"first": true}, claims: map[string]any{"name": "Jeanne Martin", "profiles": []string{"PARTICULIER"}},
		key: jose.JSONWebKey{Key: secret, KeyID: "test", Algorithm: string(jose.ES256), Use: "sig"}, arriving: func() {},
	}
	mux := http.NewServeMux()
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		if p.away.Load() {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"authorization_endpoint":%q,"token_endpoint":%q,"id_token_signing_alg_values_supported":["ES256"]}`, p.URL, p.URL+"/keys", p.URL+"/authorize", p.URL+"/token")
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.key.Public()}})
	})
	mux.HandleFunc("POST /token", p.token)
	return p
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.FormValue("grant_type") == "refresh_token" {
		p.asked.Add(1)
		p.arriving()
		if p.away.Load() {
			http.Error(w, `{"error":"temporarily_unavailable"}`, http.StatusServiceUnavailable)
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	given := r.FormValue("refresh_token")
	if r.FormValue("grant_type") == "refresh_token" && !p.refresh[given] || r.FormValue("code") == "bad" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant","error_description":"secret detail"}`)
		return
	}
	delete(p.refresh, given)
	p.drawn++
	next := fmt.Sprintf("refresh-%d", p.drawn)
	p.refresh[next] = true
	answer := map[string]any{"access_token": fmt.Sprintf("access-%d", p.drawn), "token_type": "Bearer", "expires_in": 300, "refresh_token": next}
	if p.scope != "" {
		answer["scope"] = p.scope
	}
	if nonce, ok := p.nonce.Load().(string); ok {
		answer["id_token"] = p.idToken(nonce)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (p *provider) idToken(nonce string) string {
	claims := map[string]any{"iss": p.URL, "aud": "web", "sub": "1", "nonce": nonce, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, p.claims)
	payload, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, nil)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		p.t.Error(err)
	}
	return compact
}

// keeper is a front end of this provider's members.
func (p *provider) keeper(key string) *Keeper {
	cfg := Provider{Issuer: p.URL, ClientID: "web"}
	return NewKeeper(newTestSealer(p.t, key), "https://messagerie.example.org", map[Realm]Provider{Member: cfg})
}

// begin starts a sign-in, and returns the request that the provider's page sends the
// browser back with.
func (p *provider) begin(k *Keeper, back string) (parameters url.Values, answer *http.Request) {
	p.t.Helper()
	w := httptest.NewRecorder()
	if err := k.Begin(w, httptest.NewRequest(http.MethodGet, "/connexion/member", nil), Member, back); err != nil {
		p.t.Fatal(err)
	}
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != http.StatusSeeOther || to.Path != "/authorize" {
		p.t.Fatalf("%d to %s, %v", w.Code, to, err)
	}
	p.nonce.Store(to.Query().Get("nonce"))
	answer = carried(p.t, nil, w.Result())
	answer.URL.RawQuery = url.Values{"state": {to.Query().Get("state")}, "code": {"good"}}.Encode()
	return to.Query(), answer
}
