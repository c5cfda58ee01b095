package manifest

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../../.."

// repository reads the tree and what the repository says about it.
func repository(t *testing.T) (*Tree, *Facts) {
	t.Helper()
	tree, err := LoadTree(filepath.Clean(root))
	if err != nil {
		t.Fatal(err)
	}
	facts, err := ReadFacts(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree, facts
}

func faultsOf(objects []Object, facts *Facts) string {
	var all strings.Builder
	for _, f := range Lint(objects, facts) {
		all.WriteString("\n  " + f.String())
	}
	return all.String()
}

func TestOverlays(t *testing.T) {
	t.Parallel()
	tree, facts := repository(t)
	if got := strings.Join(tree.Overlays(), " "); got != "dev production staging" {
		t.Errorf("overlays are %q", got)
	}
	for _, name := range tree.Overlays() {
		objects, err := tree.Overlay(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if faults := faultsOf(objects, facts); faults != "" {
			t.Errorf("overlay %s:%s", name, faults)
		}
	}
}

// Each component by itself and all that go together, on the base.
func TestCombinations(t *testing.T) {
	t.Parallel()
	tree, facts := repository(t)
	for name, components := range tree.Combinations() {
		objects, err := tree.Combine("base", components...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if faults := faultsOf(objects, facts); faults != "" {
			t.Errorf("%s:%s", name, faults)
		}
	}
}

// Compose and Kubernetes run the same images.
func TestImagesAsInCompose(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("there is no docker-compose.yml")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, facts := repository(t)
	composed := make(map[string]bool)
	for _, match := range regexp.MustCompile(`(?m)^\s+image:\s*["']?(`+regexp.QuoteMeta(Registry)+`[a-z]+)`).FindAllStringSubmatch(string(content), -1) {
		composed[match[1]] = true
		if !facts.hasImage(match[1]) {
			t.Errorf("docker-compose.yml runs %s, which is no image of this project", match[1])
		}
	}
	for name := range facts.Services {
		if !composed[Registry+name] {
			t.Errorf("docker-compose.yml does not run %s%s", Registry, name)
		}
	}
}
