//go:build stock

package stack_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/dev/browser"
)

// stockTime bounds the tests in stock browsers.
const stockTime = 20 * time.Minute

// TestFirefox goes through the guide's seven steps in a stock Firefox, with JavaScript and
// without: `make test-firefox`. It takes minutes, and programs that no other test needs.
func TestFirefox(t *testing.T) {
	stock(t, []string{"node", "--test", "--test-reporter=spec", "firefox.mjs"}, "firefox-esr", "nodejs:node")
}

// TestHeard compares what Orca, a screen reader, says of the pages in Chromium and in Firefox
// with what it has to say: `make test-heard`.
func TestHeard(t *testing.T) {
	stock(t, []string{"dbus-run-session", "--", "node", "--test", "--test-reporter=spec", "heard.mjs"},
		"firefox-esr", "chromium", "orca", "xvfb:Xvfb", "xdotool", "dbus:dbus-run-session", "libglib2.0-bin:gdbus", "at-spi2-core:/usr/libexec/at-spi-bus-launcher", "nodejs:node")
}

// stock runs tests of web/e2e/stock against a system of their own. What they need is named by
// its package, and by its program where that has another name.
func stock(t *testing.T, command []string, needs ...string) {
	t.Helper()
	for _, need := range needs {
		deb, program, ok := strings.Cut(need, ":")
		if !ok {
			program = deb
		}
		if _, err := exec.LookPath(program); err != nil {
			testenv.Unavailable(t, fmt.Errorf("%s is missing: apt-get install %s", program, deb))
		}
	}
	const dir = "../../web/e2e/stock"
	browser.Need(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), stockTime)
	defer cancel()
	s := start(t, stateDir(t))
	tests := exec.CommandContext(ctx, command[0], command[1:]...)
	tests.Dir = dir
	tests.Env = append(os.Environ(), "WEB_URL="+s.Places().Web, "INBOX_URL="+s.Places().Inbox)
	out, err := tests.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
