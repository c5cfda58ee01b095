package kubeapi

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/ma-messagerie/messagerie/deploy/test/manifest"
)

// start brings up a server with all CustomResourceDefinitions, for tests that were
// asked for with TEST_DEPLOY=true. It returns false where it lacks the definitions
// that are not on the Go proxy.
func start(t *testing.T) (*Client, bool) {
	t.Helper()
	cfg, err := env.ParseAs[Config]()
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Deploy {
		t.Skip("a real API server is asked with TEST_DEPLOY=true (make test-deploy)")
	}
	began := time.Now()
	step := func(what string) {
		t.Logf("%-28s %5.1f s", what, time.Since(began).Seconds())
		began = time.Now()
	}
	binaries, err := Binaries(t.Context(), cfg, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	step("binaries")
	server, err := Start(t.Context(), binaries, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	step("server ready")
	client := NewClient(server)
	crds, err := Definitions(t.Context(), cfg.CRDs)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Install(t.Context(), crds); err != nil {
		t.Fatal(err)
	}
	step("definitions served")
	return client, cfg.CRDs != ""
}

// namespace makes a namespace that wants all its pods restricted.
func (c *Client) namespace(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	labels := map[string]any{}
	for _, mode := range []string{"enforce", "warn", "audit"} {
		labels["pod-security.kubernetes.io/"+mode] = "restricted"
	}
	o := manifest.Object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name, "labels": labels}}
	if err := c.Apply(ctx, o, "", false); err != nil {
		t.Fatal(err)
	}
}

// applyAll applies what one command would, and says loudly which objects it could
// not ask about.
func applyAll(ctx context.Context, t *testing.T, c *Client, complete bool, what, namespace string, objects []manifest.Object) {
	t.Helper()
	c.namespace(ctx, t, namespace)
	taken := 0
	for _, o := range objects {
		if own := o.Namespace(); own != "" && own != namespace {
			c.namespace(ctx, t, own)
		}
		err := c.Apply(ctx, o, namespace, false)
		switch {
		case errors.Is(err, ErrUnknownKind) && !complete:
			t.Logf("NOT ASKED about %s %s: its definition is not on the Go proxy, give CRD_DIR", o.APIVersion(), o)
		case err != nil:
			t.Errorf("%s: %v", what, err)
		default:
			taken++
		}
	}
	t.Logf("%-60s %d of %d objects taken", what, taken, len(objects))
}

func load(t *testing.T) *manifest.Tree {
	t.Helper()
	tree, err := manifest.LoadTree("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// What the server refuses or warns about: first that it takes every overlay and
// combination as it is, then that it takes no seeded fault.
func TestServer(t *testing.T) {
	client, complete := start(t)
	tree := load(t)
	t.Run("overlays", func(t *testing.T) {
		for _, name := range tree.Overlays() {
			objects, err := tree.Overlay(name)
			if err != nil {
				t.Error(err)
				continue
			}
			applyAll(t.Context(), t, client, complete, name, "overlay-"+name, objects)
		}
	})
	t.Run("combinations", func(t *testing.T) {
		n := 0
		for what, components := range tree.Combinations() {
			objects, err := tree.Combine("base", components...)
			if err != nil {
				t.Error(err)
				continue
			}
			n++
			applyAll(t.Context(), t, client, complete, what, "combination-"+string(rune('a'+n)), objects)
		}
	})
	t.Run("mutants", func(t *testing.T) { mutants(t, client, tree) })
}

// mutants asks both tiers about every seeded fault.
func mutants(t *testing.T, client *Client, tree *manifest.Tree) {
	t.Helper()
	whole, err := tree.Whole()
	if err != nil {
		t.Fatal(err)
	}
	facts, err := manifest.ReadFacts("../../..")
	if err != nil {
		t.Fatal(err)
	}
	client.namespace(t.Context(), t, "mutants")
	caught := 0
	for _, m := range manifest.Mutants() {
		all, changed, err := m.Apply(whole)
		if err != nil {
			t.Error(err)
			continue
		}
		var said []string
		for _, o := range changed {
			if err := client.Apply(t.Context(), o, "mutants", true); err != nil && !errors.Is(err, ErrUnknownKind) {
				said = append(said, "server: "+err.Error())
			}
		}
		for _, f := range manifest.Lint(all, facts) {
			said = append(said, "lint: "+f.String())
		}
		tier := "lint"
		if m.Server {
			tier = "server"
		}
		if !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, tier) && strings.Contains(s, m.Message) }) {
			t.Errorf("MISSED  %-50s by %s: want %q, got %q", m.Name, tier, m.Message, said)
			continue
		}
		caught++
		t.Logf("caught  %-50s by %s: %s", m.Name, tier, m.Message)
	}
	t.Logf("%d of %d caught", caught, len(manifest.Mutants()))
}
