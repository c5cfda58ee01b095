package dashboards

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ma-messagerie/messagerie/deploy/test/manifest"
)

const (
	root = "../../.."
	dir  = root + "/deploy/grafana"
	// pages is where runbooks are shown.
	pages = "https://github.com/ma-messagerie/messagerie/blob/main/docs/runbooks/"
)

// units are those of Grafana that are used; it shows an unknown one as plain text.
var units = map[string]bool{"short": true, "none": true, "s": true, "reqps": true, "ops": true, "percentunit": true, "bytes": true}

func load(t *testing.T) map[string]Dashboard {
	t.Helper()
	all, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDashboards(t *testing.T) {
	t.Parallel()
	facts, err := manifest.ReadFacts(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range load(t) {
		if d.UID != "messagerie-"+name || d.Title == "" || d.Description == "" || len(d.Tags) == 0 {
			t.Errorf("%s: uid %q, title %q, description %q, tags %q", name, d.UID, d.Title, d.Description, d.Tags)
		}
		if len(d.Templating.List) != 1 || d.Templating.List[0].Name != "datasource" {
			t.Errorf("%s does not let its reader choose the data source", name)
		}
		seen := make(map[string]bool)
		for _, p := range d.Panels {
			for _, fault := range faultsOf(p, facts) {
				t.Errorf("%s, %s: %s", name, p.Title, fault)
			}
			if seen[p.Title] || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s, %s: twice, or beyond the edge", name, p.Title)
			}
			seen[p.Title] = true
		}
	}
}

// faultsOf is what is wrong with a panel.
func faultsOf(p Panel, facts *manifest.Facts) (faults []string) {
	if len(strings.Fields(p.Description)) < 3 && p.Description != "In the last hour." {
		faults = append(faults, "it does not say what it shows")
	}
	if unit := p.FieldConfig.Defaults.Unit; !units[unit] {
		faults = append(faults, "unit "+unit)
	}
	if len(p.Targets) == 0 {
		faults = append(faults, "no expression")
	}
	for _, target := range p.Targets {
		if target.Datasource.UID != "${datasource}" || p.Datasource.UID != "${datasource}" {
			faults = append(faults, "its data source is fixed")
		}
		if target.Legend == "" {
			faults = append(faults, "no legend for "+target.Expr)
		}
		metrics, err := target.Metrics()
		if err != nil {
			faults = append(faults, err.Error())
		}
		for _, metric := range metrics {
			if !facts.KnowsMetric(metric) {
				faults = append(faults, "nothing exports "+metric)
			}
		}
		if strings.Contains(target.Expr, "_total") && !regexp.MustCompile(`(rate|increase)\(`).MatchString(target.Expr) {
			faults = append(faults, "a counter without a rate says nothing: "+target.Expr)
		}
	}
	for _, link := range p.Links {
		page, ours := strings.CutPrefix(link.URL, pages)
		if _, err := os.Stat(filepath.Join(root, "docs/runbooks", page)); !ours || err != nil {
			faults = append(faults, "it links to "+link.URL)
		}
	}
	return faults
}

// From each alert's figure, its page is one click away.
func TestEachAlertHasAPanel(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(root + "/deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	linked := make(map[string]bool)
	for _, d := range load(t) {
		for _, p := range d.Panels {
			for _, link := range p.Links {
				linked["docs/runbooks/"+strings.TrimPrefix(link.URL, pages)] = true
			}
		}
	}
	for _, match := range regexp.MustCompile(`runbook: (\S+)`).FindAllStringSubmatch(string(content), -1) {
		if !linked[match[1]] {
			t.Errorf("no panel links to %s", match[1])
		}
	}
}

// The component lists every dashboard: kustomize takes no pattern.
func TestComponentHasAll(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(dir + "/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		ConfigMapGenerator []struct{ Files []string }
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	listed := strings.Join(file.ConfigMapGenerator[0].Files, " ")
	for name := range load(t) {
		if !strings.Contains(listed, name+".json") {
			t.Errorf("kustomization.yaml does not list %s.json", name)
		}
	}
}

// Faults that the checks must notice.
func TestSeededFaults(t *testing.T) {
	t.Parallel()
	facts, err := manifest.ReadFacts(root)
	if err != nil {
		t.Fatal(err)
	}
	good := load(t)["submissions"].Panels[0]
	if faults := faultsOf(good, facts); len(faults) > 0 {
		t.Fatal(faults)
	}
	for want, change := range map[string]func(*Panel){
		"nothing exports":          func(p *Panel) { p.Targets[0].Expr = "rate(messagerie_submission_total[5m])" },
		"reading":                  func(p *Panel) { p.Targets[0].Expr = "sum(rate(messagerie_submissions_total[5m])" },
		"a counter without a rate": func(p *Panel) { p.Targets[0].Expr = "sum(messagerie_submissions_total)" },
		"unit":                     func(p *Panel) { p.FieldConfig.Defaults.Unit = "seconds" },
		"it does not say":          func(p *Panel) { p.Description = "" },
		"its data source is fixed": func(p *Panel) { p.Targets[0].Datasource.UID = "prometheus" },
		"it links to":              func(p *Panel) { p.Links[0].URL = pages + "submissions-fail.md" },
		"no expression":            func(p *Panel) { p.Targets = nil },
		"no legend":                func(p *Panel) { p.Targets[0].Legend = "" },
	} {
		mutant := load(t)["submissions"].Panels[0]
		change(&mutant)
		if faults := strings.Join(faultsOf(mutant, facts), "; "); !strings.Contains(faults, want) {
			t.Errorf("want %q, got %q", want, faults)
		}
	}
}
