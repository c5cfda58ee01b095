// Package alerts shows that each rule of deploy/prometheus/alerts.yaml fires when its
// condition holds, at the moment it should and not before, and stays quiet just below
// its threshold. Rules are evaluated by Prometheus's own engine, over series in the
// notation of promtool's unit tests.
//
// Rules that nothing watches over rot: a renamed metric or a slipped digit makes a rule
// that never fires, and nobody notices until the night it should have. So the package
// also seeds such faults into every rule and demands that a case notices each.
package alerts

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

// interval is how often rules are evaluated, and the step of the series of cases.
const interval = 30 * time.Second

// Case is a condition over time.
type Case struct {
	// Series in promtool's notation, a sample each interval: `name{label="x"} 0+5x20`.
	Series []string
	// Fires is when the alert is first raised, from the first sample; 0 for never.
	Fires time.Duration
	// Labels are among those of what fires.
	Labels map[string]string
}

// horizon is how long a case is looked at.
func (c Case) horizon() time.Duration { return max(c.Fires+10*interval, 90*time.Minute) }

// Evaluate returns when an alert of the rules first fires in a case, 0 for never, and
// its labels.
func Evaluate(ctx context.Context, ruleFile, alert string, c Case) (time.Duration, map[string]string, error) {
	series, err := promqltest.NewLazyLoader(fmt.Sprintf("load %ds\n  ", int(interval.Seconds()))+strings.Join(c.Series, "\n  "), promqltest.LazyLoaderOpts{
		EnableAtModifier: true, EnableNegativeOffset: true,
	})
	if err != nil {
		return 0, nil, fmt.Errorf("reading the series: %w", err)
	}
	defer func() { _ = series.Close() }()
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc: rules.EngineQueryFunc(series.QueryEngine(), series.Storage()), Appendable: series.Storage(), Context: ctx,
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {}, Logger: promslog.NewNopLogger(), Parser: parser.NewParser(parser.Options{}),
	})
	groups, errs := manager.LoadGroups(interval, labels.EmptyLabels(), "", nil, false, ruleFile)
	if len(errs) > 0 {
		return 0, nil, fmt.Errorf("reading the rules: %w", errs[0])
	}
	rule := find(groups, alert)
	if rule == nil {
		return 0, nil, fmt.Errorf("no rule is named %s", alert)
	}
	rule.SetRestored(true)
	for at := time.Duration(0); at <= c.horizon(); at += interval {
		moment := time.Unix(0, 0).UTC().Add(at)
		var loaded error
		series.WithSamplesTill(moment, func(err error) { loaded = err })
		if loaded != nil {
			return 0, nil, fmt.Errorf("loading the series: %w", loaded)
		}
		if _, err := rule.Eval(ctx, 0, moment, rules.EngineQueryFunc(series.QueryEngine(), series.Storage()), &url.URL{}, 0); err != nil {
			return 0, nil, fmt.Errorf("evaluating %s at %s: %w", alert, at, err)
		}
		for _, active := range rule.ActiveAlerts() {
			if active.State == rules.StateFiring {
				return at, active.Labels.Map(), nil
			}
		}
	}
	return 0, nil, nil
}

func find(groups map[string]*rules.Group, alert string) *rules.AlertingRule {
	for _, group := range groups {
		for _, r := range group.Rules() {
			if rule, ok := r.(*rules.AlertingRule); ok && rule.Name() == alert {
				return rule
			}
		}
	}
	return nil
}
