package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// programs are those of one state of the repository, built when they are first
// needed: the services' own, and the compiled Go benchmarks beside their code.
type programs struct {
	// commit is the short hash; empty: the working tree.
	commit string
	// root holds the sources, out what is built of them.
	root, out string
	// gcPercent is the default of the services' GC_PERCENT.
	gcPercent int
	// profiled programs write CPU profiles, see profile.go.
	profiled bool
	// built are the faults of the builds so far, or nil, by file.
	built map[string]error
}

// openVersions returns this tree's programs, and those of the earlier commit if
// one is asked for. Its sources are put into dir.
func openVersions(ctx context.Context, cfg config, dir string) ([]*programs, error) {
	root, err := filepath.Abs(cfg.Root)
	if err != nil {
		return nil, err
	}
	ours, err := openPrograms(root, filepath.Join(dir, "ours"), "", cfg.Profile != "")
	if err != nil || cfg.From == "" {
		return []*programs{ours}, err
	}
	sources := filepath.Join(dir, "older-sources")
	commit, err := checkOut(ctx, root, cfg.From, sources)
	if err != nil {
		return nil, err
	}
	older, err := openPrograms(sources, filepath.Join(dir, "older"), commit, cfg.Profile != "")
	return []*programs{ours, older}, err
}

func openPrograms(root, out, commit string, profiled bool) (*programs, error) {
	if err := os.MkdirAll(out, 0o755); err != nil { //nolint:gosec // nothing secret is in it
		return nil, err
	}
	percent, err := gcPercent(filepath.Join(root, "chassis"))
	return &programs{commit: commit, root: root, out: out, gcPercent: percent, profiled: profiled, built: make(map[string]error)}, err
}

// checkOut puts the files of a commit into dir, which it makes, and returns the
// short hash. It is no worktree: the repository remembers nothing of it, also when
// this program is killed.
func checkOut(ctx context.Context, root, from, dir string) (string, error) {
	commit, err := git(ctx, root, "rev-parse", "--verify", "--short", from+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("finding the commit %q to measure (a shallow clone has none: git fetch --unshallow): %w", from, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // sources
		return "", err
	}
	archive := filepath.Join(dir, "archive.tar")
	defer os.Remove(archive) //nolint:errcheck // its folder goes at the end
	if _, err := git(ctx, root, "archive", "--format=tar", "--output="+archive, commit); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "tar", "-xf", archive, "-C", dir).CombinedOutput(); err != nil { //nolint:gosec // both ours
		return "", fmt.Errorf("unpacking commit %s: %w: %s", commit, err, out)
	}
	return commit, nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...) //nolint:gosec // a commit that whoever runs this names
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimSpace(string(out)), err
}

var gcPercentTag = regexp.MustCompile(`env:"GC_PERCENT" envDefault:"(-?[0-9]+)"`)

// gcPercent reads the default of GC_PERCENT from the sources of chassis: a Go
// benchmark is no program of chassis.Main and has to be given it, and that of an
// earlier commit need not be ours. Sources without the setting are of programs
// that leave it to Go, which takes 100.
func gcPercent(chassis string) (int, error) {
	files, err := filepath.Glob(filepath.Join(chassis, "*.go"))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(fmt.Errorf("no Go files in %s", chassis), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		if found := gcPercentTag.FindSubmatch(content); found != nil {
			return strconv.Atoi(string(found[1]))
		}
	}
	return 100, nil
}

// title is what the table calls them.
func (p *programs) title() string {
	if p.commit == "" {
		return "this tree"
	}
	return "commit " + p.commit
}

// program is a service's own.
func (p *programs) program(ctx context.Context, service string) (string, error) {
	args := []string{"build"}
	if p.profiled {
		overlay, err := p.overlay(service)
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay", overlay)
	}
	return p.build(ctx, service, service, "./cmd/"+service, args...)
}

// benchmarks are a service's compiled tests.
func (p *programs) benchmarks(ctx context.Context, service string) (string, error) {
	return p.build(ctx, service, service+".test", ".", "test", "-c")
}

// build compiles a package of a service's module, alone, as its image does. A
// build that has failed is not tried again.
func (p *programs) build(ctx context.Context, service, name, pkg string, args ...string) (string, error) {
	path := filepath.Join(p.out, name)
	if err, tried := p.built[path]; tried {
		return path, err
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", path, pkg)...) //nolint:gosec // the names in this package
	cmd.Dir = p.folder(service)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("building %s of %s: %w: %s", name, p.title(), err, out)
	}
	p.built[path] = err
	return path, err
}

// folder is a service's module.
func (p *programs) folder(service string) string { return filepath.Join(p.root, "services", service) }

// overlay makes the file for go build -overlay that adds the profile to a
// service's program.
func (p *programs) overlay(service string) (string, error) {
	source := filepath.Join(p.out, "profile.go")
	if err := os.WriteFile(source, []byte(profileSource), 0o600); err != nil {
		return "", err
	}
	added := filepath.Join(p.folder(service), "cmd", service, "bench_profile.go")
	content, err := json.Marshal(map[string]map[string]string{"Replace": {added: source}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(p.out, service+".overlay.json")
	return path, os.WriteFile(path, content, 0o600)
}

// environ is that of every child: nothing that happens to be exported where the
// benchmarks are started (GOGC, MESSAGING_…, OTEL_…) changes what is measured.
func environ(more ...string) []string {
	list := make([]string, 0, 3+len(more))
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok { //nolint:forbidigo // passed on, not read
			list = append(list, name+"="+value)
		}
	}
	return append(list, more...)
}
