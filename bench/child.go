package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// figures are what a Go benchmark reported, by unit.
type figures map[string]float64

// goBench runs one Go benchmark of a service, with the rig's PostgreSQL.
func (r *rig) goBench(ctx context.Context, service, name, count string) (figures, error) {
	binary, err := r.build(ctx, service)
	if err != nil {
		return nil, err
	}
	args := []string{"-test.run", "^$", "-test.bench", "^" + strings.ReplaceAll(name, "/", "$/^") + "$", "-test.benchtime", count, "-test.timeout", "5m"}
	if r.cfg.Profile != "" {
		args = append(args, "-test.cpuprofile", filepath.Join(r.cfg.Profile, strings.ReplaceAll(name, "/", "-")+".cpu"))
	}
	cmd := exec.CommandContext(ctx, binary, args...) //nolint:gosec // built above
	cmd.Dir = filepath.Join(r.cfg.Root, "services", service)
	cmd.Env = append(os.Environ(), "TEST_DATABASE_URL="+r.cluster.URL("postgres"), "CI=true")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("running %s of %s: %w: %s", name, service, err, out)
	}
	return parseFigures(out, name)
}

// build compiles a service's tests once.
func (r *rig) build(ctx context.Context, service string) (string, error) {
	if binary := r.binaries[service]; binary != "" {
		return binary, nil
	}
	binary := filepath.Join(r.dir, service+".test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, ".") //nolint:gosec // the names above
	cmd.Dir = filepath.Join(r.cfg.Root, "services", service)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the benchmarks of %s: %w: %s", service, err, out)
	}
	r.binaries[service] = binary
	return binary, nil
}

// parseFigures reads the line of a benchmark: its name, the count, then pairs of
// a figure and its unit.
func parseFigures(out []byte, name string) (figures, error) {
	for line := range bytes.Lines(out) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || strings.TrimSuffix(fields[0], "-"+strconv.Itoa(runtime.GOMAXPROCS(0))) != name {
			continue
		}
		got := make(figures)
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("reading %q: %w", line, err)
			}
			got[fields[i+1]] = value
		}
		return got, nil
	}
	return nil, fmt.Errorf("no figures of %s in: %s", name, out)
}
