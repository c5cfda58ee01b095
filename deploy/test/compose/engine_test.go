package compose

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/dev/journey"
)

// maxImageBytes is the most that an image of ours may be, compressed.
const maxImageBytes = 40 << 20

// journeyPlaces are where docker-compose.yml opens its ports.
var journeyPlaces = journey.Places{
	Web: "http://localhost:8000", Gateway: "http://localhost:8080", OIDC: "http://localhost:5556", Inbox: "http://localhost:8025",
}

// open prepares podman, or skips the test.
func open(t *testing.T) *engine {
	t.Helper()
	if os.Getenv("TEST_DEPLOY") != "true" { //nolint:forbidigo // of the test, not of the product
		t.Skip("TEST_DEPLOY is not true")
	}
	if os.Geteuid() != 0 {
		t.Skip("podman is run as root here")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{dir: filepath.Join(cache, "ma-messagerie", "compose")}
	timed(t, "engine and stand-ins", func() error { return e.prepare(t.Context()) })
	return e
}

// TestImages builds every image twice. It needs root, 6 GB of disk and, at first, ten
// minutes.
func TestImages(t *testing.T) {
	e := open(t)
	if err := os.RemoveAll(e.second()); err != nil {
		t.Fatal(err)
	}
	for _, name := range programs {
		testImage(t, e, name)
	}
}

// TestStack starts docker-compose.yml and walks the guide's steps on it, with the
// images that TestImages has left: alone, it builds only those that are missing. It
// needs root and the ports of docker-compose.yml.
func TestStack(t *testing.T) {
	e := open(t)
	for _, name := range programs {
		if _, err := e.podman(t.Context(), "image", "exists", registry+name+tag); err != nil && name != "messagerie" {
			build(t, e, name, registry+name+tag, os.TempDir())
		}
	}
	if err := e.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer e.stop()
	// Of a run that was interrupted.
	if _, err := e.compose(t.Context(), "down", "-v"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		timed(t, "down -v", func() error {
			_, err := e.compose(context.WithoutCancel(t.Context()), "down", "-v")
			return err
		})
	}()
	timed(t, "up until healthy", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		_, err := e.compose(ctx, "up", "-d", "--no-build", "--wait")
		if err != nil {
			logs, _ := e.compose(t.Context(), "logs", "--tail", "20")
			t.Log(logs)
		}
		return err
	})
	var steps strings.Builder
	timed(t, "journey", func() error { return journey.Run(t.Context(), journeyPlaces, &steps) })
	if t.Failed() {
		t.Log(steps.String())
	}
	// Key set, databases and broker outlive their containers.
	timed(t, "down, and up again", func() error {
		if _, err := e.compose(t.Context(), "down"); err != nil {
			return err
		}
		_, err := e.compose(t.Context(), "up", "-d", "--no-build", "--wait")
		return err
	})
	timed(t, "journey", func() error { return journey.Run(t.Context(), journeyPlaces, io.Discard) })
}

func timed(t *testing.T, what string, do func() error) {
	t.Helper()
	begun := time.Now()
	if err := do(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Logf("%-22s %6.1f s", what, time.Since(begun).Seconds())
}

// testImage builds an image twice, the second time without anything that the first has
// left (TMPDIR has the builder's cache), and compares.
func testImage(t *testing.T, e *engine, name string) {
	t.Helper()
	begun := time.Now()
	first := build(t, e, name, registry+name+tag, os.TempDir())
	second := build(t, e, name, "localhost/second/"+name, e.second())
	if first != second {
		t.Errorf("%s: two builds give %s and %s", name, first, second)
	}
	if user, err := e.podman(t.Context(), "image", "inspect", "-f", "{{.Config.User}}", registry+name+tag); err != nil || user != "65532:65532" {
		t.Errorf("%s runs as %q (%v)", name, user, err)
	}
	size, err := compressed(t.Context(), e, registry+name+tag)
	if err != nil {
		t.Fatal(err)
	}
	if size > maxImageBytes {
		t.Errorf("%s has %d bytes compressed, at most %d are allowed", name, size, maxImageBytes)
	}
	// It runs where nothing can be written, and answers with its version.
	if strings.Contains("gateway messaging taxonomy notifier web", name) {
		said, err := e.podman(t.Context(), "run", "--rm", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--network", "none", registry+name+tag, "version")
		if err != nil || !strings.HasPrefix(said, name+" dev ") {
			t.Errorf("%s says %q (%v)", name, said, err)
		}
	}
	t.Logf("%-12s %s  %5.1f MB compressed, built twice in %.0f s", name, first, float64(size)/1e6, time.Since(begun).Seconds())
}

// build returns the digest of the image that it builds.
func build(t *testing.T, e *engine, name, image, scratch string) string {
	t.Helper()
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	// Without the cache of layers, which would make the comparison an empty one.
	args := append([]string{"TMPDIR=" + scratch, "podman"}, e.storage("build", "-q", "--no-cache", "--layers=false", "--network", "host", "--timestamp", "0",
		"--build-arg", "SERVICE="+name, "-t", image, "-f", "Dockerfile", ".")...)
	if _, err := e.command(t.Context(), root, "env", args...); err != nil {
		t.Fatal(err)
	}
	digest, err := e.podman(t.Context(), "image", "inspect", "-f", "{{.Digest}}", image)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// compressed is what an image takes on a wire, more or less.
func compressed(ctx context.Context, e *engine, image string) (int64, error) {
	save := exec.CommandContext(ctx, "podman", e.storage("save", image)...)
	out, err := save.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := save.Start(); err != nil {
		return 0, fmt.Errorf("saving %s: %w", image, err)
	}
	var count counter
	packed := gzip.NewWriter(&count)
	_, err = io.Copy(packed, out)
	if err == nil {
		err = packed.Close()
	}
	if waited := save.Wait(); err == nil {
		err = waited
	}
	return int64(count), err
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
