package build

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// repository is one with two commits, of which the second changes a file.
func repository(t *testing.T) (root, first string) {
	t.Helper()
	root = t.TempDir()
	commit := func(content string) {
		write(t, filepath.Join(root, "chassis", "main.go"), content)
		for _, args := range [][]string{
			{"add", "."},
			{"-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false", "commit", "-qm", "change"},
		} {
			if _, err := git(t.Context(), root, args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := git(t.Context(), root, "init", "-q"); err != nil {
		t.Fatal(err)
	}
	commit("type ground struct { GCPercent int `env:\"GC_PERCENT\" envDefault:\"250\"` }")
	first, err := git(t.Context(), root, "rev-parse", "--short", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	commit("package chassis")
	return root, first
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenVersions(t *testing.T) {
	t.Parallel()
	root, first := repository(t)
	versions, err := Open(t.Context(), root, "HEAD~1", t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	ours, older := versions[0], versions[1]
	if ours.Title() != "this tree" || ours.root != root || ours.GCPercent != 100 {
		t.Errorf("ours are %+v", ours)
	}
	if older.Title() != "commit "+first || older.GCPercent != 250 {
		t.Errorf("the earlier commit's are %+v", older)
	}
	if left, err := git(t.Context(), root, "status", "--porcelain"); err != nil || left != "" {
		t.Errorf("the repository has been touched: %s, %v", left, err)
	}
	_, err = Open(t.Context(), root, "no-such-commit", t.TempDir(), "")
	if err == nil || !strings.Contains(err.Error(), `finding the commit "no-such-commit"`) {
		t.Errorf("without such a commit: %v", err)
	}
}

// TestGCPercentOfThisTree: were the setting renamed, Go's own would be measured and
// nobody would see.
func TestGCPercentOfThisTree(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, documented, _ := strings.Cut(string(content), "| `GC_PERCENT` | `")
	documented, _, _ = strings.Cut(documented, "`")
	percent, err := gcPercent(filepath.Join("..", "..", "..", "chassis"))
	if err != nil || strconv.Itoa(percent) != documented {
		t.Errorf("%d, %v; documented is %q", percent, err, documented)
	}
}

func TestEnvironHasNothingByChance(t *testing.T) {
	t.Setenv("MESSAGING_GC_PERCENT", "1")
	t.Setenv("GOGC", "1")
	got := strings.Join(Environ("TAXONOMY_MIGRATE=true"), "\n")
	if strings.Contains(got, "GC") || !strings.Contains(got, "PATH=") || !strings.HasSuffix(got, "TAXONOMY_MIGRATE=true") {
		t.Error(got)
	}
}
