package manifest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Tree is a copy in memory of the repository's folder deploy, so that combinations
// of components can be tried without writing beside them. As plain kustomize it runs
// no plug-in and reads no file outside a kustomization's own folder.
type Tree struct{ files filesys.FileSystem }

// LoadTree reads deploy below the repository's root. What lies outside the network
// stays there: a kustomization that names a remote base is refused.
func LoadTree(root string) (*Tree, error) {
	files := filesys.MakeFsInMemory()
	err := filepath.WalkDir(filepath.Join(root, "deploy"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			if err == nil && path == filepath.Join(root, "deploy", "test") {
				return filepath.SkipDir
			}
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // of the working copy
		if err != nil {
			return err
		}
		if entry.Name() == "kustomization.yaml" && remote(content) {
			return fmt.Errorf("%s names something remote: copy it in, or leave it to whoever installs", path)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return files.WriteFile("/"+filepath.ToSlash(name), content)
	})
	if err != nil {
		return nil, fmt.Errorf("reading deploy: %w", err)
	}
	return &Tree{files}, nil
}

// remote reports whether a kustomization takes resources or components from elsewhere.
func remote(content []byte) bool {
	var file struct{ Resources, Components []string }
	// What cannot be read, kustomize reports.
	_ = yaml.Unmarshal(content, &file)
	return slices.ContainsFunc(slices.Concat(file.Resources, file.Components), func(path string) bool {
		return strings.Contains(path, "://") || strings.Contains(path, "github.com/") || strings.Contains(path, "git@")
	})
}

// folders are the names of the folders below deploy/k8s/<part>.
func (t *Tree) folders(part string) []string {
	all, _ := t.files.Glob("/deploy/k8s/" + part + "/*/kustomization.yaml")
	var names []string
	for _, path := range all {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	slices.Sort(names)
	return names
}

// Overlays are the names of the overlays: dev, staging, production.
func (t *Tree) Overlays() []string { return t.folders("overlays") }

// Components are the names of the components.
func (t *Tree) Components() []string { return t.folders("components") }

// Overlay renders an overlay.
func (t *Tree) Overlay(name string) ([]Object, error) {
	return t.Build("/deploy/k8s/overlays/" + name)
}

// Combine renders the base with the example of a site's own values and components, in
// the order given, with a kustomization that is written for the occasion.
func (t *Tree) Combine(base string, components ...string) ([]Object, error) {
	file := map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
		"resources": []string{"../" + base},
	}
	var paths []string
	if t.files.Exists("/deploy/k8s/site/kustomization.yaml") {
		paths = append(paths, "../site")
	}
	for _, c := range components {
		paths = append(paths, "../components/"+c)
	}
	if len(paths) > 0 {
		file["components"] = paths
	}
	content, err := yaml.Marshal(file)
	if err != nil {
		return nil, fmt.Errorf("writing a kustomization: %w", err)
	}
	const dir = "/deploy/k8s/combination"
	if err := t.files.WriteFile(dir+"/kustomization.yaml", content); err != nil {
		return nil, fmt.Errorf("writing a kustomization: %w", err)
	}
	defer func() { _ = t.files.RemoveAll(dir) }()
	return t.Build(dir)
}

// Build renders the kustomization of a folder, named from the repository's root.
func (t *Tree) Build(dir string) ([]Object, error) {
	found, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(t.files, dir)
	if err != nil {
		return nil, fmt.Errorf("rendering %s: %w", dir, err)
	}
	var objects []Object
	for _, resource := range found.Resources() {
		fields, err := resource.Map()
		if err != nil {
			return nil, fmt.Errorf("rendering %s: %w", dir, err)
		}
		objects = append(objects, fields)
	}
	return objects, nil
}

// Decode reads objects from YAML documents, as the examples of Secrets are.
func Decode(content string) ([]Object, error) {
	var objects []Object
	for document := range strings.SplitSeq("\n"+content, "\n---") {
		var o Object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			return nil, fmt.Errorf("reading YAML: %w", err)
		}
		if len(o) > 0 {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// alternatives are components of which one takes the other's place.
var alternatives = map[string]string{"keda": "hpa", "ingress": "gateway-api"}

// Combinations are the sets of components worth trying on the base, by name: none,
// each alone, and all together in two ways where one is in place of another.
func (t *Tree) Combinations() map[string][]string {
	sets := map[string][]string{"base": nil}
	var first, second []string
	for _, c := range t.Components() {
		sets["base and "+c] = []string{c}
		other, isAlternative := alternatives[c]
		if !isAlternative || !slices.Contains(t.Components(), other) {
			first = append(first, c)
		}
		isReplaced := false
		for with, replaced := range alternatives {
			isReplaced = isReplaced || replaced == c && slices.Contains(t.Components(), with)
		}
		if !isReplaced {
			second = append(second, c)
		}
	}
	sets["base and "+strings.Join(first, ", ")] = first
	sets["base and "+strings.Join(second, ", ")] = second
	return sets
}

// Whole is the production overlay, and beside it what components would add: at least
// one object of each kind that the repository has.
func (t *Tree) Whole() ([]Object, error) {
	objects, err := t.Overlay("production")
	if err != nil {
		return nil, err
	}
	for _, c := range t.Components() {
		more, err := t.Combine("base", c)
		if err != nil {
			return nil, err
		}
		for _, o := range more {
			if len(ofKind(objects, o.Kind())) == 0 {
				objects = append(objects, o)
			}
		}
	}
	return objects, nil
}
