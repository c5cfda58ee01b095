package alerts

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const ruleFile = "../../prometheus/alerts.yaml"

func itoa(n int) string { return strconv.Itoa(n) }

// rule is one as the file has it.
type rule struct {
	Alert string `json:"alert"`
	Expr  string `json:"expr"`
	For   string `json:"for"`
}

type ruleSet struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

func readRules(t *testing.T) []rule {
	t.Helper()
	content, err := os.ReadFile(ruleFile)
	if err != nil {
		t.Fatal(err)
	}
	var set ruleSet
	if err := yaml.Unmarshal(content, &set); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, group := range set.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

func TestEachRuleFiresWhenItShould(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, r := range readRules(t) {
		seen[r.Alert] = true
		c, ok := conditions[r.Alert]
		if !ok {
			t.Errorf("%s has no case", r.Alert)
			continue
		}
		at, labels, err := Evaluate(t.Context(), ruleFile, r.Alert, c.fires)
		if err != nil || at != c.fires.Fires {
			t.Errorf("%s first fires after %v (%v), want %v", r.Alert, at, err, c.fires.Fires)
		}
		for name, want := range c.fires.Labels {
			if labels[name] != want {
				t.Errorf("%s has %s %q, want %q", r.Alert, name, labels[name], want)
			}
		}
		if len(c.quiet) == 0 {
			t.Errorf("%s has no case in which it is quiet", r.Alert)
		}
		for _, series := range c.quiet {
			if at, _, err := Evaluate(t.Context(), ruleFile, r.Alert, Case{Series: series}); err != nil || at != 0 {
				t.Errorf("%s fires after %v (%v) although %v", r.Alert, at, err, series)
			}
		}
	}
	for name := range conditions {
		if !seen[name] {
			t.Errorf("no rule is named %s", name)
		}
	}
}

// faults are slips of a pen; each returns false where a rule has no place for it.
var faults = map[string]func(*rule) bool{
	"waits longer": func(r *rule) bool {
		minutes, isMinutes := strings.CutSuffix(r.For, "m")
		n, _ := strconv.Atoi(minutes)
		if !isMinutes {
			r.For = "3h"
		} else {
			r.For = itoa(n+7) + "m"
		}
		return true
	},
	"compares the other way": func(r *rule) bool {
		was := r.Expr
		r.Expr = strings.Replace(last(r.Expr, " > ", " < "), " == 0", " != 0", 1)
		return r.Expr != was
	},
	"threshold too high": func(r *rule) bool { return threshold(r, func(n float64) float64 { return n*3 + 5 }) },
	"threshold too low":  func(r *rule) bool { return threshold(r, func(n float64) float64 { return n/2 - 0.001 }) },
	"metric renamed": func(r *rule) bool {
		name := regexp.MustCompile(`\b(messagerie_[a-z_]+|up|process_[a-z_]+|http_server_[a-z_]+|pgxpool_[a-z_]+)\b`).FindString(r.Expr)
		r.Expr = regexp.MustCompile(`\b`+name+`\b`).ReplaceAllString(r.Expr, name+"x")
		return name != ""
	},
	"matcher dropped": func(r *rule) bool {
		at := strings.Index(r.Expr, "{")
		if at < 0 {
			return false
		}
		r.Expr = r.Expr[:at] + r.Expr[at+strings.Index(r.Expr[at:], "}")+1:]
		return true
	},
}

// last replaces the last occurrence.
func last(text, from, to string) string {
	if at := strings.LastIndex(text, from); at >= 0 {
		return text[:at] + to + text[at+len(from):]
	}
	return text
}

func threshold(r *rule, change func(float64) float64) bool {
	at := strings.LastIndex(r.Expr, " > ")
	if at < 0 {
		return false
	}
	n, err := strconv.ParseFloat(r.Expr[at+3:], 64)
	if err != nil {
		return false
	}
	r.Expr = r.Expr[:at+3] + strconv.FormatFloat(change(n), 'f', -1, 64)
	return true
}

// Each fault in each rule is noticed by one of its cases.
func TestSeededFaults(t *testing.T) {
	t.Parallel()
	caught, all := 0, 0
	for _, r := range readRules(t) {
		for name, change := range faults {
			mutant := r
			if !change(&mutant) {
				continue
			}
			all++
			if noticed(t, mutant) {
				caught++
			} else {
				t.Errorf("%s: %s is not noticed: %s for %s", r.Alert, name, mutant.Expr, mutant.For)
			}
		}
	}
	t.Logf("%d of %d seeded faults noticed", caught, all)
}

// noticed reports whether a rule with a fault fails a case.
func noticed(t *testing.T, mutant rule) bool {
	t.Helper()
	content, err := yaml.Marshal(ruleSet{Groups: []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}{{"mutant", []rule{mutant}}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	c := conditions[mutant.Alert]
	at, _, err := Evaluate(t.Context(), path, mutant.Alert, c.fires)
	if err != nil {
		t.Fatalf("%s: %v", mutant.Expr, err)
	}
	if at != c.fires.Fires {
		return true
	}
	for _, series := range c.quiet {
		if at, _, err := Evaluate(t.Context(), path, mutant.Alert, Case{Series: series}); err != nil || at != 0 {
			return true
		}
	}
	return false
}
