package provider

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// The questions as they are on the wire.
func TestLookupWire(t *testing.T) {
	t.Parallel()
	p := providertest.New(t)
	mails, texts := activityFeed{sendGridAt(p, 5*time.Second)}, twilioAt(p, 5*time.Second)
	ctx, since := trace.ContextWithSpanContext(t.Context(), sampled(t)), time.Date(2026, 11, 23, 23, 59, 0, 0, time.FixedZone("Paris", 3600))
	if got := mails.Find(ctx, Email{DeliveryID: "e.EMAIL"}, since); got != (Answer{Class: NotSent, Status: 200}) {
		t.Errorf("mail: %+v", got)
	}
	if got := texts.Find(ctx, SMS{To: "+33639980001", Body: "b"}, since.Add(2*time.Hour)); got != (Answer{Class: NotSent, Status: 200}) {
		t.Errorf("SMS: %+v", got)
	}
	var got []string
	for _, r := range p.Lookups() {
		got = append(got, r.Method+" "+r.RequestURI, r.Header.Get("Authorization"))
		if r.Header.Get("Traceparent") == "" {
			t.Errorf("%s: not traced", r.URL.Path)
		}
	}
	want := []string{
		"GET /v3/messages?limit=1&query=%28unique_args%5B%27delivery_id%27%5D%3D%22e.EMAIL%22%29", "Bearer sg-key",
		"GET /2010-04-01/Accounts/AC0/Messages.json?DateSent%3E=2026-11-24&PageSize=50&To=%2B33639980001", "Basic QUMwOnR3LXRva2Vu",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func sampled(t *testing.T) trace.SpanContext {
	t.Helper()
	id, err := trace.TraceIDFromHex("4bf92f3577b34da6a3ce929d0e0e4736")
	if err != nil {
		t.Fatal(err)
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled})
}

// What each answer to a question says. Only a list that was read to its end says
// that a message was not taken.
func TestLookupAnswers(t *testing.T) {
	t.Parallel()
	const next = `"next_page_uri":"//elsewhere.example.org/x?PageToken=2"`
	failed := func(status int, reason string) Answer {
		return Answer{Class: LookupFailed, Status: status, Reason: reason}
	}
	found := func(id string) Answer { return Answer{Class: Found, Status: 200, MessageID: id} }
	gone := Answer{Class: NotSent, Status: 200}
	message := func(body, status string) string {
		return fmt.Sprintf(`{"sid":"SM9","body":%q,"status":%q,"date_sent":null}`, body, status)
	}
	list := func(rows ...string) string {
		return `{"messages":[` + strings.Join(rows, ",") + `],"next_page_uri":null}`
	}
	for _, row := range []struct {
		name       string
		status     int
		pages      []string // the last repeats
		mail, text Answer
	}{
		{"none", 200, []string{list()}, gone, gone},
		{"another", 200, []string{list(`{"msg_id":"m9","sid":"SM9","body":"other","status":"sent"}`)}, found("m9"), gone},
		{"queued", 200, []string{list(message("b", "queued"))}, found(""), found("SM9")},
		{"delivered", 200, []string{list(message("b", "delivered"))}, found(""), found("SM9")},
		{"failed", 200, []string{list(message("b", "failed"))}, found(""), gone},
		{"canceled", 200, []string{list(message("b", "canceled"))}, found(""), gone},
		{"undelivered", 200, []string{list(message("b", "undelivered"))}, found(""), gone},
		{"failed, then sent", 200, []string{list(message("b", "failed"), message("b", "sent"))}, found(""), found("SM9")},
		{"on the second page", 200, []string{`{"messages":[],` + next + `}`, list(message("b", "sent"))}, gone, found("SM9")},
		{"endless", 200, []string{`{"messages":[],` + next + `}`}, gone, failed(0, "LOOKUP_TOO_MANY")},
		{"no list", 200, []string{`{}`}, failed(200, reasonUnreadable), failed(200, reasonUnreadable)},
		{"no JSON", 200, []string{`<p>`}, failed(200, reasonUnreadable), failed(200, reasonUnreadable)},
		{"cut short", 200, []string{`{"messages":[`}, failed(200, reasonUnreadable), failed(200, reasonUnreadable)},
		{"forbidden", 403, []string{list()}, failed(403, "LOOKUP_HTTP_403"), failed(403, "LOOKUP_HTTP_403")},
		{"not there", 404, []string{list()}, failed(404, "LOOKUP_HTTP_404"), failed(404, "LOOKUP_HTTP_404")},
		{"refused", 400, []string{list()}, failed(400, "LOOKUP_HTTP_400"), failed(400, "LOOKUP_HTTP_400")},
		{"broken", 500, []string{list()}, failed(500, "LOOKUP_HTTP_500"), failed(500, "LOOKUP_HTTP_500")},
		{"elsewhere", 302, []string{list()}, failed(302, "LOOKUP_HTTP_302"), failed(302, "LOOKUP_HTTP_302")},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ask := func(find func(ctx context.Context, p *providertest.Providers) Answer) Answer {
				pages := row.pages
				p := providertest.New(t)
				p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", "https://elsewhere.example.org/")
					w.WriteHeader(row.status)
					fmt.Fprint(w, pages[0])
					pages = pages[min(1, len(pages)-1):]
				})
				return find(t.Context(), p)
			}
			mail := ask(func(ctx context.Context, p *providertest.Providers) Answer {
				return activityFeed{sendGridAt(p, 5*time.Second)}.Find(ctx, Email{DeliveryID: "e.EMAIL"}, time.Now())
			})
			text := ask(func(ctx context.Context, p *providertest.Providers) Answer {
				return twilioAt(p, 5*time.Second).Find(ctx, SMS{To: "+33639980001", Body: "b"}, time.Now())
			})
			if mail != row.mail || text != row.text {
				t.Errorf("mail %+v, want %+v\nSMS %+v, want %+v", mail, row.mail, text, row.text)
			}
		})
	}
}

// The number is in the query, so no span may have one; the span itself is there.
func TestNoSpanHoldsAQuery(t *testing.T) {
	t.Parallel()
	p := providertest.New(t)
	twilioAt(p, 5*time.Second).Find(t.Context(), SMS{To: "+33639980001", Body: "b"}, time.Now())
	seen := false
	for _, span := range notifiertest.Spans() {
		for _, kv := range span.Attributes {
			if value := kv.Value.AsString(); strings.HasPrefix(value, p.URL) {
				seen = true
				if strings.Contains(value, "?") {
					t.Errorf("%s is %s", kv.Key, value)
				}
			}
		}
	}
	if !seen {
		t.Error("the look-up has no span")
	}
}
