package localpg

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Install installs PostgreSQL with apt-get. It needs root and a Debian.
func Install(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return ErrNoBinaries
	}
	for _, args := range [][]string{{"update", "-q"}, {"install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", "postgresql"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...) //nolint:gosec // the arguments above
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", strings.Join(args, " "), err, lastLines(out))
		}
	}
	return nil
}

// Find returns the folder of the newest server's binaries, or ErrNoBinaries.
func Find() (string, error) { return find(0) }

// find prefers the binaries of one major version, if it is not 0: no other can
// open the data of an existing cluster.
func find(wanted int) (string, error) {
	candidates, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", fmt.Errorf("looking for PostgreSQL: %w", err)
	}
	slices.SortFunc(candidates, func(a, b string) int { return rank(b, wanted) - rank(a, wanted) })
	if path, err := exec.LookPath("postgres"); err == nil {
		candidates = append(candidates, filepath.Dir(path))
	}
	for _, dir := range candidates {
		if executable(filepath.Join(dir, "postgres")) && executable(filepath.Join(dir, "initdb")) {
			return dir, nil
		}
	}
	return "", ErrNoBinaries
}

// rank orders folders such as /usr/lib/postgresql/17/bin.
func rank(bin string, wanted int) int {
	major, err := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	switch {
	case err != nil:
		return 0
	case major == wanted:
		return math.MaxInt
	}
	return major
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}
