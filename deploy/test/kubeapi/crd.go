package kubeapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/ma-messagerie/messagerie/deploy/test/manifest"
)

// definitions are where the CustomResourceDefinitions of components' kinds are, in
// modules of the Go proxy. Those of CloudNativePG and NACK are not there: a folder
// with them may be given ($CRD_DIR).
var definitions = []struct{ module, version, sum, folder string }{
	{"sigs.k8s.io/gateway-api", "v1.6.1", "h1:mock6phZbI6rvZerwrVNk7hVNymQgHo+6sJ81Ia7ftY=", "config/crd/standard"},
	{"github.com/kedacore/keda/v2", "v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=", "config/crd/bases"},
	{"github.com/cert-manager/cert-manager", "v1.21.2", "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=", "deploy/crds"},
	{"github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=", "example/prometheus-operator-crd"},
	{"github.com/external-secrets/external-secrets", "v1.3.2", "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=", "config/crds/bases"},
}

// Definitions reads all of them, and those of a folder of one's own if it is not
// empty.
func Definitions(ctx context.Context, own string) ([]manifest.Object, error) {
	var all []manifest.Object
	folders := []string{}
	if own != "" {
		folders = append(folders, own)
	}
	for _, d := range definitions {
		dir, err := download(ctx, d.module, d.version, d.sum)
		if err != nil {
			return nil, err
		}
		folders = append(folders, filepath.Join(dir, filepath.FromSlash(d.folder)))
	}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("%s holds no CustomResourceDefinition", folder)
		}
		for _, file := range files {
			found, err := definitionsOf(file)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

func definitionsOf(file string) ([]manifest.Object, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading a CustomResourceDefinition: %w", err)
	}
	objects, err := manifest.Decode(string(content))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	var found []manifest.Object
	for _, o := range objects {
		if o.Kind() == "CustomResourceDefinition" {
			found = append(found, o)
		}
	}
	return found, nil
}

// download has the go command fetch a module that nothing here imports, and returns
// its folder. The sum is compared here, as no go.sum holds it.
func download(ctx context.Context, module, version, sum string) (string, error) {
	dir, err := os.MkdirTemp("", "crd")
	if err != nil {
		return "", fmt.Errorf("downloading %s: %w", module, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module+"@"+version) //nolint:gosec // names of the table above
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	var got struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &got); jsonErr != nil || got.Error != "" {
		return "", fmt.Errorf("downloading %s: %w: %s", module, errors.Join(err, jsonErr), got.Error)
	}
	if got.Sum != sum {
		return "", fmt.Errorf("downloading %s: its sum is %s, and not %s", module, got.Sum, sum)
	}
	return got.Dir, nil
}

// Install puts CustomResourceDefinitions, whatever the server thinks of their style,
// and waits until it serves their kinds.
func (c *Client) Install(ctx context.Context, all []manifest.Object) error {
	for _, o := range all {
		if err := c.Apply(ctx, o, "", false); err != nil && !errors.As(err, &Warned{}) {
			return err
		}
	}
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for _, o := range all {
		for !c.established(ctx, o) {
			select {
			case <-again.C:
			case <-ctx.Done():
				return fmt.Errorf("waiting for %s: %w", o, ctx.Err())
			}
		}
	}
	return nil
}

func (c *Client) established(ctx context.Context, o manifest.Object) bool {
	path, err := c.path(ctx, o, "")
	if err != nil {
		return false
	}
	got, content, err := c.server.do(ctx, http.MethodGet, path, nil)
	var crd struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	if err != nil || got.code != http.StatusOK || json.Unmarshal(content, &crd) != nil {
		return false
	}
	for _, condition := range crd.Status.Conditions {
		if condition.Type == "Established" && condition.Status == "True" {
			return true
		}
	}
	return false
}
