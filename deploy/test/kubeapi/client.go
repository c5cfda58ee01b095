package kubeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/ma-messagerie/messagerie/deploy/test/manifest"
)

// answer is what the server said besides the body.
type answer struct {
	code     int
	warnings []string
}

func (s *Server) do(ctx context.Context, method, path string, body []byte) (answer, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.address+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, nil, fmt.Errorf("asking the API server: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/apply-patch+yaml")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{}, nil, fmt.Errorf("asking the API server: %w", err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, nil, fmt.Errorf("asking the API server: %w", err)
	}
	return answer{resp.StatusCode, resp.Header.Values("Warning")}, content, nil
}

// Client applies objects to a server.
type Client struct {
	server *Server
	mu     sync.Mutex
	// resources are the known kinds, by group and version, then kind.
	resources map[string]map[string]resource
}

type resource struct {
	Name       string
	Kind       string
	Namespaced bool
}

// NewClient returns a client without knowledge of any kind; it asks when needed.
func NewClient(s *Server) *Client {
	return &Client{server: s, resources: make(map[string]map[string]resource)}
}

// ErrUnknownKind is for objects whose CRD the server does not have.
var ErrUnknownKind = errors.New("the API server does not know the kind")

// Warned is what the server says of an object that it takes all the same.
type Warned struct{ Warnings []string }

func (w Warned) Error() string { return "warned: " + strings.Join(w.Warnings, "; ") }

// Apply puts an object by server-side apply with strict field validation, in a
// namespace if it is of a kind that has one and names none. A warning is an error: it
// is how Pod Security speaks of workloads. With dry, nothing is stored.
func (c *Client) Apply(ctx context.Context, o manifest.Object, namespace string, dry bool) error {
	path, err := c.path(ctx, o, namespace)
	if err != nil {
		return err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("writing %s: %w", o, err)
	}
	query := url.Values{"fieldManager": {"test"}, "fieldValidation": {"Strict"}, "force": {"true"}}
	if dry {
		query.Set("dryRun", "All")
	}
	got, content, err := c.server.do(ctx, http.MethodPatch, path+"?"+query.Encode(), body)
	if err != nil {
		return err
	}
	if got.code >= 300 {
		var status struct{ Message string }
		_ = json.Unmarshal(content, &status) // what is no status has no message
		return fmt.Errorf("applying %s: %d: %s", o, got.code, status.Message)
	}
	if len(got.warnings) > 0 {
		return fmt.Errorf("applying %s: %w", o, Warned{got.warnings})
	}
	return nil
}

func (c *Client) path(ctx context.Context, o manifest.Object, namespace string) (string, error) {
	r, err := c.resourceOf(ctx, o)
	if err != nil {
		return "", err
	}
	path := root(o.APIVersion())
	if r.Namespaced {
		if own := o.Namespace(); own != "" {
			namespace = own
		}
		path += "/namespaces/" + namespace
	}
	return path + "/" + r.Name + "/" + o.Name(), nil
}

func root(version string) string {
	if !strings.Contains(version, "/") {
		return "/api/" + version
	}
	return "/apis/" + version
}

func (c *Client) resourceOf(ctx context.Context, o manifest.Object) (resource, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	version := o.APIVersion()
	if _, asked := c.resources[version]; !asked {
		got, content, err := c.server.do(ctx, http.MethodGet, root(version), nil)
		if err != nil {
			return resource{}, err
		}
		var found struct{ Resources []resource }
		if got.code == http.StatusOK {
			if err := json.Unmarshal(content, &found); err != nil {
				return resource{}, fmt.Errorf("reading what there is in %s: %w", version, err)
			}
			c.resources[version] = make(map[string]resource)
		}
		for _, r := range found.Resources {
			if !strings.Contains(r.Name, "/") {
				c.resources[version][r.Kind] = r
			}
		}
	}
	r, known := c.resources[version][o.Kind()]
	if !known {
		return r, fmt.Errorf("%s %s: %w", version, o, ErrUnknownKind)
	}
	return r, nil
}
