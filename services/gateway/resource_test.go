package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A client that is refused finds where to sign in.
func TestProtectedResource(t *testing.T) {
	t.Parallel()
	for name, public := range map[string]string{"as it was asked": "", "as it is set": "https://api.example.org"} {
		s := start(t, func(cfg *Config) { cfg.PublicURL = public })
		want := public
		if want == "" {
			want = s.url
		}
		refused := s.rest(t, "nobody", "GET", "/v1/conversations", "")
		if told := refused.header.Get("WWW-Authenticate"); refused.code != http.StatusUnauthorized || !strings.HasSuffix(told, `, resource_metadata="`+want+resourcePath+`"`) {
			t.Errorf("%s: %d, %s", name, refused.code, told)
		}
		got := s.rest(t, "nobody", "GET", resourcePath, "")
		var doc protectedResource
		if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Resource != want || len(doc.AuthorizationServers) == 0 || !slices.Contains(doc.ScopesSupported, "conversations.write") {
			t.Errorf("%s: %d %s", name, got.code, got.body)
		}
		for _, issuer := range doc.AuthorizationServers {
			if !isOrigin(issuer) {
				t.Errorf("%s: issuer %q", name, issuer)
			}
		}
	}
	s := start(t)
	// A name that only the request says is nobody's.
	for host, told := range map[string]bool{
		"localhost": true, "LOCALHOST:8080": true, "api.localhost": true, "127.8.9.10:80": true, "[::1]:8080": true,
		strangeHost: false, "evil.test": false, "localhost.evil.test": false, "127.0.0.1.evil.test": false, "10.0.0.1": false, "evil.test#@localhost": false,
	} {
		got := s.rest(t, "nobody", "GET", resourcePath, "", "Host", host)
		refused := s.rest(t, "nobody", "GET", "/v1/conversations", "", "Host", host)
		if (got.code == 200) != told || strings.Contains(refused.header.Get("WWW-Authenticate"), "resource_metadata") != told {
			t.Errorf("%s: %d %s, %q", host, got.code, got.body, refused.header.Get("WWW-Authenticate"))
		}
		if !told && (got.code != 404 && got.code != 400 || strings.Contains(got.body, "evil")) {
			t.Errorf("%s: %d %s", host, got.code, got.body)
		}
	}
	// Such a name does not come through HTTP/1.1.
	if isLoopback("evil.test@localhost") {
		t.Error("a name before a name is taken for this machine")
	}
	short := s.rest(t, "tool", "POST", "/v1/agent/conversations/"+someID+":reply", `{"text":"x"}`)
	if told := short.header.Get("WWW-Authenticate"); short.code != http.StatusForbidden || told != `Bearer realm="messagerie", error="insufficient_scope", scope="replies.write"` {
		t.Errorf("a token of too little: %d, %s", short.code, told)
	}
	for _, wrong := range []string{"api.example.org", "https://api.example.org/", "ftp://api.example.org"} {
		if err := (Config{PublicURL: wrong}).Validate(); err == nil || !strings.Contains(err.Error(), "PUBLIC_URL") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

// The document names one way to sign in for each realm of people, and it leads to the issuer.
func TestOpenAPI_SigningIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	schemes := dig(readAPI(t).doc, "components", "securitySchemes")
	found := make(map[string]string)
	for name, scheme := range schemes {
		path, ok := dig(scheme)["openIdConnectUrl"].(string)
		if !ok {
			continue
		}
		// As a tool does, which follows.
		got := s.rest(t, "nobody", "GET", path, "")
		var doc struct {
			Issuer string `json:"issuer"`
		}
		if err := json.Unmarshal([]byte(got.body), &doc); err != nil || got.code != http.StatusOK {
			t.Fatalf("%s: %d %s", name, got.code, got.body)
		}
		found[name] = doc.Issuer
	}
	if len(found) != 2 || found["members"] == found["agents"] || found["members"] == "" || found["agents"] == "" {
		t.Errorf("issuers %v", found)
	}
	if got := fetch(t, "POST", s.url+"/members"+discovery); got.code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", got.code)
	}
	for path, want := range map[string]string{"/v1/conversations": "members bearer", "/v1/agent/conversations": "agents bearer", "/v1/taxonomy": ""} {
		var ways []string
		for _, way := range list(dig(readAPI(t).doc, "paths", path, "get")["security"]) {
			for name := range dig(way) {
				ways = append(ways, name)
			}
		}
		if got := strings.Join(ways, " "); got != want {
			t.Errorf("%s is for %q, want %q", path, got, want)
		}
	}
}
