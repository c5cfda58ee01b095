package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	// maxFileLines and maxPackageLines bound what has to be read at once; tests and
	// generated code apart.
	maxFileLines    = 500
	maxPackageLines = 2500
)

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
	for what, most := range map[*map[string]int]int{&files: maxFileLines, &packages: maxPackageLines} {
		for path, lines := range *what {
			if lines > most {
				t.Errorf("%s has %d lines, more than %d: split it by nouns", path, lines, most)
			}
		}
	}
}
