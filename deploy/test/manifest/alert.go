package manifest

import (
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// alerts checks the rules of PrometheusRules.
func (l *linter) alerts() {
	for _, o := range ofKind(l.objects, "PrometheusRule") {
		recorded := make(map[string]bool)
		var rules []any
		for _, group := range list(o.at("spec", "groups")) {
			rules = append(rules, list(at(group, "rules"))...)
		}
		for _, rule := range rules {
			recorded[text(at(rule, "record"))] = true
		}
		for _, rule := range rules {
			l.rule(o, rule, recorded)
		}
	}
}

func (l *linter) rule(o Object, rule any, recorded map[string]bool) {
	name := text(at(rule, "alert")) + text(at(rule, "record"))
	field := "spec.groups.rules[" + name + "]"
	l.expression(o, field+".expr", fmt.Sprint(at(rule, "expr")), recorded)
	if at(rule, "alert") == nil {
		return
	}
	if wait := text(at(rule, "for")); wait != "" {
		if _, err := model.ParseDuration(wait); err != nil {
			l.fault(o, field+".for", err.Error(), "write it as 5m")
		}
	}
	if severity := text(at(rule, "labels", "severity")); severity != "warning" && severity != "critical" {
		l.fault(o, field+".labels.severity", "it is "+severity, "use warning or critical: alerts are routed by it")
	}
	annotations := texts(at(rule, "annotations"))
	page := annotations["runbook_url"]
	if page == "" {
		page = annotations["runbook"]
	}
	if !l.facts.hasRunbook(page) {
		l.fault(o, field+".annotations.runbook", fmt.Sprintf("there is no page %q", page), "write docs/runbooks/<alert>.md and name it")
	}
}

// expression checks that PromQL can be read and speaks of metrics that there are.
func (l *linter) expression(o Object, field, expression string, recorded map[string]bool) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		l.fault(o, field, "the expression cannot be read: "+err.Error(), "correct it")
		return
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if ok && selector.Name != "" && !recorded[selector.Name] && !l.facts.KnowsMetric(selector.Name) {
			l.fault(o, field, "nothing exports "+selector.Name, "use a metric of docs/operations.md, or document it there")
		}
		return nil
	})
}
