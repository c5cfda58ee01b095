package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	// maxFileLines and maxPackageLines bound what has to be read at once; tests and
	// generated code apart.
	maxFileLines    = 500
	maxPackageLines = 2500
)

// oversized are the files and packages that are still larger. What is in bounds must be
// taken off the list, and nothing may come onto it.
var oversized = []string{
	"services/messaging",
}

// generated is the mark of files that tools write.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// A package is understood in one sitting, and a file without scrolling for long.
func TestFilesAndPackagesAreSmall(t *testing.T) {
	t.Parallel()
	files, packages := make(map[string]int), make(map[string]int)
	sources(t, func(path string) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return
		}
		content, err := os.ReadFile(filepath.Join(root(t), path))
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(content, []byte("\n")); !generated.Match(content) {
			files[path] = lines
			packages[filepath.Dir(path)] += lines
		}
	})
	large := make(map[string]bool)
	for what, most := range map[*map[string]int]int{&files: maxFileLines, &packages: maxPackageLines} {
		for path, lines := range *what {
			if large[path] = lines > most; large[path] && !slices.Contains(oversized, path) {
				t.Errorf("%s has %d lines, more than %d: split it by nouns", path, lines, most)
			}
		}
	}
	for _, path := range oversized {
		if !large[path] {
			t.Errorf("%s is in bounds, or gone: take it off the list", path)
		}
	}
}
