package notifier

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// serveLookups answers questions from what was accepted, as the providers do.
func (p *providers) serveLookups(mux *http.ServeMux) {
	serve := func(way channel, list func(r *http.Request, accepted []*providerCall) []any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			p.mu.Lock()
			p.lookups = append(p.lookups, r)
			broken := p.brokenLookups > 0
			if broken {
				p.brokenLookups--
			}
			p.mu.Unlock()
			if broken {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			found := append([]any{}, list(r, p.accepted(way))...)
			_ = json.NewEncoder(w).Encode(map[string]any{"messages": found, "next_page_uri": nil})
		}
	}
	mux.HandleFunc("GET /v3/messages", serve(byEmail, func(r *http.Request, accepted []*providerCall) (found []any) {
		for _, call := range accepted {
			if r.URL.Query().Get("query") == `(unique_args['delivery_id']="`+call.DeliveryID+`")` {
				found = append(found, map[string]any{"msg_id": "sg-1.filter", "status": "processed"})
			}
		}
		return found
	}))
	mux.HandleFunc("GET /2010-04-01/Accounts/{sid}/Messages.json", serve(bySMS, func(r *http.Request, accepted []*providerCall) (found []any) {
		for _, call := range accepted {
			if r.URL.Query().Get("To") == call.To {
				found = append(found, map[string]any{"sid": "SM1", "body": call.Form.Get("Body"), "status": "queued"})
			}
		}
		return found
	}))
}

// asked counts the questions about one channel.
func (p *providers) asked(way channel) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.lookups {
		if strings.HasPrefix(r.URL.Path, "/v3/") == (way == byEmail) {
			n++
		}
	}
	return n
}

// The questions as they are on the wire.
func TestLookupWire(t *testing.T) {
	t.Parallel()
	p := newProviders(t)
	mails, texts := activityFeed{p.sendGrid(5 * time.Second)}, p.twilio(5*time.Second)
	ctx, since := trace.ContextWithSpanContext(t.Context(), sampled(t)), time.Date(2026, 11, 23, 23, 59, 0, 0, paris)
	if got := mails.Find(ctx, email{DeliveryID: "e.EMAIL"}, since); got != (answer{class: classNotSent, status: 200}) {
		t.Errorf("mail: %+v", got)
	}
	if got := texts.Find(ctx, sms{To: "+33639980001", Body: "b"}, since.Add(2*time.Hour)); got != (answer{class: classNotSent, status: 200}) {
		t.Errorf("SMS: %+v", got)
	}
	var got []string
	for _, r := range p.lookups {
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
	failed := func(status int, reason string) answer {
		return answer{class: classLookupFailed, status: status, reason: reason}
	}
	found := func(id string) answer { return answer{class: classFound, status: 200, messageID: id} }
	gone := answer{class: classNotSent, status: 200}
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
		mail, text answer
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
			ask := func(find func(ctx context.Context, p *providers) answer) answer {
				pages := row.pages
				p := newProviders(t)
				p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", "https://elsewhere.example.org/")
					w.WriteHeader(row.status)
					fmt.Fprint(w, pages[0])
					pages = pages[min(1, len(pages)-1):]
				})
				return find(t.Context(), p)
			}
			mail := ask(func(ctx context.Context, p *providers) answer {
				return activityFeed{p.sendGrid(5 * time.Second)}.Find(ctx, email{DeliveryID: "e.EMAIL"}, time.Now())
			})
			text := ask(func(ctx context.Context, p *providers) answer {
				return p.twilio(5*time.Second).Find(ctx, sms{To: "+33639980001", Body: "b"}, time.Now())
			})
			if mail != row.mail || text != row.text {
				t.Errorf("mail %+v, want %+v\nSMS %+v, want %+v", mail, row.mail, text, row.text)
			}
		})
	}
}

// inDoubt puts a submission into the ledger of which both attempts have ended
// without a record: the process has died. If arrived, the providers have taken them.
func (s *stage) inDoubt(t *testing.T, arrived bool) uuid.UUID {
	t.Helper()
	to := s.newcomer()
	plans := planOf(byEmail, bySMS)
	for i := range plans {
		plans[i].event, plans[i].conversation = plans[0].event, uuid.MustParse(to.GetConversationId())
	}
	mustPlan(t, s.ledger, plans)
	words := composer{site: s.cfg.SiteAddress}
	mails, texts := byMail(s.providers.sendGrid(5*time.Second), words), byText(s.providers.twilio(5*time.Second), words)
	for way, deliver := range map[channel]func(context.Context, delivery, *messagingpb.Recipient) answer{byEmail: mails, bySMS: texts} {
		d := mustClaim(t, s.ledger, way, 1)[0]
		if !arrived {
			continue
		}
		if got := deliver(t.Context(), d, to); got.class != classAccepted {
			t.Fatalf("%s: %+v", way, got)
		}
	}
	lapse(t, s.ledger)
	return plans[0].event
}

// hasten ends all waits. The attempts are forgotten, or these tests could not run
// at night: a repeated SMS waits for the morning.
func (s *stage) hasten(t *testing.T) {
	t.Helper()
	exec(t, s.ledger, `UPDATE delivery SET next_attempt_at = now(), attempts = 0 WHERE state IN ('retry', 'unknown')`)
}

// hastened waits until the ledger has n rows and all of them are accepted.
func (s *stage) hastened(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d deliveries are accepted", n), func() bool {
		s.hasten(t)
		var done int
		err := s.ledger.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery WHERE state = 'accepted'`).Scan(&done)
		return err == nil && done == n
	})
}

// lookupStage is a stage whose providers can both be asked, soon.
func lookupStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.cfg.SendGrid.Activity, s.cfg.AmbiguityWait = true, 100*time.Millisecond
	return s
}

// attempts are the outcomes in the log, in order.
func (s *stage) attempts(t *testing.T, event uuid.UUID, way channel) (outcomes string) {
	t.Helper()
	if err := s.ledger.pool.QueryRow(t.Context(), `SELECT COALESCE(string_agg(outcome || ' ' || provider_message_id, ', ' ORDER BY id), '')
		FROM attempt WHERE event_id = $1 AND channel = $2`, event, way).Scan(&outcomes); err != nil {
		t.Fatal(err)
	}
	return outcomes
}

// The process died after the providers had taken both, before it could record it:
// nobody gets anything twice.
func TestCrashAfterAcceptanceIsNoDuplicate(t *testing.T) {
	t.Parallel()
	s := lookupStage(t)
	event := s.inDoubt(t, true)
	s.start(t)
	s.hastened(t, 2)
	for way, id := range map[channel]string{byEmail: "sg-1.filter", bySMS: "SM1"} {
		if n := len(s.providers.accepted(way)); n != 1 {
			t.Errorf("%s: accepted %d times, want once", way, n)
		}
		if got := look(t, s.ledger, event, way); got.State != accepted || got.Unknowns != 1 {
			t.Errorf("%s: %+v", way, got)
		}
		if got, want := s.attempts(t, event, way), "unknown , found "+id; got != want {
			t.Errorf("%s: attempts %q, want %q", way, got, want)
		}
	}
}

// It died before anything had left: both go, once.
func TestCrashBeforeAcceptanceIsSentOnce(t *testing.T) {
	t.Parallel()
	s := lookupStage(t)
	event := s.inDoubt(t, false)
	s.start(t)
	s.hastened(t, 2)
	for way, id := range map[channel]string{byEmail: "sg-1", bySMS: "SM1"} {
		if sent, asked := len(s.providers.accepted(way)), s.providers.asked(way); sent != 1 || asked != 1 {
			t.Errorf("%s: accepted %d times, asked %d times, want once each", way, sent, asked)
		}
		if got, want := s.attempts(t, event, way), "unknown , accepted "+id; got != want {
			t.Errorf("%s: attempts %q, want %q", way, got, want)
		}
	}
}

// A provider that cannot be asked gets nothing again, on either side of the doubt,
// until it can.
func TestNothingIsSentWhileTheProviderCannotBeAsked(t *testing.T) {
	t.Parallel()
	for _, arrived := range []bool{true, false} {
		t.Run(fmt.Sprintf("arrived %t", arrived), func(t *testing.T) {
			t.Parallel()
			s := lookupStage(t)
			const never = 1 << 30
			s.providers.brokenLookups = never
			event := s.inDoubt(t, arrived)
			before := len(s.providers.calls)
			s.start(t)
			for _, way := range channels {
				for round := 1; round <= 2; round++ {
					eventually(t, "the failed look-up is recorded", func() bool {
						s.hasten(t)
						return strings.Count(s.attempts(t, event, way), "lookup_failed") >= round
					})
				}
				if got := look(t, s.ledger, event, way); got.Unknowns != 1 {
					t.Errorf("%s: a failed look-up was counted as a doubt: %+v", way, got)
				}
			}
			s.providers.mu.Lock()
			if len(s.providers.calls) != before {
				t.Errorf("%d messages were sent in doubt", len(s.providers.calls)-before)
			}
			s.providers.brokenLookups = 0
			s.providers.mu.Unlock()
			s.hastened(t, 2)
			for _, way := range channels {
				if n := len(s.providers.accepted(way)); n != 1 {
					t.Errorf("%s: accepted %d times, want once", way, n)
				}
			}
		})
	}
}

// An answer that was lost while the process lives on.
func TestAnswerLostAfterAcceptanceIsNoDuplicate(t *testing.T) {
	t.Parallel()
	s := lookupStage(t)
	s.cfg.CallTimeout = 500 * time.Millisecond
	s.providers.set(func(call *providerCall, _ http.ResponseWriter) bool {
		s.providers.mu.Lock()
		call.Accepted = true
		s.providers.mu.Unlock()
		<-call.Gone
		return true
	})
	s.start(t)
	_, event := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, event)
	s.hastened(t, 2)
	for _, way := range channels {
		if n := len(s.providers.accepted(way)); n != 1 {
			t.Errorf("%s: accepted %d times, want once", way, n)
		}
	}
}

// Without the add-on nobody is asked, and a mail in doubt is sent again.
func TestWithoutTheAddOnAMailInDoubtIsSentAgain(t *testing.T) {
	t.Parallel()
	s := lookupStage(t)
	s.cfg.SendGrid.Activity = false
	s.inDoubt(t, true)
	s.start(t)
	s.hastened(t, 2)
	if sent, asked := len(s.providers.accepted(byEmail)), s.providers.asked(byEmail); sent != 2 || asked != 0 {
		t.Errorf("accepted %d times, asked %d times", sent, asked)
	}
	if n := len(s.providers.accepted(bySMS)); n != 1 {
		t.Errorf("SMS: accepted %d times", n)
	}
}

// A first attempt asks nobody.
func TestFirstAttemptsAskNobody(t *testing.T) {
	t.Parallel()
	s := lookupStage(t)
	s.start(t)
	_, event := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, event)
	s.settled(t, 2)
	if n := s.providers.asked(byEmail) + s.providers.asked(bySMS); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

// The number is in the query, so no span may have one; the span itself is there.
func TestNoSpanHoldsAQuery(t *testing.T) {
	t.Parallel()
	p := newProviders(t)
	p.twilio(5*time.Second).Find(t.Context(), sms{To: "+33639980001", Body: "b"}, time.Now())
	seen := false
	for _, span := range spans.GetSpans() {
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
