package stack_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// browserTime bounds the tests in the browser.
const browserTime = 9 * time.Minute

// TestBrowser runs the tests of web/e2e, in a real Chromium, against a system of its
// own: the guide's seven steps with JavaScript and without, accessibility, the
// content security policy, weights. SHOTS=folder keeps pictures of all pages.
func TestBrowser(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"chromium", "node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			testenv.Unavailable(t, fmt.Errorf("%s is missing: apt-get install chromium nodejs npm: %w", program, err))
		}
	}
	dir, err := filepath.Abs("../../web/e2e")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), browserTime)
	defer cancel()
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "playwright-core")); err != nil {
		install := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
	}
	s := start(t, stateDir(t))
	tests := exec.CommandContext(ctx, "node", "--test", "--test-concurrency=2", "--test-reporter=spec", ".")
	tests.Dir = dir
	tests.Env = append(os.Environ(), "WEB_URL="+s.Places().Web, "INBOX_URL="+s.Places().Inbox)
	out, err := tests.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
