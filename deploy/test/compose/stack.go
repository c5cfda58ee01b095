// Package compose holds the checks of docker-compose.yml and of the Dockerfile.
//
// The light ones read the files: every fault that they know is seeded once, so that
// each is known to be caught. What they cannot see is whether the images work: the
// heavy test (TEST_DEPLOY=true) builds them with podman, starts the stack and walks
// the guide's steps on it. See engine.go for how far its base images are the real
// ones.
package compose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/dev/providers"
	"github.com/ma-messagerie/messagerie/services/gateway"
	"github.com/ma-messagerie/messagerie/services/messaging"
	"github.com/ma-messagerie/messagerie/services/notifier"
	"github.com/ma-messagerie/messagerie/services/taxonomy"
	"github.com/ma-messagerie/messagerie/web"
)

// root is the repository's, seen from this package.
const root = "../../.."

// registry is what every image of ours begins with, and tag what it ends with in the
// tree; deploy/k8s has the same names.
const (
	registry = "ghcr.io/ma-messagerie/"
	tag      = ":dev"
)

// programs are the values of SERVICE in the Dockerfile.
var programs = []string{"gateway", "messaging", "taxonomy", "notifier", "web", "messagerie", "dev"}

// load reads a compose file as the command does, with all profiles.
func load(ctx context.Context, content []byte) (*types.Project, error) {
	dir, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("finding the repository: %w", err)
	}
	return loader.LoadWithContext(ctx, types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "docker-compose.yml"), Content: content}},
	}, func(o *loader.Options) {
		o.SetProjectName("messagerie", true)
		o.Profiles = []string{"*"}
	})
}

// setting is one environment variable that a program reads.
type setting struct{ required bool }

// settings returns those of a service, read from its Config as the service does.
func settings(service string) (map[string]setting, error) {
	var fields []env.FieldParams
	var err error
	prefix := strings.ToUpper(service) + "_"
	opts := env.Options{Prefix: prefix}
	switch service {
	case "gateway":
		fields, err = env.GetFieldParamsWithOptions(&gateway.Config{}, opts)
	case "messaging":
		fields, err = env.GetFieldParamsWithOptions(&messaging.Config{}, opts)
	case "notifier":
		fields, err = env.GetFieldParamsWithOptions(&notifier.Config{}, opts)
	case "taxonomy":
		fields, err = env.GetFieldParamsWithOptions(&taxonomy.Config{}, opts)
	case "web":
		fields, err = env.GetFieldParamsWithOptions(&web.Config{}, opts)
	case "providers":
		fields, err = env.GetFieldParamsWithOptions(&providers.Config{}, opts)
	default:
		return nil, fmt.Errorf("no Config is known for %s", service)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the settings of %s: %w", service, err)
	}
	// These two chassis.Main reads for all.
	known := map[string]setting{prefix + "LOG_LEVEL": {}, prefix + "GC_PERCENT": {}}
	for _, field := range fields {
		known[field.Key] = setting{required: field.Required}
	}
	return known, nil
}

// secretFiles are those that the service secrets makes, as folder/file.
func secretFiles(scratch string) ([]string, error) {
	for _, folder := range []string{"postgres", "vault", "taxonomy", "messaging", "notifier", "web"} {
		if err := os.MkdirAll(filepath.Join(scratch, "secrets", folder), 0o700); err != nil {
			return nil, err
		}
	}
	cfg, err := chassis.Load[providers.Config]("PROVIDERS_", []string{"PROVIDERS_STATE_DIR=" + scratch})
	if err != nil {
		return nil, err
	}
	if err := providers.WriteSecrets(cfg, filepath.Join(scratch, "secrets")); err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(scratch, "secrets", "*", "*"))
	for i, path := range paths {
		paths[i] = strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(filepath.Join(scratch, "secrets"))+"/")
	}
	return paths, err
}

// program is which of ours an image is of, or empty.
func program(image string) string {
	name, ours := strings.CutPrefix(image, registry)
	name, tagged := strings.CutSuffix(name, tag)
	if !ours || !tagged || !slices.Contains(programs, name) {
		return ""
	}
	return name
}
