package bus_test

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// Not parallel: instruments are the process's.
func TestConnectionIsMeasured(t *testing.T) { //nolint:paralleltest // see above
	reader := metric.NewManualReader()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	defer otel.SetMeterProvider(noop.NewMeterProvider())
	// measured is the value of an instrument, or -1 when there is none.
	measured := func(name string) int64 {
		t.Helper()
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				if gauge, ok := m.Data.(metricdata.Gauge[int64]); ok && m.Name == name {
					return gauge.DataPoints[0].Value
				}
				if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == name {
					return sum.DataPoints[0].Value
				}
			}
		}
		return -1
	}
	until := func(name string, want int64) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for measured(name) != want {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("%s is %d, want %d", name, measured(name), want)
			}
		}
	}
	broker := testenv.NATS(t)
	b, err := bus.Connect("test", bus.Config{URL: broker.URL, Replicas: 1}, stream)
	if err != nil {
		t.Fatal(err)
	}
	until("messagerie.broker.connected", 1)
	broker.Stop()
	until("messagerie.broker.connected", 0)
	broker.Start(t)
	until("messagerie.broker.connected", 1)
	until("messagerie.broker.reconnections", 1)
	b.Close()
	if got := measured("messagerie.broker.connected"); got != -1 {
		t.Errorf("closed, it is %d", got)
	}
}
