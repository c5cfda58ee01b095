package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// engine is podman with a storage of its own, for machines without Docker: Debian's
// 4.3.1 with runc, netavark and cgroupfs, as needed in a container or a small machine
// without systemd. Its base images are stand-ins, built from Debian's packages and the
// Go module proxy (see standin/Containerfile): PostgreSQL is 15, not 17. What is
// proved is that our images and docker-compose.yml work, not that the official base
// images do.
type engine struct {
	// dir keeps what is slow to make over runs: 3 GB.
	dir string
	// stop ends what start has started.
	stop func()
}

// composeVersion is of Docker's own client; it speaks to podman.
const composeVersion = "v5.6.0"

const containersConf = `[containers]
default_ulimits=["nofile=4096:4096","nproc=4096:4096"]
[engine]
cgroup_manager="cgroupfs"
runtime="runc"
events_logger="file"
[network]
network_backend="netavark"
`

// standIns are the base images by their target in the Containerfile.
var standIns = map[string]string{
	"golang":     "docker.io/library/golang:1.26.8-bookworm",
	"distroless": "gcr.io/distroless/static-debian12:nonroot",
	"postgres":   "docker.io/library/postgres:17-bookworm",
	"nats":       "docker.io/library/nats:2.15.2-alpine",
}

// command is a command with its output in the error.
func (e *engine) command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // ours
	cmd.Dir = dir
	// One container at a time: of several that podman 4.3.1 starts at once, now and then
	// one has no network for as long as it lives.
	cmd.Env = append(os.Environ(), "COMPOSE_PARALLEL_LIMIT=1", "CONTAINERS_CONF="+filepath.Join(e.dir, "containers.conf"), "DOCKER_HOST=unix://"+e.socket(),
		"GOWORK=off", "GOFLAGS=-mod=mod", "CGO_ENABLED=0", "DEBIAN_FRONTEND=noninteractive")
	// A child that keeps the output open holds up nothing.
	cmd.WaitDelay = 5 * time.Second
	var errout strings.Builder
	cmd.Stderr = &errout
	out, err := cmd.Output()
	if err != nil {
		said := errout.String()
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, said[max(0, len(said)-4000):])
	}
	return strings.TrimSpace(string(out)), nil
}

func (e *engine) socket() string { return filepath.Join(e.dir, "podman.sock") }

// second is where the second builds keep what they download and compile.
func (e *engine) second() string { return filepath.Join(e.dir, "second") }

func (e *engine) storage(args ...string) []string {
	return append([]string{"--root", filepath.Join(e.dir, "storage"), "--runroot", filepath.Join(e.dir, "run"), "--storage-driver", "overlay"}, args...)
}

func (e *engine) podman(ctx context.Context, args ...string) (string, error) {
	return e.command(ctx, root, "podman", e.storage(args...)...)
}

func (e *engine) compose(ctx context.Context, args ...string) (string, error) {
	return e.command(ctx, root, filepath.Join(e.dir, "docker-compose"), append([]string{"-p", "messagerie"}, args...)...)
}

// prepare makes what is missing in dir: minutes at first, nothing later.
func (e *engine) prepare(ctx context.Context) error {
	if err := os.MkdirAll(e.dir, 0o755); err != nil { //nolint:gosec // containers' users go through it
		return err
	}
	if err := os.WriteFile(filepath.Join(e.dir, "containers.conf"), []byte(containersConf), 0o600); err != nil {
		return err
	}
	steps := []func(context.Context) error{e.install, e.tools, e.debian, e.bases}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) install(ctx context.Context) error {
	for _, tool := range []string{"podman", "runc", "debootstrap"} {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if _, err := e.command(ctx, "", "apt-get", "update"); err != nil {
			return err
		}
		_, err := e.command(ctx, "", "apt-get", "install", "-y", "--no-install-recommends", "podman", "netavark", "aardvark-dns", "runc", "iptables", "debootstrap")
		return err
	}
	return nil
}

// tools builds the broker and the compose client from the module proxy.
func (e *engine) tools(ctx context.Context) error {
	for name, from := range map[string]struct{ module, version, pkg string }{
		"nats-server":    {"github.com/nats-io/nats-server/v2", "v2.15.2", ""},
		"docker-compose": {"github.com/docker/compose/v5", composeVersion, "/cmd"},
	} {
		if e.has(name) {
			continue
		}
		dir, err := os.MkdirTemp(e.dir, "tool-")
		if err != nil {
			return err
		}
		for _, args := range [][]string{
			{"mod", "init", "tool"},
			{"get", from.module + "@" + from.version},
			{"build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(e.dir, name), from.module + from.pkg},
		} {
			if _, err = e.command(ctx, dir, "go", args...); err != nil {
				break
			}
		}
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) has(name string) bool {
	_, err := os.Stat(filepath.Join(e.dir, name))
	return err == nil
}

// debian makes the root file system that the stand-ins are made from.
func (e *engine) debian(ctx context.Context) error {
	if e.has("debian.tar") {
		return nil
	}
	tree := filepath.Join(e.dir, "debian")
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	if _, err := e.command(ctx, "", "debootstrap", "--variant=minbase", "--include=postgresql-15,busybox-static,ca-certificates", "bookworm", tree); err != nil {
		return err
	}
	if _, err := e.command(ctx, "", "tar", "-C", tree, "--exclude=./var/cache/apt/*", "--exclude=./usr/share/doc/*", "-cf", filepath.Join(e.dir, "debian.new"), "."); err != nil {
		return err
	}
	return errors.Join(os.Rename(filepath.Join(e.dir, "debian.new"), filepath.Join(e.dir, "debian.tar")), os.RemoveAll(tree))
}

// bases builds the stand-ins that are not there yet.
func (e *engine) bases(ctx context.Context) error {
	dir := filepath.Join(e.dir, "context")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil { //nolint:gosec // nothing secret
		return err
	}
	defer os.RemoveAll(dir)
	goroot, err := e.command(ctx, "", "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	script := `cp deploy/test/compose/standin/* "$1" && ln "$2/debian.tar" "$1/debian.tar" && cp -r "$3" "$1/go" && cp "$2/nats-server" "$1/" && cp /etc/ssl/certs/ca-certificates.crt "$1/"`
	if _, err := e.command(ctx, root, "sh", "-c", script, "sh", dir, e.dir, goroot); err != nil {
		return err
	}
	for target, name := range standIns {
		if _, err := e.podman(ctx, "image", "exists", name); err == nil {
			continue
		}
		if _, err := e.podman(ctx, "build", "-q", "--target", target, "-t", name, dir); err != nil {
			return err
		}
	}
	return nil
}

// start serves Docker's API, and asks for health in place of systemd's timers, until
// stop is called.
func (e *engine) start(ctx context.Context) error {
	_ = os.Remove(e.socket())
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cmd := exec.CommandContext(ctx, "podman", e.storage("system", "service", "--time=0", "unix://"+e.socket())...) //nolint:gosec // ours
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+filepath.Join(e.dir, "containers.conf"))
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		return fmt.Errorf("starting podman: %w", err)
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			running, _ := e.podman(ctx, "ps", "-q")
			for _, id := range strings.Fields(running) {
				_, _ = e.podman(ctx, "healthcheck", "run", id)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	e.stop = func() { cancel(); <-asked; _ = cmd.Wait() }
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for !e.has("podman.sock") {
		select {
		case <-poll.C:
		case <-deadline.C:
			e.stop()
			return errors.New("podman does not serve its API")
		}
	}
	return nil
}
