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
