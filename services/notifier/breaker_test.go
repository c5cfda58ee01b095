package notifier

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

// answering is a provider that gives a prepared answer and counts its calls.
type answering struct {
	answer answer
	calls  int
}

func (a *answering) Mail(context.Context, email) answer {
	a.calls++
	return a.answer
}

func TestGate(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name  string
		told  answer
		calls int
		shut  bool
	}{
		{"one call fails", answer{class: classNotSent, status: 503}, 1, false},
		{"most calls fail", answer{class: classNotSent, status: 503}, breakerCalls, true},
		{"most calls end in doubt", answer{class: classUnknown}, breakerCalls, true},
		{"our credentials are refused, once", answer{class: classConfigFault, status: 401}, 1, true},
		{"messages are refused", answer{class: classRefused, status: 400}, 3 * breakerCalls, false},
		{"throttled without a time", answer{class: classNotSent, status: 429}, 3 * breakerCalls, false},
		{"throttled with a time", answer{class: classNotSent, status: 429, retryAfter: time.Minute}, 1, true},
		{"all is well", answer{class: classAccepted}, 3 * breakerCalls, false},
	}
	for _, row := range rows {
		g := newGate("p", time.Hour)
		for range row.calls {
			g.through(func() answer { return row.told })
		}
		called := false
		got := g.through(func() answer { called = true; return answer{class: classAccepted} })
		if called == row.shut || (got.class == classHeld) != row.shut {
			t.Errorf("%s: called %t, %+v", row.name, called, got)
		}
		if room := g.room(8); (room == 0) != row.shut {
			t.Errorf("%s: room for %d", row.name, room)
		}
		if row.shut && got.retryAfter <= 0 {
			t.Errorf("%s: comes back at once", row.name)
		}
	}
}

// A shut gate lets one delivery try whether the provider is back.
func TestGateTriesAgain(t *testing.T) {
	t.Parallel()
	g := newGate("p", time.Millisecond)
	fail := func() answer { return answer{class: classConfigFault} }
	g.through(fail)
	eventually(t, "one may try", func() bool { return g.room(8) == 1 })
	if got := g.through(fail); got.class != classConfigFault {
		t.Fatalf("the try was held: %+v", got)
	}
	eventually(t, "one may try again", func() bool { return g.room(8) == 1 })
	g.through(func() answer { return answer{class: classAccepted} })
	if g.room(8) != 8 {
		t.Errorf("room for %d after a success", g.room(8))
	}
}

// A mail goes to the second provider only if it was certainly not sent by the
// first.
func TestFailOver(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name          string
		first, second answer
		want          answer
		asked         int
	}{
		{"the first takes it", answer{class: classAccepted}, answer{class: classAccepted}, answer{class: classAccepted, provider: "a"}, 0},
		{"the first cannot be reached", answer{class: classNotSent}, answer{class: classAccepted}, answer{class: classAccepted, provider: "b"}, 1},
		{"the first throttles", answer{class: classNotSent, status: 429}, answer{class: classAccepted}, answer{class: classAccepted, provider: "b"}, 1},
		{"our settings are refused", answer{class: classConfigFault}, answer{class: classAccepted}, answer{class: classAccepted, provider: "b"}, 1},
		{"in doubt", answer{class: classUnknown}, answer{class: classAccepted}, answer{class: classUnknown, provider: "a"}, 0},
		{"refused for good", answer{class: classRefused}, answer{class: classAccepted}, answer{class: classRefused, provider: "a"}, 0},
		{"neither", answer{class: classNotSent, reason: "1"}, answer{class: classNotSent, reason: "2"}, answer{class: classNotSent, reason: "1", provider: "a"}, 1},
		{"settings, then not sent", answer{class: classConfigFault}, answer{class: classNotSent}, answer{class: classNotSent, provider: "b"}, 1},
		{"the second in doubt", answer{class: classNotSent}, answer{class: classUnknown}, answer{class: classUnknown, provider: "b"}, 1},
	}
	for _, row := range rows {
		first, second := &answering{answer: row.first}, &answering{answer: row.second}
		routes := mailRoutes{{first, newGate("a", time.Hour)}, {second, newGate("b", time.Hour)}}
		if got := routes.Mail(t.Context(), email{}); got != row.want || first.calls != 1 || second.calls != row.asked {
			t.Errorf("%s: %+v after %d and %d calls", row.name, got, first.calls, second.calls)
		}
	}
	// With the first shut, everything goes by the second at once.
	first, second := &answering{answer: answer{class: classConfigFault}}, &answering{answer: answer{class: classAccepted}}
	routes := mailRoutes{{first, newGate("a", time.Hour)}, {second, newGate("b", time.Hour)}}
	for range 10 {
		if got := routes.Mail(t.Context(), email{}); got.class != classAccepted {
			t.Fatalf("%+v", got)
		}
	}
	if first.calls != 1 || second.calls != 10 {
		t.Errorf("%d and %d calls", first.calls, second.calls)
	}
}

// While a provider refuses our key, deliveries lose no attempt, and the provider
// is asked once in a while, not once for each.
func TestBreakerBurnsNoAttempts(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.Workers = 2
	s.providers.set(func(call *providerCall, w http.ResponseWriter) bool {
		if call.Channel != byEmail {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	s.start(t)
	const replies = 30
	for range replies {
		_, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
		s.publish(t, event)
	}
	eventually(t, "all are planned", func() bool {
		var n int
		err := s.ledger.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery`).Scan(&n)
		return err == nil && n == replies
	})
	eventually(t, "the provider was asked", func() bool { return len(s.providers.came) > 0 })
	exec(t, s.ledger, `UPDATE delivery SET next_attempt_at = now() WHERE state IN ('planned', 'retry')`)
	s.publish(t, func() (e []bus.Event) {
		_, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
		return append(e, event)
	}()...)
	eventually(t, "the last is planned", func() bool {
		var n int
		err := s.ledger.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery`).Scan(&n)
		return err == nil && n == replies+1
	})
	var attempts int
	if err := s.ledger.pool.QueryRow(t.Context(), `SELECT coalesce(sum(attempts), 0) FROM delivery WHERE state <> 'sending'`).Scan(&attempts); err != nil {
		t.Fatal(err)
	}
	if attempts != 0 {
		t.Errorf("%d attempts were counted", attempts)
	}
	if n := len(s.providers.came); n > 2*s.cfg.Workers {
		t.Errorf("the provider was asked %d times", n)
	}
}

// While SendGrid refuses our key, e-mails leave by the relay, in the same attempt
// and once; what SendGrid has left in doubt does not go there.
func TestFailOverToTheRelay(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	relay := startRelay(t, nil)
	s.cfg.SMTP = SMTP{Addr: relay.addr, TLS: smtpPlain}
	s.cfg.CallTimeout, s.cfg.Lease = time.Second, 5*time.Second
	s.providers.set(func(call *providerCall, w http.ResponseWriter) bool {
		if call.Channel == byEmail {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	s.start(t)
	event, submitted := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, submitted)
	s.settled(t, 2)
	if got := look(t, s.ledger, event, byEmail); got.State != accepted || got.Attempts != 1 || relay.count() != 1 {
		t.Errorf("%+v, %d at the relay", got, relay.count())
	}
	var provider string
	if err := s.ledger.pool.QueryRow(t.Context(), `SELECT provider FROM delivery WHERE channel = 'EMAIL'`).Scan(&provider); err != nil || provider != providerSMTP {
		t.Errorf("the ledger says %q: %v", provider, err)
	}
	s.providers.set(func(call *providerCall, _ http.ResponseWriter) bool {
		if call.Channel == byEmail {
			<-call.Gone
		}
		return call.Channel == byEmail
	})
	_, second := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
	s.publish(t, second)
	eventually(t, "it is in doubt", func() bool {
		var n int
		err := s.ledger.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery WHERE state = 'unknown'`).Scan(&n)
		return err == nil && n == 1
	})
	if relay.count() != 1 {
		t.Error("a mail in doubt went to the relay")
	}
}

func (r *scriptedRelay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mails
}
