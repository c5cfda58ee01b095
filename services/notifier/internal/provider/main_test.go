package provider

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// canaries are in the messages of these tests, and may be in no log line and no span.
var canaries = []string{"jeanne@example.org", "+3363998", "%2B3363998"}

var spans = tracetest.NewInMemoryExporter()

func TestMain(m *testing.M) {
	var logs bytes.Buffer // slog's handler writes one line at a time
	slog.SetDefault(slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	result := m.Run()
	told := logs.String() + fmt.Sprintf("%+v", spans.GetSpans())
	for _, canary := range canaries {
		if strings.Contains(told, canary) {
			fmt.Printf("FAIL: a log line or a span holds %q\n", canary)
			result = max(result, 1)
		}
	}
	os.Exit(result)
}

// eventually waits for a condition by looking at it.
func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for !true() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited %s until %s", patience, what)
		}
	}
}
