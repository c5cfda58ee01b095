package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// issuer is an OIDC issuer as far as a verifier sees one.
type issuer struct {
	*httptest.Server
	key     atomic.Pointer[jose.JSONWebKey]
	fetches atomic.Int32
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	iss := &issuer{}
	iss.rotate(t, "k1")
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"authorization_endpoint":"x","token_endpoint":"x"}`, iss.URL, iss.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		iss.fetches.Add(1)
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{iss.key.Load().Public()}})
	})
	iss.Server = httptest.NewServer(mux)
	t.Cleanup(iss.Close)
	return iss
}

func (iss *issuer) rotate(t *testing.T, id string) {
	t.Helper()
	secret, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	iss.key.Store(&jose.JSONWebKey{Key: secret, KeyID: id, Algorithm: "RS256"})
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return signRaw(t, alg, key, payload)
}

func signRaw(t *testing.T, alg jose.SignatureAlgorithm, key any, payload []byte) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
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

func (iss *issuer) token(t *testing.T, change func(map[string]any)) string {
	t.Helper()
	claims := map[string]any{
		"iss": iss.URL, "sub": "jeanne", "aud": []string{"messagerie"}, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"email": "jeanne@example.org", "profiles": []string{"PARTICULIER"}, "roles": []string{"agent"}, "caisse": "armorique",
	}
	if change != nil {
		change(claims)
	}
	return sign(t, jose.RS256, iss.key.Load(), claims)
}

func (iss *issuer) verifier() *auth.Verifier {
	return auth.NewVerifier(auth.Config{Issuers: auth.Issuers{{Name: "usagers", URL: iss.URL, Realm: auth.RealmMember, Audiences: []string{"messagerie"}}}})
}

func TestVerify(t *testing.T) {
	t.Parallel()
	iss := newIssuer(t)
	v := iss.verifier()
	if err := v.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second from memory
		id, err := v.Verify(t.Context(), iss.token(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		if id.Subject != "usagers:jeanne" || id.Realm != auth.RealmMember || id.Email != "jeanne@example.org" || id.Profiles[0] != "PARTICULIER" || id.Caisse != "armorique" {
			t.Errorf("got %+v", id)
		}
	}
}

func TestVerify_Refuses(t *testing.T) {
	t.Parallel()
	iss := newIssuer(t)
	stranger := newIssuer(t)
	v := iss.verifier()
	good := iss.token(t, nil)
	public, err := iss.key.Load().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	other := "A"
	if good[len(good)/2] == 'A' {
		other = "B"
	}
	tokens := map[string]string{
		"nothing":             "",
		"not a JWT":           "a.b.c",
		"too long":            strings.Repeat("a", 9<<10),
		"signature cut":       good[:len(good)-4],
		"claims changed":      good[:len(good)/2] + other + good[len(good)/2+1:],
		"lapsed":              iss.token(t, func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"other audience":      iss.token(t, func(c map[string]any) { c["aud"] = "elsewhere" }),
		"no audience":         iss.token(t, func(c map[string]any) { delete(c, "aud") }),
		"no subject":          iss.token(t, func(c map[string]any) { delete(c, "sub") }),
		"no expiry":           iss.token(t, func(c map[string]any) { delete(c, "exp") }),
		"unknown issuer":      stranger.token(t, nil),
		"stranger's key":      stranger.token(t, func(c map[string]any) { c["iss"] = iss.URL }),
		"symmetric":           sign(t, jose.HS256, public, map[string]any{"iss": iss.URL, "sub": "x", "aud": "messagerie", "exp": time.Now().Add(time.Hour).Unix()}),
		"unsigned (alg none)": "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".",
	}
	for name, token := range tokens {
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestVerify_IssuerAway(t *testing.T) {
	t.Parallel()
	iss := newIssuer(t)
	token, fresh := iss.token(t, nil), iss.token(t, func(c map[string]any) { c["sub"] = "paul" })
	v, late := iss.verifier(), iss.verifier()
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	iss.Close()
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("a token already seen: %v", err)
	}
	if _, err := v.Verify(t.Context(), fresh); err != nil {
		t.Errorf("a new token of a known key: %v", err)
	}
	if _, err := late.Verify(t.Context(), token); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("keys never loaded: %v", err)
	}
	if err := late.Ready(t.Context()); err == nil {
		t.Error("ready without keys")
	}
}

func TestIssuers_UnmarshalText(t *testing.T) {
	t.Parallel()
	var list auth.Issuers
	err := list.UnmarshalText([]byte(`[{"url":"ftp://x","realm":"member","audiences":["a"]},{"url":"https://x","realm":"king","audiences":["a"]},{"url":"https://x","realm":"agent"},{"url":"https://x","realm":"machine","audiences":["a"],"numberClaim":"sub"}]`))
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{"ftp://x", "king", "audiences is empty", "numberClaim is for realm member alone"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if err := list.UnmarshalText([]byte(`[{"url":"https://x","realm":"agent","audiences":["a"]}]`)); err != nil || list[0].Name != "agent" || list[0].NumberClaim != "" {
		t.Errorf("got %+v, %v", list, err)
	}
	for given, want := range map[string]string{``: "member_number", `,"numberClaim":"numero"`: "numero"} {
		if err := list.UnmarshalText([]byte(`[{"url":"https://x","realm":"member","audiences":["a"]` + given + `}]`)); err != nil || list[0].NumberClaim != want {
			t.Errorf("got %+v, %v", list, err)
		}
	}
}
