// Package click begins a trace at somebody's click. With JavaScript, the page generates its
// id when a form is sent and puts it into the form's first field (app.js); a fetch has it as
// a header. Without, the trace begins here. Either way each page names its trace in
// Server-Timing, where the browser's performance API finds it, and a page about a fault shows
// the beginning of the id, to be given to support.
//
// A click's id is trusted no more than any caller's traceparent: whoever makes one up gets a
// trace with that id, and nothing else. Whether it is recorded is for the server to decide,
// so the page sends back the flag that it got.
package click

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// field is the form's first field, and fieldBytes what it takes to see it and
// that it ends: a traceparent has 55 characters.
const (
	field      = "traceparent="
	fieldBytes = len(field) + 55 + len("&")
)

// letters is how much of a trace's id people are shown: one in four billion, to be searched
// for in the days around the fault.
const letters = 8

// Traced makes the click the parent of the request's span. It reads no more of the
// body than the first field, and before any limit but the server's time-out: what is
// malformed or in another place is as if it were not there. A traceparent in the head
// of the request, by a fetch or a proxy that traces, is preferred.
func Traced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.Header.Get("Traceparent") == "" {
			body := bufio.NewReaderSize(r.Body, fieldBytes)
			begins, _ := body.Peek(fieldBytes) // an error here comes again for the reader of the body
			r = with(r, begins)
			r.Body = struct {
				io.Reader
				io.Closer
			}{body, r.Body}
		}
		next.ServeHTTP(w, r)
	})
}

// with returns a copy of a request, with the click that its body begins with, if
// it does, in the header: the telemetry that comes next takes its parent from there.
func with(r *http.Request, body []byte) *http.Request {
	r = r.WithContext(r.Context())
	first, _, _ := bytes.Cut(body, []byte("&"))
	if click, ok := strings.CutPrefix(string(first), field); ok {
		format := propagation.TraceContext{}
		ctx := format.Extract(context.Background(), propagation.MapCarrier{"traceparent": click})
		r.Header = r.Header.Clone()
		format.Inject(ctx, propagation.HeaderCarrier(r.Header))
	}
	return r
}

// Announce names the trace in Server-Timing; not for static files, which browsers keep for
// longer than the trace means anything.
func Announce(w http.ResponseWriter, r *http.Request) {
	if span := trace.SpanContextFromContext(r.Context()); span.IsValid() && !strings.HasPrefix(r.URL.Path, "/static/") {
		carrier := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(r.Context(), carrier)
		w.Header().Set("Server-Timing", `traceparent;desc="`+carrier["traceparent"]+`"`)
	}
}

// Short is the beginning of the request's trace id, or nothing.
func Short(r *http.Request) string {
	span := trace.SpanContextFromContext(r.Context())
	if !span.IsValid() {
		return ""
	}
	return span.TraceID().String()[:letters]
}
