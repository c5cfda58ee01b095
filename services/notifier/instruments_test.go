package notifier

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// counted is what a counter has for labels, given as names and values, and whether
// it has them at all.
func counted(t *testing.T, name string, labels ...string) (n int64, known bool) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := meters.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var pairs []attribute.KeyValue
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, attribute.String(labels[i], labels[i+1]))
	}
	set := attribute.NewSet(pairs...)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok || m.Name != name {
				continue
			}
			for _, point := range sum.DataPoints {
				if point.Attributes.Equals(&set) {
					return point.Value, true
				}
			}
		}
	}
	return 0, false
}

// called reports whether a call to a provider ended so.
func called(t *testing.T, by, outcome string) bool {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := meters.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			calls, ok := m.Data.(metricdata.Histogram[float64])
			if !ok || m.Name != "messagerie.notifier.call.duration" {
				continue
			}
			for _, point := range calls.DataPoints {
				provider, _ := point.Attributes.Value("provider")
				ended, _ := point.Attributes.Value("outcome")
				if provider.AsString() == by && ended.AsString() == outcome {
					return true
				}
			}
		}
	}
	return false
}

// What an alert must see the first of is a series before it happens.
func TestCountersBeginAtZero(t *testing.T) {
	t.Parallel()
	l, _ := ledgerAndPool(t)
	counts, err := newInstruments(l)
	if err != nil {
		t.Fatal(err)
	}
	defer counts.stop()
	for _, series := range [][]string{
		{"messagerie.notifier.repaired"},
		{"messagerie.notifier.foreign"},
		{"messagerie.notifier.late", "channel", "EMAIL", "state", "unknown"},
		{"messagerie.notifier.late", "channel", "SMS", "state", "accepted"},
		{"messagerie.notifier.deliveries", "channel", "SMS", "state", "suppressed"},
		{"messagerie.notifier.deliveries", "channel", "EMAIL", "state", "expired"},
		{"messagerie.notifier.reports", "provider", "sendgrid", "result", "stale"},
		{"messagerie.notifier.reports", "provider", "twilio", "result", "forged"},
	} {
		if _, known := counted(t, series[0], series[1:]...); !known {
			t.Errorf("no series of %v before anything happened", series)
		}
	}
	if _, known := counted(t, "messagerie.notifier.late", "channel", "EMAIL", "state", "planned"); known {
		t.Error("an attempt does not end planned, and yet it is shown")
	}
}
