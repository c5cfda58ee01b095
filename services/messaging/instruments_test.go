package messaging

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A share of failures is a figure from the start, not from the first failure on.
func TestSubmissionsBeginAtZero(t *testing.T) {
	t.Parallel()
	running(t)
	var all metricdata.ResourceMetrics
	if err := meters.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	known := make(map[[2]string]bool)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok || m.Name != "messagerie.submissions" {
				continue
			}
			for _, point := range sum.DataPoints {
				audience, _ := point.Attributes.Value(attribute.Key("audience"))
				outcome, _ := point.Attributes.Value(attribute.Key("outcome"))
				known[[2]string{audience.AsString(), outcome.AsString()}] = true
			}
		}
	}
	for _, audience := range []string{"PARTICULIER", "EXPLOITANT", "EMPLOYEUR"} {
		for _, outcome := range []string{"stored", "replayed", "refused", "failed"} {
			if !known[[2]string{audience, outcome}] {
				t.Errorf("no series of %s, %s", audience, outcome)
			}
		}
	}
}
