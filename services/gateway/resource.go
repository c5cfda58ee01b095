package gateway

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/fair"
)

// resourcePath is where a client learns where to sign in, and for what (RFC 9728).
const resourcePath = "/.well-known/oauth-protected-resource"

// protectedResource is the document of RFC 9728, 2.
type protectedResource struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Name                 string   `json:"resource_name"`
	Documentation        string   `json:"resource_documentation"`
}

// describeResource is the document but for where the resource is.
func describeResource(issuers auth.Issuers, routes map[string]*route) protectedResource {
	doc := protectedResource{
		BearerMethods: []string{"header"}, Name: "Ma messagerie",
	}
	for _, issuer := range issuers {
		doc.AuthorizationServers = append(doc.AuthorizationServers, issuer.URL)
	}
	for _, rt := range routes {
		if rt.Scope != "" {
			doc.ScopesSupported = append(doc.ScopesSupported, rt.Scope)
		}
	}
	for _, list := range []*[]string{&doc.AuthorizationServers, &doc.ScopesSupported} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return doc
}

// origin is where the caller has found the gateway: PublicURL, else as the request says. A
// proxy that is trusted tells whether it was reached by TLS.
func (s *rest) origin(r *http.Request) string {
	if s.publicURL != "" {
		return s.publicURL
	}
	scheme := "http"
	conn, _ := r.Context().Value(connKey{}).(*fair.Conn)
	if r.TLS != nil || conn != nil && conn.Proxied() && r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

func (s *rest) serveResource(w http.ResponseWriter, r *http.Request) {
	doc := s.resource
	doc.Resource = s.origin(r)
	doc.Documentation = doc.Resource + "/openapi.json"
	text, err := json.Marshal(doc)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "private, max-age=300")
	_, _ = w.Write(text)
}
