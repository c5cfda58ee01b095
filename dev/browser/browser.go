// Package browser finds what tests in a real browser need: a Chromium, node, npm, and the
// npm packages of a folder. Without one of the programs a test is skipped; where CI is set
// it fails.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// installTime bounds the download of a folder's packages.
const installTime = 15 * time.Minute

// Need ends the test unless the programs are there, and installs the packages of the
// folders, as their lock files have them, where they are missing.
func Need(t testing.TB, folders ...string) {
	t.Helper()
	for _, programs := range [][]string{{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"}, {"node"}, {"npm"}} {
		if !slices.ContainsFunc(programs, func(program string) bool { _, err := exec.LookPath(program); return err == nil }) {
			testenv.Unavailable(t, fmt.Errorf("%s is missing: apt-get install chromium-headless-shell nodejs npm", programs[0]))
		}
	}
	for _, folder := range folders {
		if err := install(folder); err != nil {
			t.Fatal(err)
		}
	}
}

// installing is one at a time: tests that run beside each other share the folders.
var installing sync.Mutex

func install(folder string) error {
	installing.Lock()
	defer installing.Unlock()
	// npm writes this file last.
	if _, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTime)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
	npm.Dir = folder
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w\n%s", folder, err, out)
	}
	return nil
}
