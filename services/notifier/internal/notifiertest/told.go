package notifiertest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// Canaries are in every recipient of the notifier's tests, and may be in no log line, figure
// or span of any of them. Numbers have their plus: clocks have any digits.
var Canaries = []string{"canary.", "jeanne@example.org", "+3363998", "%2B3363998", "Jeanne Canary"}

var (
	logs   = &safeBuffer{}
	meters = metric.NewManualReader()
	spans  = tracetest.NewInMemoryExporter()
)

// Main runs a package's tests, keeps all that they tell, and ends the process: with a
// failure also where that holds a canary.
func Main(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(meters)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	result := m.Run()
	told := Logs() + Figures() + fmt.Sprintf("%+v", Spans())
	for _, canary := range Canaries {
		if i := strings.Index(told, canary); i >= 0 {
			fmt.Printf("FAIL: a log line, a figure or a span holds %q: …%s…\n", canary, told[max(0, i-300):min(len(told), i+100)])
			result = max(result, 1)
		}
	}
	os.Exit(result)
}

// Logs is all that was logged.
func Logs() string { return logs.String() }

// Spans are all that have ended.
func Spans() tracetest.SpanStubs { return spans.GetSpans() }

// Figures is every figure there is, with its labels.
func Figures() string {
	figures, err := collect()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%+v", figures)
}

// Counted is what a counter or a histogram has counted under labels, given as names and
// values, and whether it has them at all.
func Counted(t testing.TB, name string, labels ...string) (n int64, known bool) {
	t.Helper()
	all, err := collect()
	if err != nil {
		t.Fatal(err)
	}
	var pairs []attribute.KeyValue
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, attribute.String(labels[i], labels[i+1]))
	}
	set := attribute.NewSet(pairs...)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					if point.Attributes.Equals(&set) {
						return point.Value, true
					}
				}
			case metricdata.Histogram[float64]:
				for _, point := range data.DataPoints {
					if point.Attributes.Equals(&set) {
						return int64(point.Count), true //nolint:gosec // as many as tests make
					}
				}
			}
		}
	}
	return 0, false
}

func collect() (all metricdata.ResourceMetrics, err error) {
	err = meters.Collect(context.Background(), &all)
	return all, err
}

// safeBuffer is read while it is written.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
