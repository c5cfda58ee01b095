package stack_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/ma-messagerie/messagerie/dev/browser"
	"github.com/ma-messagerie/messagerie/dev/inbox"
	"github.com/ma-messagerie/messagerie/dev/stack"
)

// clicked is what the browser knows of the trace that its click has begun.
type clicked struct {
	Told, Faults              []string
	Form, Answered, Reference string
}

// clickToSend writes a message as jeanne, in a real Chromium.
func clickToSend(t *testing.T, s *stack.Stack, text string) clicked {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "click.mjs")
	cmd.Dir = "../../web/e2e"
	away := "http://127.0.0.1:1" // no page of this test is there
	cmd.Env = append(os.Environ(), "WEB_URL="+s.Places().Web, "INBOX_URL="+s.Places().Inbox, "WEB_AWAY_URL="+away, "WEB_LIMITED_URL="+away, "TEXT="+text)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the browser: %v", err)
	}
	var got clicked
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return got
}

// forest is every span by its id.
type forest map[trace.SpanID]tracetest.SpanStub

func forestNow() forest {
	f := make(forest)
	for _, span := range spans.GetSpans() {
		f[span.SpanContext.SpanID()] = span
	}
	return f
}

// of returns the spans of a trace, oldest first.
func (f forest) of(id trace.TraceID) (list []tracetest.SpanStub) {
	for _, span := range f {
		if span.SpanContext.TraceID() == id {
			list = append(list, span)
		}
	}
	slices.SortFunc(list, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return list
}

// path is a span and its ancestors up to the one whose parent is elsewhere, which it
// returns too.
func (f forest) path(span tracetest.SpanStub) (steps []string, from trace.SpanID) {
	for {
		steps = append(steps, title(span))
		parent, ok := f[span.Parent.SpanID()]
		if !ok {
			return steps, span.Parent.SpanID()
		}
		span = parent
	}
}

func title(span tracetest.SpanStub) string { return span.SpanKind.String() + " " + span.Name }

// draw writes the spans below a parent, indented.
func draw(out *strings.Builder, list []tracetest.SpanStub, parent trace.SpanID, depth int) {
	for _, span := range list {
		if span.Parent.SpanID() != parent {
			continue
		}
		fmt.Fprintf(out, "%s%s (%.1f ms)", strings.Repeat("  ", depth), title(span), float64(span.EndTime.Sub(span.StartTime).Microseconds())/1000)
		for _, link := range span.Links {
			fmt.Fprintf(out, " ~ linked to %s", link.SpanContext.TraceID())
		}
		out.WriteString("\n")
		draw(out, list, span.SpanContext.SpanID(), depth+1)
	}
}

// The way of a message, from its last step to its first. A call has two spans: the
// caller's and that of who is called.
const (
	submitMethod = "messagerie.messaging.v1.MessagingService/SubmitMessage"
	reportMethod = "messagerie.notifier.v1.WebhookService/ReportSendGrid"
)

var handled = []string{
	"consumer process org.ma-messagerie.message-submitted.v1", // the notifier, from the broker
	"producer publish org.ma-messagerie.message-submitted.v1", // messaging, to the broker
	"server " + submitMethod,                                  // messaging
	"client " + submitMethod,                                  // gateway
	"server " + submitMethod,                                  // gateway
	"client " + submitMethod,                                  // web
	"server POST /messagerie/brouillons/{id}/{step}",          // web, from the browser
}

// paths are those that a message's trace has, with the channel's name.
func paths(channel string) [][]string {
	return [][]string{
		slices.Concat([]string{"client HTTP POST", "internal send " + channel}, handled), // to the provider
		slices.Concat([]string{"internal report " + channel}, handled),                   // and back
	}
}

// One trace goes from the browser's click to both providers and to their reports.
func TestTraceOfAClick(t *testing.T) {
	t.Parallel()
	browser.Need(t, "../../web/e2e")
	s := start(t, stateDir(t))
	const canary = "CANARI-TRACE-5d21"
	got := clickToSend(t, s, "Bonjour, "+canary+" : où en est mon dossier ?")
	first, _, _ := strings.Cut(got.Form, "&")
	click := strings.TrimPrefix(first, "traceparent=")
	if len(click) != 55 || len(got.Told) != 1 || !strings.HasPrefix(got.Told[0], "traceparent;00-") || len(got.Faults) != 0 {
		t.Fatalf("the browser posted %q and was told %q; faults: %q", first, got.Told, got.Faults)
	}
	if !strings.HasPrefix(got.Answered, `traceparent;desc="`+click[:36]) {
		t.Errorf("the answer is of %s, the click is %s", got.Answered, click)
	}
	id, err := trace.TraceIDFromHex(click[3:35])
	if err != nil {
		t.Fatal(err)
	}
	awaitMail(t, s.Mailbox, got.Reference, 1, 1)
	f := awaitPaths(t, id, slices.Concat(paths(inbox.Email), paths(inbox.SMS)))
	list := f.of(id)
	from, err := trace.SpanIDFromHex(click[36:52])
	if err != nil {
		t.Fatal(err)
	}
	var tree strings.Builder
	draw(&tree, list, from, 1)
	t.Logf("%s the browser's click\n%s", id, tree.String())
	for _, span := range list {
		if _, root := f.path(span); root != from {
			t.Errorf("%s does not go back to the click", title(span))
		}
	}
	webhooks := linked(t, list)
	secrets := []string{canary, "jeanne@example.org", "33639980001", "Jeanne Martin", "eyJ", "Bearer"}
	for _, span := range slices.Concat(list, webhooks) {
		absent(t, "span "+span.Name, fmt.Sprint(span.Name, span.Attributes, span.Events, span.Links, span.Status), secrets)
	}
	correlated(t, id, secrets)
}

// awaitPaths returns the spans once a trace has all these paths.
func awaitPaths(t *testing.T, id trace.TraceID, want [][]string) forest {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		f := forestNow()
		var have []string
		for _, span := range f.of(id) {
			steps, _ := f.path(span)
			have = append(have, strings.Join(steps, "\n"))
		}
		missing := slices.IndexFunc(want, func(steps []string) bool { return !slices.Contains(have, strings.Join(steps, "\n")) })
		if missing < 0 {
			return f
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the trace lacks\n%s\nand has\n%s", strings.Join(want[missing], "\n"), strings.Join(have, "\n\n"))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// linked returns the spans of the providers' calls to which a trace's reports are
// linked. Each came through the gateway.
func linked(t *testing.T, list []tracetest.SpanStub) (calls []tracetest.SpanStub) {
	t.Helper()
	want := []string{"server " + reportMethod, "client " + reportMethod, "server POST /webhooks/sendgrid"}
	byMail := false
	for _, span := range list {
		if !strings.HasPrefix(span.Name, "report ") {
			continue
		}
		if len(span.Links) != 1 {
			t.Errorf("%s has %d links", span.Name, len(span.Links))
			continue
		}
		call := awaitSpan(t, span.Links[0].SpanContext.SpanID())
		f := forestNow()
		own := f.of(call.SpanContext.TraceID())
		calls = append(calls, own...)
		var tree strings.Builder
		draw(&tree, own, trace.SpanID{}, 1)
		t.Logf("%s the call that brought %s\n%s", call.SpanContext.TraceID(), span.Name, tree.String())
		steps, _ := f.path(call)
		byMail = byMail || slices.Equal(steps, want)
		if !slices.ContainsFunc(call.Links, func(back sdktrace.Link) bool { return back.SpanContext.SpanID() == span.SpanContext.SpanID() }) {
			t.Errorf("%s is not linked from its call", span.Name)
		}
	}
	if !byMail {
		t.Errorf("no report of SendGrid came by %q", want)
	}
	return calls
}

// awaitSpan returns a span once it and its ancestors have ended: a call ends after its
// report.
func awaitSpan(t *testing.T, id trace.SpanID) tracetest.SpanStub {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		f := forestNow()
		if span, ok := f[id]; ok {
			if _, root := f.path(span); !root.IsValid() {
				return span
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("span %s has not ended", id)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// correlated checks that each process has logged something with the trace's id.
func correlated(t *testing.T, id trace.TraceID, secrets []string) {
	t.Helper()
	type line struct {
		Msg, Route, Method string
		TraceID            string   `json:"trace_id"`
		Duration           *float64 `json:"duration_ms"`
	}
	seen := map[string]bool{}
	for lines := bufio.NewScanner(strings.NewReader(logged.String())); lines.Scan(); {
		var l line
		if json.Unmarshal(lines.Bytes(), &l) != nil || l.TraceID != id.String() {
			continue
		}
		absent(t, "the log", lines.Text(), secrets)
		switch l.Msg {
		case "page":
			seen["web"] = true
		case "call": // the gateway's line has a duration
			seen[map[bool]string{true: "gateway", false: "messaging"}[l.Duration != nil]] = true
		case "delivery", "report":
			seen["notifier "+l.Msg] = true
		}
	}
	for _, want := range []string{"web", "gateway", "messaging", "notifier delivery", "notifier report"} {
		if !seen[want] {
			t.Errorf("%s has logged nothing with trace %s", want, id)
		}
	}
}
