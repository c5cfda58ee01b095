package gateway

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/emptypb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// strangeHost is a Host header that somebody made up.
const strangeHost = "made-up.example.org"

// logs and spans are all that the tests of the package have made.
var (
	logs  syncBuffer
	spans = tracetest.NewInMemoryExporter()
)

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestMain runs the tests and then looks for what must be in no log and no span:
// text, query values, tokens, and names that strangers made up, metrics included. It also looks
// for goroutines left behind.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewJSONHandler(&logs, nil)))
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	reader := metric.NewManualReader()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	code := m.Run()
	lines, traces, series := logs.String(), attributesOf(spans.GetSpans()), seriesOf(reader)
	if !strings.Contains(series, "http.server.request.duration") {
		fmt.Println("FAIL: no metrics to look into:", series)
		code = 1
	}
	for _, secret := range []string{canary, canaryQuery, aTicket, "eyJ", "MessagingService/Nothing", strangeHost} {
		if strings.Contains(lines, secret) || strings.Contains(traces, secret) || strings.Contains(series, secret) {
			fmt.Printf("FAIL: %q is in a log line, a span or a metric\n", secret)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil {
		fmt.Println("FAIL:", err)
		code = 1
	}
	os.Exit(code)
}

// seriesOf is every metric with its attributes.
func seriesOf(reader *metric.ManualReader) string {
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		return err.Error()
	}
	var text strings.Builder
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			fmt.Fprintln(&text, m.Name)
			if histogram, ok := m.Data.(metricdata.Histogram[float64]); ok {
				for _, point := range histogram.DataPoints {
					fmt.Fprintln(&text, point.Attributes.ToSlice())
				}
			}
		}
	}
	return text.String()
}

func attributesOf(list tracetest.SpanStubs) string {
	var text strings.Builder
	for _, span := range list {
		fmt.Fprintln(&text, span.Name, span.Attributes, span.Events, span.Status)
	}
	return text.String()
}

// TestOneTrace: what a caller begins goes on to the service, and a span of REST
// is named by its route.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	s := start(t)
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent := []string{"traceparent", "00-" + id + "-00f067aa0ba902b7-01"}
	s.rest(t, "member", "GET", "/v1/conversations/"+someID+"?", "", parent...)
	overREST := s.last(t)
	if err := s.grpc.Invoke(s.as(t, "member", parent...), messagingpb.MessagingService_ListConversations_FullMethodName, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	for protocol, got := range map[string]arrival{"REST": overREST, "gRPC": s.last(t)} {
		if values := got.metadata.Get("traceparent"); len(values) != 1 || !strings.Contains(values[0], id) || strings.Contains(values[0], "00f067aa0ba902b7") {
			t.Errorf("%s: traceparent %v, want trace %s with the gateway's span", protocol, values, id)
		}
	}
	// Spans end after the answer.
	s.stop()
	var names []string
	for _, span := range spans.GetSpans() {
		if span.SpanContext.TraceID().String() == id {
			names = append(names, span.Name)
		}
	}
	for _, want := range []string{"GET /v1/conversations/{id}", "messagerie.messaging.v1.MessagingService/ListConversations"} {
		if !slices.Contains(names, want) {
			t.Errorf("spans are %v, want %s among them", names, want)
		}
	}
}
