package chassis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/prometheus"
	metricapi "go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

// flushTimeout bounds the last export of spans and metrics, so that a collector
// that does not answer cannot hold up the end of a process.
const flushTimeout = 3 * time.Second

// StartTelemetry sets the process's global logger, tracer and meter.
//
// Logs are JSON lines on w with the trace id of their context. Traces go where
// the standard OTEL_* variables say (OTEL_TRACES_EXPORTER and the OTLP ones);
// unset, nowhere. Metrics are served by [Admin] in Prometheus's format, and go
// to OTEL_METRICS_EXPORTER as well when it is set.
//
// The returned function flushes what is still held, for at most three seconds.
func StartTelemetry(ctx context.Context, name string, level slog.Leveler, w io.Writer) (func(context.Context) error, error) {
	slog.SetDefault(slog.New(traceHandler{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})}).With("service", name))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { slog.Warn("telemetry", "error", err) }))
	otel.SetTextMapPropagator(propagation.TraceContext{})

	res, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName(name), semconv.ServiceVersion(Version())), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, fmt.Errorf("describing the process: %w", err)
	}
	spans, err := autoexport.NewSpanExporter(ctx, autoexport.WithFallbackSpanExporter(noSpans))
	if err != nil {
		return nil, fmt.Errorf("opening the trace exporter: %w", err)
	}
	tracers := sdktrace.NewTracerProvider(append(sampling(spans), sdktrace.WithResource(res))...)
	otel.SetTracerProvider(tracers)

	meters, err := newMeterProvider(ctx, res)
	if err != nil {
		return nil, err
	}
	otel.SetMeterProvider(meters)
	if err := runtime.Start(); err != nil {
		return nil, fmt.Errorf("starting runtime metrics: %w", err)
	}
	if err := showVersion(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		return errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx))
	}, nil
}

// showVersion makes the gauge that shows how far a rollout is.
func showVersion() error {
	build, err := otel.Meter("chassis").Int64Gauge("messagerie.build.info",
		metricapi.WithDescription("Always 1; the version is the label's."))
	if err != nil {
		return fmt.Errorf("making instruments: %w", err)
	}
	build.Record(context.Background(), 1, metricapi.WithAttributes(attribute.String("version", Version())))
	return nil
}

func newMeterProvider(ctx context.Context, res *resource.Resource) (*metric.MeterProvider, error) {
	scrape, err := prometheus.New()
	if err != nil {
		return nil, fmt.Errorf("opening the Prometheus exporter: %w", err)
	}
	push, err := autoexport.NewMetricReader(ctx, autoexport.WithFallbackMetricReader(noMetrics))
	if err != nil {
		return nil, fmt.Errorf("opening the metric exporter: %w", err)
	}
	return metric.NewMeterProvider(metric.WithResource(res), metric.WithReader(scrape), metric.WithReader(push)), nil
}

// sampling keeps spans for an exporter. Without one they are not recorded, which
// costs a tenth of a call; ids are still generated, passed on and logged.
func sampling(spans sdktrace.SpanExporter) []sdktrace.TracerProviderOption {
	if spans == (discard{}) || autoexport.IsNoneSpanExporter(spans) {
		return []sdktrace.TracerProviderOption{sdktrace.WithSampler(sdktrace.NeverSample())}
	}
	return []sdktrace.TracerProviderOption{sdktrace.WithBatcher(spans)}
}

// autoexport's own default is an OTLP exporter to localhost, which would report
// an error a minute wherever no collector runs.
func noSpans(context.Context) (sdktrace.SpanExporter, error) { return discard{}, nil }

func noMetrics(context.Context) (metric.Reader, error) { return metric.NewManualReader(), nil }

type discard struct{}

func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discard) Shutdown(context.Context) error                             { return nil }

// traceHandler adds the ids by which a log line is found from its trace.
type traceHandler struct{ slog.Handler }

func (h traceHandler) Handle(ctx context.Context, record slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		record.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, record)
}

func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceHandler{h.Handler.WithAttrs(attrs)}
}

func (h traceHandler) WithGroup(name string) slog.Handler {
	return traceHandler{h.Handler.WithGroup(name)}
}
