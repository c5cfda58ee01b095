package providers

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis"
)

var folders = []string{"postgres", "vault", "taxonomy", "messaging", "notifier", "web"}

func secretsDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range folders {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	for _, folder := range folders {
		files, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(filepath.Join(dir, folder, file.Name()))
			if err != nil {
				t.Fatal(err)
			}
			got[folder+"/"+file.Name()] = string(content)
		}
	}
	return got
}

// A second start must find the key set of the first, or all texts are lost.
func TestWriteSecrets_KeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	dir, cfg := secretsDir(t), Config{StateDir: t.TempDir(), OIDCURL: "http://oidc.localhost:5556"}
	if err := WriteSecrets(cfg, dir); err != nil {
		t.Fatal(err)
	}
	first := read(t, dir)
	// An interrupted start: one is missing.
	if err := os.Remove(filepath.Join(dir, "postgres", "messaging")); err != nil {
		t.Fatal(err)
	}
	if err := WriteSecrets(cfg, dir); err != nil {
		t.Fatal(err)
	}
	second := read(t, dir)
	if len(first) != 19 || len(second) != len(first) {
		t.Errorf("%d and %d secrets, want 19", len(first), len(second))
	}
	for name, value := range first {
		if value == "" || second[name] != value {
			t.Errorf("%s is empty or has changed", name)
		}
	}
	if first["postgres/messaging"] != first["messaging/database-password"] || first["postgres/messaging"] == first["postgres/notifier"] {
		t.Error("a database's password is not its service's alone")
	}
	if want := "postgres://vault:" + first["vault/vault"] + "@vault:5432/vault?sslmode=disable"; first["messaging/vault-url"] != want || first["vault/postgres"] == first["postgres/postgres"] {
		t.Errorf("messaging reaches the vault by %s, want %s, on a server of its own", first["messaging/vault-url"], want)
	}
}

func TestWriteSecrets_NoFolder(t *testing.T) {
	t.Parallel()
	if err := WriteSecrets(Config{StateDir: t.TempDir(), OIDCURL: "http://oidc.localhost:5556"}, t.TempDir()); err == nil {
		t.Error("secrets were written into folders that do not exist")
	}
}

func TestRun_ServesBothAndStops(t *testing.T) {
	t.Parallel()
	oidcAddr, inboxAddr := free(t), free(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{StateDir: t.TempDir(), OIDCAddr: oidcAddr, OIDCURL: "http://" + oidcAddr, InboxAddr: inboxAddr})
	}()
	await(t, "http://"+oidcAddr+"/usagers/.well-known/openid-configuration")
	await(t, "http://"+inboxAddr+"/api/messages")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func free(t *testing.T) string {
	t.Helper()
	lis, err := chassis.Listen(t.Context(), "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// await asks until the answer is 200.
func await(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Timeout: time.Second}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s does not answer", url)
		}
	}
}
