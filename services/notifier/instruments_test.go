package notifier

import (
	"fmt"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// What should never happen is counted from 0: a counter that comes into being with its
// first event has no increase, and its alert would never fire. Not parallel, so that nothing
// else has counted before.
func TestCountersBeginAtZero(t *testing.T) { //nolint:paralleltest // see above
	counts, err := newInstruments(newLedger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer counts.stop()
	var all metricdata.ResourceMetrics
	if err := meters.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok {
				continue
			}
			for _, point := range sum.DataPoints {
				channel, _ := point.Attributes.Value("channel")
				state, _ := point.Attributes.Value("state")
				found = append(found, fmt.Sprint(m.Name, " ", channel.AsString(), " ", state.AsString(), "=", point.Value))
			}
		}
	}
	for _, want := range []string{
		"messagerie.notifier.repaired  =0", "messagerie.notifier.foreign  =0",
		"messagerie.notifier.late EMAIL accepted=0", "messagerie.notifier.late SMS accepted=0", "messagerie.notifier.late SMS unknown=0",
	} {
		if !slices.Contains(found, want) {
			t.Errorf("%q is not among %q", want, found)
		}
	}
}
