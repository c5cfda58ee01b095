package seeded

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree is the repository's folder.
func tree(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// What a bug replaces is still in the product, and what comes of it compiles.
func TestEachBugCanBeMade(t *testing.T) {
	t.Parallel()
	for i, bug := range All {
		t.Run(bug.Name, func(t *testing.T) {
			t.Parallel()
			if slices.IndexFunc(All, func(b Bug) bool { return b.Name == bug.Name }) != i {
				t.Error("two bugs have this name")
			}
			overlay, err := bug.Overlay(tree(t), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"build", "-overlay", overlay}
			for _, e := range bug.edits {
				if dir := "./" + path.Dir(e.file); !slices.Contains(args, dir) {
					args = append(args, dir)
				}
			}
			cmd := exec.CommandContext(t.Context(), "go", args...)
			cmd.Dir = tree(t)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("one two two"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		edits []edit
		want  map[string]string
		fault string
	}{
		"a text":                 {[]edit{{"a.go", "one", "1"}}, map[string]string{"a.go": "1 two two"}, ""},
		"two texts of a file":    {[]edit{{"a.go", "one", "1"}, {"a.go", "1 two", "2"}}, map[string]string{"a.go": "2 two"}, ""},
		"a file that is new":     {[]edit{{"b.go", "", "three"}}, map[string]string{"b.go": "three"}, ""},
		"a text that is gone":    {[]edit{{"a.go", "three", "3"}}, nil, "0 times"},
		"a text that is twice":   {[]edit{{"a.go", "two", "2"}}, nil, "2 times"},
		"a file that is gone":    {[]edit{{"b.go", "one", "1"}}, nil, "no such file"},
		"a new file that exists": {[]edit{{"a.go", "", "three"}}, nil, "there already"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Bug{Name: "x", edits: row.edits}.apply(dir)
			if (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
				t.Fatalf("%v, want %q", err, row.fault)
			}
			if len(got) != len(row.want) {
				t.Errorf("%d files, want %d", len(got), len(row.want))
			}
			for file, want := range row.want {
				if got[file] != want {
					t.Errorf("%s is %q, want %q", file, got[file], want)
				}
			}
		})
	}
}
