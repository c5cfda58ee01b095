package taxonomy

import (
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Not parallel: instruments are the process's.
func TestCountersBeginAtZero(t *testing.T) { //nolint:paralleltest // see above
	reader := metric.NewManualReader()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	defer otel.SetMeterProvider(noop.NewMeterProvider())
	s := &server{}
	unregister, err := s.instrument()
	if err != nil {
		t.Fatal(err)
	}
	unregister() // of a catalogue that is not here
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	// Three audiences, and for each: found or not; shown, followed, written anyway or
	// changed; searched with a choice or without. And words that are too many.
	want := map[string]int{"messagerie.suggestions": 6, "messagerie.suggestion.outcomes": 12, "messagerie.searches": 6, "messagerie.search.words.skipped": 1}
	for _, m := range all.ScopeMetrics[0].Metrics {
		sum, ok := m.Data.(metricdata.Sum[int64])
		if !ok || len(sum.DataPoints) != want[m.Name] {
			t.Errorf("%s: %+v, want %d series", m.Name, m.Data, want[m.Name])
		}
		for _, point := range sum.DataPoints {
			if point.Value != 0 {
				t.Errorf("%s begins at %d", m.Name, point.Value)
			}
		}
		delete(want, m.Name)
	}
	if len(want) > 0 {
		t.Errorf("nothing of %v", want)
	}
}
