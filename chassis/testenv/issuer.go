package testenv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// Audience is what the tokens of an Issuer are meant for.
const Audience = "messagerie"

// Issuer is an OIDC issuer of this test's own, as far as a verifier sees one:
// discovery, keys, and tokens signed with ES256.
type Issuer struct {
	// Issuer is what a verifier's configuration takes.
	Issuer auth.Issuer
	key    jose.JSONWebKey
}

// NewIssuer starts an issuer that ends with the test.
func NewIssuer(t testing.TB, realm auth.Realm) *Issuer {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	iss := &Issuer{key: jose.JSONWebKey{Key: secret, KeyID: "test", Algorithm: string(jose.ES256), Use: "sig"}}
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"authorization_endpoint":%[1]q,"token_endpoint":%q}`, srv.URL, srv.URL+"/keys", srv.URL+"/token")
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{iss.key.Public()}}); err != nil {
			t.Log(err)
		}
	})
	// POST /token answers every client with a machine's token (client
	// credentials) whose subject is the client's id.
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`,
			iss.Token(t, map[string]any{"sub": client, "roles": []string{auth.RoleService}}))
	})
	iss.Issuer = auth.Issuer{Name: string(realm), URL: srv.URL, Realm: realm, Audiences: []string{Audience}}
	return iss
}

// Token signs a token with these claims. Issuer, audience and an expiry in an
// hour are filled in where they are missing.
func (iss *Issuer) Token(t testing.TB, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": iss.Issuer.URL, "aud": Audience, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: iss.key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
