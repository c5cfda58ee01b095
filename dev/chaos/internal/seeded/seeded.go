// Package seeded makes programs with a known mistake in them, to show that the fault
// harness (make chaos) catches what it says it does.
//
// The product knows nothing of it. A bug is a few replacements of text in the product's
// files. They are made in copies, which the compiler takes in place of the files
// (go build -overlay): the working tree stays as it is, and programs that are built in the
// ordinary way have no seam in them. Each bug is a mistake that was made in some real system
// of this kind. It breaks exactly one of the promises in the package documentation of the
// code it is in.
//
// # How one adds a bug
//
// By an entry in [All]: what is replaced, and the trap (dev/chaos/seeded.go), a run that
// brings it out. An old text should be as short as it can be and still occur exactly once in
// its file, and say the thing that the mistake is about, so that it lasts as long as that
// does. `go test ./dev/chaos/internal/seeded` says at once whether the text is found and the
// result compiles; `make chaos SCENARIO=seeded BUGS=name`, whether the harness notices.
//
// # When it breaks
//
// A change of the product that moves or rewrites what a bug is about fails the tests here,
// not the build: make the same mistake in the new code. They do not show that it is still
// the same mistake; the scenario does.
package seeded

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bug is a mistake that the harness must notice.
type Bug struct {
	Name string
	// Trap is the run that must bring it out.
	Trap  string
	edits []edit
}

// edit replaces a text that a file of the repository has exactly once. A file that is not
// there is made, of an empty old text.
type edit struct{ file, old, new string }

// Named returns the bug of a name.
func Named(name string) (Bug, bool) {
	i := slices.IndexFunc(All, func(b Bug) bool { return b.Name == name })
	if i < 0 {
		return Bug{}, false
	}
	return All[i], true
}

// Overlay writes the files of a working tree as they are with the bug into a folder, and
// returns the file for `go build -overlay`.
func (b Bug) Overlay(tree, dir string) (string, error) {
	files, err := b.apply(tree)
	if err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for file, text := range files {
		with := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(with, []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("writing %s with a bug: %w", file, err)
		}
		replace[filepath.Join(tree, file)] = with
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	return overlay, nil
}

// apply returns the changed files, by their paths in the tree.
func (b Bug) apply(tree string) (map[string]string, error) {
	files := make(map[string]string)
	for _, e := range b.edits {
		text, read := files[e.file]
		if !read {
			content, err := os.ReadFile(filepath.Join(tree, e.file))
			if err != nil && (e.old != "" || !os.IsNotExist(err)) {
				return nil, fmt.Errorf("%s: %w", b.Name, err)
			}
			if err == nil && e.old == "" {
				return nil, fmt.Errorf("%s: %s is there already", b.Name, e.file)
			}
			text = string(content)
		}
		if n := strings.Count(text, e.old); n != 1 && e.old != "" {
			return nil, fmt.Errorf("%s: %s has %d times, not once: %s", b.Name, e.file, n, e.old)
		}
		files[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	return files, nil
}
