// Package exported compares what dashboards, alerts and documentation ask Prometheus
// for with what the running system really exports: names, labels and the values of
// labels, from the page /metrics of gateway, messaging, notifier, taxonomy and web after
// a walk through the demo's journey.
//
// A metric that is renamed, gets another unit or loses a label breaks the test here;
// comparing with the documentation alone would not notice when both are wrong. All five
// run in one process with one page, so which of them exports a metric is not checked.
// Metrics of others (Kubernetes, the broker's own) are none of this package's business.
package exported

import (
	"fmt"
	"io"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Page is what is exported: the labels of each series, by the name that a query uses.
type Page map[string][]map[string]string

// added are labels that a series gets when it is collected.
var added = []string{"job", "instance"}

// Read reads a page in Prometheus's text format.
func Read(r io.Reader) (Page, error) {
	text := expfmt.NewTextParser(model.LegacyValidation)
	families, err := text.TextToMetricFamilies(r)
	if err != nil {
		return nil, fmt.Errorf("reading a page of metrics: %w", err)
	}
	page := make(Page)
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			series := make(map[string]string)
			for _, pair := range metric.GetLabel() {
				series[pair.GetName()] = pair.GetValue()
			}
			if family.GetType() != dto.MetricType_HISTOGRAM {
				page[name] = append(page[name], series)
				continue
			}
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				page[name+suffix] = append(page[name+suffix], series)
			}
		}
	}
	return page, nil
}

// Has reports whether a name is exported; that of a histogram stands for its three.
func (p Page) Has(name string) bool { return p[name] != nil || p[name+"_bucket"] != nil }

// Faults are what is wrong with an expression: it cannot be read, asks for a metric that
// nothing exports, or for labels, or values of them, that the metric does not have.
func (p Page) Faults(expr string) (faults []string) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(expr, "$__rate_interval", "1m"))
	if err != nil {
		return []string{err.Error()}
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			faults = append(faults, p.selectorFaults(node)...)
		case *parser.AggregateExpr:
			faults = append(faults, p.groupingFaults(node)...)
		}
		return nil
	})
	return faults
}

func (p Page) selectorFaults(s *parser.VectorSelector) (faults []string) {
	if foreign(s.Name) {
		return nil
	}
	series := p[s.Name]
	if series == nil {
		return []string{"nothing exports " + s.Name}
	}
	for _, m := range s.LabelMatchers {
		if m.Name != model.MetricNameLabel && !p.labelled(s.Name, m.Name) {
			faults = append(faults, s.Name+" has no label "+m.Name)
		}
	}
	// Our counters have all values that are asked for from the start, so that the first
	// event is seen. A histogram cannot be begun without an event, and what others count,
	// such as calls that failed, a healthy system does not have.
	if len(faults) == 0 && p.counts(s.Name) && !slices.ContainsFunc(series, func(one map[string]string) bool { return selects(s, one) }) {
		faults = append(faults, s.String()+" finds nothing")
	}
	return faults
}

// counts tells our counters and gauges.
func (p Page) counts(name string) bool {
	base := name
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base = strings.TrimSuffix(base, suffix)
	}
	return strings.HasPrefix(name, "messagerie_") && p[base+"_bucket"] == nil
}

func selects(s *parser.VectorSelector, series map[string]string) bool {
	return !slices.ContainsFunc(s.LabelMatchers, func(m *labels.Matcher) bool {
		return m.Name != model.MetricNameLabel && !slices.Contains(added, m.Name) && !m.Matches(series[m.Name])
	})
}

// groupingFaults are labels to group by that none of the metrics below has.
func (p Page) groupingFaults(a *parser.AggregateExpr) (faults []string) {
	var names []string
	parser.Inspect(a.Expr, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			names = append(names, s.Name)
		}
		return nil
	})
	for _, label := range a.Grouping {
		if !slices.ContainsFunc(names, func(name string) bool { return foreign(name) || p.labelled(name, label) }) {
			faults = append(faults, fmt.Sprintf("%s: none of %s has label %s", a.Op, strings.Join(names, ", "), label))
		}
	}
	return faults
}

func (p Page) labelled(name, label string) bool {
	if slices.Contains(added, label) || label == "le" && strings.HasSuffix(name, "_bucket") {
		return true
	}
	return slices.ContainsFunc(p[name], func(series map[string]string) bool { _, ok := series[label]; return ok })
}

// foreign tells metrics that others export: Prometheus itself, Kubernetes, the broker.
func foreign(name string) bool {
	return name == "up" || slices.ContainsFunc([]string{"kube_", "container_", "cnpg_", "jetstream_", "gnatsd_", "nats_"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}
