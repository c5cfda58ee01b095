package ledger

import (
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

func TestSettle(t *testing.T) {
	t.Parallel()
	const ambiguity = 3 * time.Minute
	for _, row := range []struct {
		name      string
		class     provider.Class
		channel   Channel
		attempts  int
		unknowns  int
		after     time.Duration
		state     State
		from, to  time.Duration
		uncounted bool
	}{
		{"accepted", provider.Accepted, Email, 1, 0, 0, Accepted, 0, 0, false},
		{"refused", provider.Refused, Email, 1, 0, 0, Refused, 0, 0, false},
		{"found", provider.Found, SMS, 2, 1, 0, Accepted, 0, 0, false},
		{"not told, first", provider.LookupFailed, Email, 2, 1, 0, Unknown, 0, 15 * time.Second, false},
		{"not told, throttled", provider.LookupFailed, Email, 2, 1, time.Minute, Unknown, time.Minute, 75 * time.Second, false},
		{"not told, SMS", provider.LookupFailed, SMS, 4, 1, 0, Unknown, 0, 5 * time.Minute, false},
		{"suppressed", provider.Suppressed, SMS, 1, 0, 0, Suppressed, 0, 0, true},
		{"not sent, first", provider.NotSent, Email, 1, 0, 0, Retry, 0, 5 * time.Second, false},
		{"not sent, fourth", provider.NotSent, Email, 4, 0, 0, Retry, 0, 5 * time.Minute, false},
		{"not sent, past the calendar", provider.NotSent, Email, 99, 0, 0, Retry, 0, 6 * time.Hour, false},
		{"throttled", provider.NotSent, Email, 1, 0, time.Minute, Retry, time.Minute, 65 * time.Second, false},
		{"our fault", provider.ConfigFault, Email, 3, 0, 0, Retry, time.Minute, 2 * time.Minute, true},
		{"unknown", provider.Unknown, Email, 1, 0, 0, Unknown, ambiguity, ambiguity, false},
		{"unknown again, e-mail", provider.Unknown, Email, 9, 8, 0, Unknown, ambiguity, 6 * time.Hour, false},
		{"unknown, SMS", provider.Unknown, SMS, 1, 0, 0, Unknown, ambiguity, ambiguity, false},
		{"unknown again, SMS", provider.Unknown, SMS, 2, 1, 0, Unknown, untilExpiry, untilExpiry, false},
	} {
		for range 200 {
			d := Delivery{Channel: row.channel, Attempts: row.attempts, Unknowns: row.unknowns}
			o := Settle(d, "p", provider.Answer{Class: row.class, RetryAfter: row.after}, Doubts{Wait: ambiguity, Blind: true})
			if o.State != row.state || o.Uncounted != row.uncounted || o.wait < row.from || o.wait > row.to {
				t.Fatalf("%s: %s, waits %s, uncounted %t", row.name, o.State, o.wait, o.Uncounted)
			}
			// Where somebody can tell, an SMS in doubt is like an e-mail in doubt.
			o = Settle(d, "p", provider.Answer{Class: row.class, RetryAfter: row.after}, Doubts{Wait: ambiguity})
			if o.State != row.state || o.wait == untilExpiry {
				t.Fatalf("%s, not blind: %s, waits %s", row.name, o.State, o.wait)
			}
		}
	}
}

// A delivery that stays in doubt is asked about ever more rarely, as what fails is repeated.
func TestSettle_DoubtsGrow(t *testing.T) {
	t.Parallel()
	const ambiguity = 3 * time.Minute
	longest := func(attempts int) (longest time.Duration) {
		for range 200 { // of draws between nothing and hours
			o := Settle(Delivery{Channel: Email, Attempts: attempts, Unknowns: 1}, "p", provider.Answer{Class: provider.Unknown}, Doubts{Wait: ambiguity})
			longest = max(longest, o.wait)
		}
		return longest
	}
	if first, ninth := longest(1), longest(9); first != ambiguity || ninth < time.Hour {
		t.Errorf("after one attempt at most %s, after nine %s", first, ninth)
	}
}

// The wait for the day takes none of an SMS's time, and gives it none.
func TestPostpone(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(SMS)
	plans[0].LoggedAt = time.Now().Add(-3 * time.Hour)
	notifiertest.Plan(t, l, plans)
	for _, step := range []struct {
		what       string
		ahead      time.Duration // of the clock, when it was claimed
		night      time.Duration
		wait, left time.Duration
	}{
		{"an hour is left", 0, 11 * time.Hour, 11 * time.Hour, time.Hour},
		{"claimed before the wait was over: never more than the whole", 0, 2 * time.Hour, 2 * time.Hour, smsLifetime},
		{"claimed by a clock that has gone back", 3 * time.Hour, 11 * time.Hour, 0, 6 * time.Hour},
	} {
		d := notifiertest.Claim(t, l, SMS, 1)[0]
		d.ClaimedAt = d.ClaimedAt.Add(step.ahead)
		notifiertest.Record(t, l, Postpone(d, step.night))
		if got := look(t, l.pool, d.EventID, SMS); got.State != Planned || got.Attempts != 0 || got.Reason != ReasonQuietHours || got.Wait != int(step.wait/time.Second) {
			t.Errorf("%s: %+v, want a wait of %s", step.what, got, step.wait)
		}
		var left float64
		if err := l.pool.QueryRow(t.Context(), `SELECT extract(epoch FROM expires_at - next_attempt_at) FROM delivery`).Scan(&left); err != nil || left > step.left.Seconds()+1 || left < step.left.Seconds()-60 {
			t.Errorf("%s: %.0f s are left, want %s (%v)", step.what, left, step.left, err)
		}
		notifiertest.Due(t, l.pool)
	}
}
