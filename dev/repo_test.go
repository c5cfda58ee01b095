package main

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The repository tests itself: what no compiler and no linter says.

// root is the repository's folder.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.work")); err != nil {
		t.Skip("the tests of the repository need the whole of it")
	}
	return dir
}

// sources calls visit for every file that git tracks or would track.
func sources(t *testing.T, visit func(path string)) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Skip("not a git checkout: ", err)
	}
	for path := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join(root(t), path)); err == nil {
			visit(path)
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	t.Parallel()
	docs := make(map[string]int)
	sources(t, func(path string) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), path), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		docs[filepath.Dir(path)] += 0
		if parsed.Doc != nil && strings.TrimSpace(docText(parsed)) != "" {
			docs[filepath.Dir(path)]++
		}
	})
	for dir, n := range docs {
		if n != 1 && !strings.HasPrefix(dir, "proto/") { // each generated file has one
			t.Errorf("package %s has %d package comments, want one", dir, n)
		}
	}
}

func docText(f *ast.File) string { return f.Doc.Text() }

func TestModulesAgree(t *testing.T) {
	t.Parallel()
	var goLines []string
	sources(t, func(path string) {
		if filepath.Base(path) != "go.mod" && path != "go.work" {
			return
		}
		content, err := os.ReadFile(filepath.Join(root(t), path))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if strings.HasPrefix(line, "go ") {
				goLines = append(goLines, strings.TrimSpace(line))
			}
			if _, target, ok := strings.Cut(line, "=>"); ok && !strings.HasPrefix(strings.TrimSpace(target), ".") {
				t.Errorf("%s replaces by something outside this repository: %s", path, line)
			}
		}
	})
	if all := slices.Compact(goLines); len(all) != 1 || !regexp.MustCompile(`^go \d+\.\d+\.\d+$`).MatchString(all[0]) {
		t.Errorf("the modules name different Go versions, or not in full: %v", all)
	}
}

func TestNoAtticFolders(t *testing.T) {
	t.Parallel()
	banned := []string{"utils", "util", "common", "helpers", "types", "models", "handlers", "domain", "infra", "adapters", "mocks"}
	sources(t, func(path string) {
		for part := range strings.SplitSeq(filepath.Dir(path), "/") {
			if slices.Contains(banned, part) {
				t.Errorf("%s: a folder named %s", path, part)
			}
		}
	})
}

// What a binary must not link, and why it would matter.
func TestBinariesLinkWhatTheyNeed(t *testing.T) {
	t.Parallel()
	const module = "github.com/ma-messagerie/messagerie/"
	everywhere := []string{module + "chassis/testenv", module + "chassis/localpg", module + "dev", "github.com/nats-io/nats-server", "testing"}
	forbidden := map[string][]string{
		"services/gateway":   {"github.com/jackc/pgx", "github.com/nats-io/nats.go", "github.com/sendgrid", module + "services/messaging", module + "services/taxonomy"},
		"services/messaging": {"github.com/sendgrid", "github.com/twilio", module + "services/taxonomy", module + "services/notifier"},
		"services/taxonomy":  {"github.com/sendgrid", "github.com/nats-io/nats.go", "github.com/tink-crypto", module + "services/messaging"},
		// The notifier never holds a text, so it has no key to one.
		"services/notifier": {"github.com/tink-crypto", module + "services/messaging"},
		// Pages are made of what the gateway says.
		"web": {"github.com/jackc/pgx", "github.com/nats-io", "github.com/sendgrid", "github.com/twilio", "github.com/tink-crypto", module + "services"},
		// The command knows the contract and the gateway's address, and the forms of two files: of
		// a key set and of a taxonomy; nothing else.
		"cli": {"github.com/jackc/pgx", "github.com/nats-io", "github.com/sendgrid", "github.com/twilio", module + "chassis", module + "services"},
	}
	// What is allowed below what is forbidden.
	allowed := map[string][]string{
		"cli": {module + "chassis/contact", module + "chassis/localtime", module + "chassis/plain", module + "services/taxonomy/taxonomyfile", module + "services/taxonomy/internal/words"},
	}
	for dir, list := range forbidden {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			for _, dep := range dependencies(t, filepath.Join(root(t), dir)) {
				for _, bad := range slices.Concat(everywhere, list) {
					if (dep == bad || strings.HasPrefix(dep, bad+"/")) && !slices.Contains(allowed[dir], dep) {
						t.Errorf("links %s", dep)
					}
				}
			}
		})
	}
}

func dependencies(t *testing.T, dir string) []string {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "list", "-deps", "-json=ImportPath", "./cmd/...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing what %s links: %v", dir, err)
	}
	var deps []string
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for decoder.More() {
		var pkg struct{ ImportPath string }
		if err := decoder.Decode(&pkg); err != nil {
			t.Fatal(err)
		}
		deps = append(deps, pkg.ImportPath)
	}
	return deps
}

// mains are wiring.
func TestMainsAreShort(t *testing.T) {
	t.Parallel()
	const most = 20
	sources(t, func(path string) {
		if !strings.HasPrefix(path, "services/") && !strings.HasPrefix(path, "cli/") && !strings.HasPrefix(path, "web/") || filepath.Base(path) != "main.go" {
			return
		}
		content, err := os.ReadFile(filepath.Join(root(t), path))
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(content), "\n"); lines > most {
			t.Errorf("%s has %d lines, at most %d are wiring", path, lines, most)
		}
	})
}

// Links between the documents lead somewhere.
func TestDocumentsLinkToWhatExists(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	sources(t, func(path string) {
		if !strings.HasSuffix(path, ".md") {
			return
		}
		content, err := os.ReadFile(filepath.Join(root(t), path))
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(content), -1) {
			if _, err := os.Stat(filepath.Join(root(t), filepath.Dir(path), found[1])); os.IsNotExist(err) {
				t.Errorf("%s links to %s, which is not there", path, found[1])
			}
		}
	})
}
