package chaos

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/seeded"
)

// TestChaos is the short run: half a minute of faults with reports, twenty seconds
// without. CHAOS_MINUTES makes it longer, CHAOS_SEED repeats one.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two minutes")
	}
	needPrograms(t)
	cfg, err := chassis.Load[Config]("CHAOS_", append([]string{"CHAOS_MINUTES=0.5", "CHAOS_RATE=50"}, os.Environ()...))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = Run(t.Context(), cfg, &out)
	t.Log("\n" + out.String())
	if err != nil {
		t.Error(err)
	}
}

func needPrograms(t *testing.T) {
	t.Helper()
	if _, err := localpg.Find(); err != nil {
		testenv.Unavailable(t, err)
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go to build the programs with")
	}
}

func TestEveryBugHasATrap(t *testing.T) {
	t.Parallel()
	for _, bug := range seeded.All {
		if _, ok := traps[bug.Trap]; !ok {
			t.Errorf("%s is to be caught by %q, which is no trap", bug.Name, bug.Trap)
		}
	}
	if err := (Config{Scenario: "seeded", Minutes: 1, Count: 1, Bugs: []string{"drawn-twice"}}).Validate(); err == nil {
		t.Error("a bug that does not exist is taken: it would pass for one that was missed")
	}
}

// built returns folders of the test's own: one with the system's programs, one to run
// them in.
func built(t *testing.T) (binaries, dir string) {
	t.Helper()
	needPrograms(t)
	binaries, err := fleet.Build(t.Context(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(binaries) })
	return binaries, reachable(t)
}

// reachable is a folder for a test. PostgreSQL's user must get through it, so it is not
// t.TempDir.
func reachable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "messagerie-chaos-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestUpgrade walks from this version to itself, which must cost nobody anything; and
// again with a migration that takes from the running version a column that it reads,
// for one second, which must be noticed. A real upgrade needs another commit:
// make upgrade.
func TestUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two minutes")
	}
	binaries, dir := built(t)
	takeColumn := func(ctx context.Context, f *fleet.Fleet) error {
		_, err := fleet.Query[struct{}](ctx, f.Database, "messaging", `ALTER TABLE conversation RENAME COLUMN status TO state`)
		fleet.Sleep(ctx, time.Second)
		_, err2 := fleet.Query[struct{}](ctx, f.Database, "messaging", `ALTER TABLE conversation RENAME COLUMN state TO status`)
		return errors.Join(err, err2)
	}
	for name, row := range map[string]struct {
		spoil func(context.Context, *fleet.Fleet) error
		want  error
	}{
		"clean":                           {nil, nil},
		"a migration that takes a column": {takeColumn, ErrViolated},
	} {
		t.Run(name, func(t *testing.T) { // by itself: two systems at once take more than two cores
			var out bytes.Buffer
			r := &run{cfg: Config{Seed: 1, Rate: 30, Minutes: 0.25, Dir: filepath.Join(dir, name)}, out: &out, binaries: binaries}
			err := r.rollOut(t.Context(), version{title: "the earlier", binaries: binaries}, version{title: "the later", binaries: binaries}, row.spoil)
			if !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
			t.Log("\n" + out.String())
		})
	}
}
