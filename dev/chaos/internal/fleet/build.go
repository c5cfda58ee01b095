package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// Build compiles the programs of a working tree (empty: of this one) into a new
// folder. With bugs, those of package chassis/seeded can be switched on.
func Build(ctx context.Context, tree string, race, withBugs bool) (dir string, err error) {
	dir, err = os.MkdirTemp("", "messagerie-chaos-bin-")
	if err != nil {
		return "", fmt.Errorf("making a folder for the programs: %w", err)
	}
	const prefix = "github.com/ma-messagerie/messagerie/"
	args := []string{"build"}
	if race {
		args = append(args, "-race")
	}
	if withBugs {
		args = append(args, "-tags", "seeded")
	}
	args = append(args, "-o", dir+"/", prefix+"dev", prefix+"services/gateway/cmd/gateway", prefix+"services/messaging/cmd/messaging",
		prefix+"services/notifier/cmd/notifier", prefix+"services/taxonomy/cmd/taxonomy")
	if tree == "" { // an earlier tree may have no front end
		args = append(args, prefix+"web/cmd/web")
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return dir, nil
}
