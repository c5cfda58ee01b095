package answer

import (
	"context"
	"crypto/rand"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// RequestIDName is the header of each answer, and the metadata over gRPC, that names the
// request. A person quotes it, and an operator finds by it what was logged: it is the
// trace_id and the span_id of the gateway's log lines, and the span of the trace.
const RequestIDName = "x-request-id"

// Named gives a request a name where telemetry does not: a probe, a method that there is
// not, and everything where telemetry is off.
func Named(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	var name trace.SpanContextConfig
	_, _ = rand.Read(name.TraceID[:]) // it never fails
	_, _ = rand.Read(name.SpanID[:])
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(name))
}

// RequestID is a request's name: different for each, also of one trace. Empty for a request
// that has none; see [Named].
func RequestID(ctx context.Context) string {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return ""
	}
	return span.TraceID().String() + "-" + span.SpanID().String()
}

// Identified adds the request's name to a refusal, as google.rpc.RequestInfo.
func Identified(ctx context.Context, err error) error {
	id := RequestID(ctx)
	st, ok := status.FromError(err)
	if id == "" || !ok {
		return err
	}
	named, fault := st.WithDetails(&errdetails.RequestInfo{RequestId: id})
	if fault != nil {
		return err
	}
	return named.Err() //nolint:wrapcheck // what the caller gets
}
