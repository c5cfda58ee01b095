package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// ours are metrics of this system, as Prometheus has them.
var ours = regexp.MustCompile(`messagerie_[a-z_]+`)

// Every alert has a page and a row in their list, every page an alert, and every metric that
// either names exists.
func TestAlertsHaveRunbooks(t *testing.T) {
	t.Parallel()
	dir := root(t)
	content, err := os.ReadFile(filepath.Join(dir, "deploy/prometheus/alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	metrics := instrumentNames(t)
	pages := make(map[string]bool)
	files, err := filepath.Glob(filepath.Join(dir, "docs/runbooks/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		pages[filepath.Base(file)] = filepath.Base(file) == "README.md"
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		checkMetrics(t, filepath.Base(file), string(page), metrics)
	}
	listed := document(t, "docs/runbooks/README.md")
	for _, rule := range file.Groups[0].Rules {
		page := filepath.Base(rule.Annotations["runbook"])
		if _, ok := pages[page]; !ok || rule.Annotations["summary"] == "" || rule.Labels["severity"] == "" || rule.For == "" {
			t.Errorf("alert %s: no page %q, or an annotation is missing", rule.Alert, page)
		}
		pages[page] = true
		text, err := os.ReadFile(filepath.Join(dir, "docs/runbooks", page))
		if err != nil || !strings.Contains(string(text), strings.TrimSpace(rule.Expr)) {
			t.Errorf("page %s does not have the expression of %s: %v", page, rule.Alert, err)
		}
		checkMetrics(t, rule.Alert, rule.Expr, metrics)
		row := fmt.Sprintf("| [%s](%s) | %s | %s |", rule.Alert, page, rule.Labels["severity"], rule.Annotations["summary"])
		if !strings.Contains(listed, row) {
			t.Errorf("docs/runbooks/README.md does not have the row %s", row)
		}
	}
	for page, used := range pages {
		if !used {
			t.Errorf("page %s has no alert", page)
		}
	}
	operations, err := os.ReadFile(filepath.Join(dir, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	checkMetrics(t, "docs/operations.md", string(operations), metrics)
}

// instrumentNames are the names of all instruments in the sources, with dots
// turned into underscores as the exporter does.
func instrumentNames(t *testing.T) (names []string) {
	t.Helper()
	named := regexp.MustCompile(`"(messagerie\.[a-z._]+)"`)
	sources(t, func(path string) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return
		}
		content, err := os.ReadFile(filepath.Join(root(t), path))
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range named.FindAllStringSubmatch(string(content), -1) {
			names = append(names, strings.ReplaceAll(found[1], ".", "_"))
		}
	})
	return names
}

func checkMetrics(t *testing.T, where, text string, metrics []string) {
	t.Helper()
	for _, name := range ours.FindAllString(text, -1) {
		base := name
		for _, suffix := range []string{"_total", "_count", "_sum", "_bucket", "_seconds"} {
			base = strings.TrimSuffix(base, suffix)
		}
		known := false
		for _, metric := range metrics {
			known = known || metric == base || metric == strings.TrimSuffix(name, "_")
		}
		if !known {
			t.Errorf("%s names %s, which no instrument makes", where, name)
		}
	}
}
