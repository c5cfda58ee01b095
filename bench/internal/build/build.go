// Package build builds the programs of this tree and of an earlier commit.
package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Version is the programs of one state of the repository, built when they are first
// needed: the services' own, and the compiled Go benchmarks beside their code.
type Version struct {
	// Commit is the short hash; empty: the working tree.
	Commit string
	// root holds the sources, out what is built of them.
	root, out string
	// GCPercent is the default of the services' GC_PERCENT.
	GCPercent int
	// Profile is the source of what has programs write CPU profiles; empty: they write none.
	Profile string
	// built are the faults of the builds so far, or nil, by file.
	built map[string]error
}

// Open returns this tree's programs, and those of the earlier commit if
// one is asked for. Its sources are put into dir.
func Open(ctx context.Context, at, from, dir, profile string) ([]*Version, error) {
	root, err := filepath.Abs(at)
	if err != nil {
		return nil, err
	}
	ours, err := One(root, filepath.Join(dir, "ours"), "", profile)
	if err != nil || from == "" {
		return []*Version{ours}, err
	}
	sources := filepath.Join(dir, "older-sources")
	commit, err := checkOut(ctx, root, from, sources)
	if err != nil {
		return nil, err
	}
	older, err := One(sources, filepath.Join(dir, "older"), commit, profile)
	return []*Version{ours, older}, err
}

// One returns the programs of the sources in root, to be built into out.
func One(root, out, commit, profile string) (*Version, error) {
	if err := os.MkdirAll(out, 0o755); err != nil { //nolint:gosec // nothing secret is in it
		return nil, err
	}
	percent, err := gcPercent(filepath.Join(root, "chassis"))
	return &Version{Commit: commit, root: root, out: out, GCPercent: percent, Profile: profile, built: make(map[string]error)}, err
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

// Title is what the table calls them.
func (p *Version) Title() string {
	if p.Commit == "" {
		return "this tree"
	}
	return "commit " + p.Commit
}

// Program is a service's own.
func (p *Version) Program(ctx context.Context, service string) (string, error) {
	args := []string{"build"}
	if p.Profile != "" {
		overlay, err := p.overlay(service)
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay", overlay)
	}
	return p.build(ctx, service, service, "./cmd/"+service, args...)
}

// Benchmarks are the compiled tests of the package of a service that has a benchmark, and the
// folder to run them in: versions have it in different places.
func (p *Version) Benchmarks(ctx context.Context, service, benchmark string) (binary, folder string, err error) {
	name, _, _ := strings.Cut(benchmark, "/")
	err = filepath.WalkDir(p.Folder(service), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // of the tree that is measured
		if err == nil && bytes.Contains(content, []byte("func "+name+"(b *testing.B)")) {
			folder = filepath.Dir(path)
			return fs.SkipAll
		}
		return err
	})
	if err == nil && folder == "" {
		err = fmt.Errorf("%s of %s has no %s", service, p.Title(), name)
	}
	if err != nil {
		return "", "", err
	}
	pkg, err := filepath.Rel(p.Folder(service), folder)
	if err != nil {
		return "", "", err
	}
	binary, err = p.build(ctx, service, service+"-"+strings.ReplaceAll(filepath.ToSlash(pkg), "/", "-")+".test", "./"+pkg, "test", "-c")
	return binary, folder, err
}

// build compiles a package of a service's module, alone, as its image does. A
// build that has failed is not tried again.
func (p *Version) build(ctx context.Context, service, name, pkg string, args ...string) (string, error) {
	path := filepath.Join(p.out, name)
	if err, tried := p.built[path]; tried {
		return path, err
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", path, pkg)...) //nolint:gosec // the names in this package
	cmd.Dir = p.Folder(service)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("building %s of %s: %w: %s", name, p.Title(), err, out)
	}
	p.built[path] = err
	return path, err
}

// Folder is a service's module.
func (p *Version) Folder(service string) string { return filepath.Join(p.root, "services", service) }

// overlay makes the file for go build -overlay that adds the profile to a
// service's program.
func (p *Version) overlay(service string) (string, error) {
	source := filepath.Join(p.out, "profile.go")
	if err := os.WriteFile(source, []byte(p.Profile), 0o600); err != nil {
		return "", err
	}
	added := filepath.Join(p.Folder(service), "cmd", service, "bench_profile.go")
	content, err := json.Marshal(map[string]map[string]string{"Replace": {added: source}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(p.out, service+".overlay.json")
	return path, os.WriteFile(path, content, 0o600)
}

// Environ is that of every child: nothing that happens to be exported where the
// Benchmarks are started (GOGC, MESSAGING_…, OTEL_…) changes what is measured.
func Environ(more ...string) []string {
	list := make([]string, 0, 3+len(more))
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok { //nolint:forbidigo // passed on, not read
			list = append(list, name+"="+value)
		}
	}
	return append(list, more...)
}
