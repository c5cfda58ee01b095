// Package dashboards reads the dashboards of deploy/grafana, whose JSON is their only
// source, and checks what Grafana does not: that each expression can be read and asks
// for metrics that exist, that each panel says what it shows and in which unit, and that
// each alert has a panel from which its page is one click away.
package dashboards

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// Dashboard is the part of Grafana's model that is used.
type Dashboard struct {
	UID         string   `json:"uid"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	Panels      []Panel  `json:"panels"`
	Templating  struct {
		List []struct{ Name, Type, Query string } `json:"list"`
	} `json:"templating"`
}

// Source names where a panel's figures come from.
type Source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Target is one expression of a panel.
type Target struct {
	Expr   string `json:"expr"`
	Legend string `json:"legendFormat"`
	// Instant: only its value now is shown.
	Instant    bool   `json:"instant"`
	Datasource Source `json:"datasource"`
}

// Panel is one picture of a dashboard.
type Panel struct {
	ID          int      `json:"id"`
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Datasource  Source   `json:"datasource"`
	Targets     []Target `json:"targets"`
	GridPos     struct {
		X, Y, W, H int
	} `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Links []struct {
		Title, URL string
	} `json:"links"`
}

// Load reads all dashboards of a folder, by file name.
func Load(dir string) (map[string]Dashboard, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("%s holds no dashboard", dir)
	}
	all := make(map[string]Dashboard)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a dashboard: %w", err)
		}
		var d Dashboard
		if err := json.Unmarshal(content, &d); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = d
	}
	return all, nil
}

// Query is an expression as Prometheus takes it: Grafana fills in how long a rate must
// look back at least.
func (t Target) Query() string { return strings.ReplaceAll(t.Expr, "$__rate_interval", "1m") }

// Metrics are the names that an expression asks for.
func (t Target) Metrics() ([]string, error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(t.Query())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", t.Expr, err)
	}
	var names []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			names = append(names, selector.Name)
		}
		return nil
	})
	return names, nil
}
