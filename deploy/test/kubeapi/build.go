// Package kubeapi asks a real Kubernetes API server what it thinks of the manifests.
//
// kube-apiserver and etcd are built from the Go module proxy, as the modules below
// build pin them, into $XDG_CACHE_HOME/ma-messagerie, which takes minutes the first
// time; or taken from $KUBEBUILDER_ASSETS. They listen on the loopback interface and
// keep their data in a temporary folder. There is no kubelet and no controller:
// objects are accepted or refused, and nothing runs.
package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Version is that of kube-apiserver, as build/kube/go.mod has it.
const Version = "v1.37.2"

// commands are what is built: a name, the module below build, and the package.
var commands = [][3]string{
	{"etcd", "etcd", "go.etcd.io/etcd/server/v3"},
	{"kube-apiserver", "kube", "k8s.io/kubernetes/cmd/kube-apiserver"},
}

// Config is what the environment says about these tests.
type Config struct {
	// Deploy asks for them: they take long.
	Deploy bool `env:"TEST_DEPLOY"`
	// Assets is a folder that holds etcd and kube-apiserver; empty builds them.
	Assets string `env:"KUBEBUILDER_ASSETS"`
	// Cache is where what is built is kept; empty is .cache of the home folder.
	Cache string `env:"XDG_CACHE_HOME"`
	// CRDs is a folder of CustomResourceDefinitions beside those of the Go proxy.
	CRDs string `env:"CRD_DIR"`
}

// Binaries returns a folder that holds etcd and kube-apiserver, built there if they
// are missing. say is told what takes long.
func Binaries(ctx context.Context, cfg Config, say func(string, ...any)) (string, error) {
	if cfg.Assets != "" {
		return cfg.Assets, nil
	}
	cache := cfg.Cache
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding a cache: %w", err)
		}
		cache = filepath.Join(home, ".cache")
	}
	dir := filepath.Join(cache, "ma-messagerie", "kube-"+Version)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("making a cache: %w", err)
	}
	for _, c := range commands {
		if err := build(ctx, dir, c[0], c[1], c[2], say); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// build makes one command. It is renamed into place, so that a build that was
// stopped leaves nothing that looks whole.
func build(ctx context.Context, dir, name, module, pkg string, say func(string, ...any)) error {
	target := filepath.Join(dir, name)
	if _, err := os.Stat(target); err == nil {
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("looking for %s: %w", name, err)
	}
	say("building %s for Kubernetes %s: kube-apiserver takes 4 to 7 minutes where nothing is cached", name, Version)
	half := fmt.Sprintf("%s.%d", target, os.Getpid())
	defer func() { _ = os.Remove(half) }()
	cmd := exec.CommandContext(ctx, "go", "build", "-p", "2", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", half, pkg) //nolint:gosec // names of the table above
	cmd.Dir = filepath.Join("build", module)
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	if err := os.Rename(half, target); err != nil {
		return fmt.Errorf("keeping %s: %w", name, err)
	}
	return nil
}
