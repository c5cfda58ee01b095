package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build compiles the programs of a working tree (empty: of this one) into a new
// folder. More flags for the compiler may follow.
func Build(ctx context.Context, tree string, race bool, flags ...string) (dir string, err error) {
	dir, err = os.MkdirTemp("", "messagerie-chaos-bin-")
	if err != nil {
		return "", fmt.Errorf("making a folder for the programs: %w", err)
	}
	const prefix = "github.com/ma-messagerie/messagerie/"
	args := append([]string{"build"}, flags...)
	if race {
		args = append(args, "-race")
	}
	args = append(args, "-o", dir+"/", prefix+"dev", prefix+"services/gateway/cmd/gateway", prefix+"services/messaging/cmd/messaging",
		prefix+"services/notifier/cmd/notifier", prefix+"services/taxonomy/cmd/taxonomy")
	if tree == "" { // an earlier tree may have no front end
		args = append(args, prefix+"web/cmd/web")
	}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the flags are the harness's own
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return dir, nil
}

// Tree is the folder of the working tree that the harness is run in.
func Tree(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOWORK").Output()
	if err != nil {
		return "", fmt.Errorf("finding the working tree: %w", err)
	}
	work := strings.TrimSpace(string(out))
	if !filepath.IsAbs(work) {
		return "", fmt.Errorf("finding the working tree: go env GOWORK says %q", work)
	}
	return filepath.Dir(work), nil
}
