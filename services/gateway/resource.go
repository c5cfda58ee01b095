package gateway

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
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

// describeResource returns the document without the resource's address.
func describeResource(issuers auth.Issuers, routes map[string]*route.Route) protectedResource {
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

// errNoPublicURL: a client trusts the document to name the resource that a token is for (RFC
// 9728, 3.3), so the address must not be taken from the request.
var errNoPublicURL = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_PUBLIC_URL_UNSET, "the gateway does not know its public address: set GATEWAY_PUBLIC_URL")

// origin returns where callers find the gateway: PublicURL, else, for callers on the machine
// itself, the request's Host; empty for others. A trusted proxy says whether it was reached
// by TLS.
func (s *rest) origin(r *http.Request) string {
	if s.publicURL != "" || !isLoopback(r.Host) {
		return s.publicURL
	}
	scheme := "http"
	conn, _ := r.Context().Value(connKey{}).(*fair.Conn)
	if r.TLS != nil || conn != nil && conn.Proxied() && r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// isLoopback reports whether a Host names the machine itself (RFC 6761, 6.3).
func isLoopback(host string) bool {
	u, err := url.Parse("http://" + host)
	if err != nil || u.Host != host {
		return false
	}
	name := strings.ToLower(u.Hostname())
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || err == nil && ip.IsLoopback()
}

func (s *rest) serveResource(w http.ResponseWriter, r *http.Request) {
	doc := s.resource
	if doc.Resource = s.origin(r); doc.Resource == "" {
		answer.Refuse(w, r, errNoPublicURL)
		return
	}
	doc.Documentation = doc.Resource + "/openapi.json"
	text, err := json.Marshal(doc)
	if err != nil {
		answer.Refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "private, max-age=300")
	_, _ = w.Write(text)
}

// discovery is where an issuer describes itself (OpenID Connect Discovery, 4).
const discovery = "/.well-known/openid-configuration"

// discoveries are paths that redirect to the discovery documents of people's issuers. The
// OpenAPI document names them: it is the same in every installation, and each has its own
// issuers. Of several issuers of a realm it is the first; the protected resource lists all.
func discoveries(issuers auth.Issuers) map[string]func(http.ResponseWriter, *http.Request) {
	paths := make(map[string]func(http.ResponseWriter, *http.Request))
	for _, iss := range issuers {
		path := map[auth.Realm]string{auth.RealmMember: "/members", auth.RealmAgent: "/agents"}[iss.Realm] + discovery
		if path == discovery || paths[path] != nil {
			continue
		}
		paths[path] = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", strings.TrimSuffix(iss.URL, "/")+discovery)
			w.Header().Set("Cache-Control", "public, max-age=300")
			w.WriteHeader(http.StatusFound)
		}
	}
	return paths
}
