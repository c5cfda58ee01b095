package ledger

import (
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// What was noted while the database's clock was three hours ahead waits as long as it was
// to wait, not three hours more; and what was put off until the morning not until then.
func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	waiting, sent, blind, night := planOf(Email), planOf(SMS), planOf(Email), planOf(SMS)
	for _, p := range [][]Plan{sent, waiting, blind} {
		notifiertest.Plan(t, l, p)
	}
	notifiertest.Claim(t, l, SMS, 1)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET updated_at = updated_at + interval '3 hours', next_attempt_at = now() + interval '3 hours 20 seconds', state = 'unknown' WHERE event_id = $1`, waiting[0].EventID)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET updated_at = updated_at + interval '3 hours', lease_until = lease_until + interval '3 hours' WHERE event_id = $1`, sent[0].EventID)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET updated_at = updated_at + interval '3 hours', next_attempt_at = expires_at, state = 'unknown' WHERE event_id = $1`, blind[0].EventID)
	notifiertest.Plan(t, l, night)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET updated_at = updated_at + interval '3 hours', next_attempt_at = expires_at, reason = 'QUIET_HOURS' WHERE event_id = $1`, night[0].EventID)
	notifiertest.Sweep(t, l)
	if got := look(t, l.pool, night[0].EventID, SMS); got.Wait != 0 {
		t.Errorf("what waits for a morning waits for %d s", got.Wait)
	}
	if got := look(t, l.pool, waiting[0].EventID, Email); got.Wait > 21 || got.Wait < 10 {
		t.Errorf("it waits for %d s, want 20", got.Wait)
	}
	if got := look(t, l.pool, blind[0].EventID, Email); got.Wait < 3600 {
		t.Errorf("what waits for its end waits for %d s", got.Wait)
	}
	var lease float64
	if err := l.pool.QueryRow(t.Context(), `SELECT extract(epoch FROM lease_until - now()) FROM delivery WHERE event_id = $1`, sent[0].EventID).Scan(&lease); err != nil || lease > 600 || lease <= 0 {
		t.Errorf("the lease ends in %.0f s, %v", lease, err)
	}
}

// What was claimed while the clock was ahead, and put off by it until a morning, is looked
// at again when that is recorded after the clock went back.
func TestClockGoesBack_WhileItIsSent(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(SMS, Email)
	notifiertest.Plan(t, l, plans)
	ahead, doubtful := notifiertest.Claim(t, l, SMS, 1)[0], notifiertest.Claim(t, l, Email, 1)[0]
	ahead.ClaimedAt, doubtful.ClaimedAt = ahead.ClaimedAt.Add(3*time.Hour), doubtful.ClaimedAt.Add(3*time.Hour)
	notifiertest.Record(t, l, Outcome{Delivery: ahead, State: Retry, wait: 11 * time.Hour, Uncounted: true, Reason: "QUIET_HOURS"},
		Outcome{Delivery: doubtful, State: Unknown, wait: time.Minute})
	if got := look(t, l.pool, plans[0].EventID, SMS); got.Wait != 0 {
		t.Errorf("what is certainly not sent waits for %d s", got.Wait)
	}
	if got := look(t, l.pool, plans[0].EventID, Email); got.Wait != 60 {
		t.Errorf("a doubt waits for %d s, want 60", got.Wait)
	}
}

// leaps has the database's clock seem to have leapt three hours ahead since it was looked
// at: all that it has noted is three hours older.
func leaps(t *testing.T, l *Ledger, processes ...*Ledger) {
	t.Helper()
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET updated_at = updated_at - interval '3 hours', next_attempt_at = next_attempt_at - interval '3 hours',
		lease_until = lease_until - interval '3 hours', expires_at = expires_at - interval '3 hours'`)
	for _, p := range append(processes, l) {
		p.clock.seen = p.clock.seen.Add(-3 * time.Hour)
	}
}

// When the clock leaps ahead, a lease and a doubt last as long as they were to last,
// before and after it was noticed, and however many notice it.
func TestClockLeapsAhead(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	other := &Ledger{pool: l.pool, doubts: l.doubts}
	notifiertest.Sweep(t, l)
	notifiertest.Sweep(t, other)
	doubt, sent, fresh, old := planOf(Email), planOf(Email), planOf(Email), planOf(SMS)
	notifiertest.Plan(t, l, doubt)
	notifiertest.Record(t, l, Settle(notifiertest.Claim(t, l, Email, 1)[0], "p", provider.Answer{Class: provider.Unknown}, Doubts{Wait: 3 * time.Minute}))
	notifiertest.Plan(t, l, sent)
	notifiertest.Claim(t, l, Email, 1)
	notifiertest.Plan(t, l, fresh)
	notifiertest.Plan(t, l, old)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET expires_at = now() + interval '2 hours' WHERE event_id = $1`, old[0].EventID)
	leaps(t, l, other)
	if got := notifiertest.Claim(t, l, Email, 10); len(got) != 1 || got[0].EventID != fresh[0].EventID {
		t.Errorf("claimed %v, want what was due before alone", got)
	}
	for _, process := range []*Ledger{l, other, l} {
		notifiertest.Sweep(t, process)
		if got := notifiertest.Claim(t, process, Email, 10); len(got) != 0 {
			t.Errorf("claimed %v", got)
		}
	}
	if got := look(t, l.pool, doubt[0].EventID, Email); got.State != Unknown || got.Wait < 60 || got.Wait > 180 {
		t.Errorf("the doubt is %+v", got)
	}
	var lease float64
	if err := l.pool.QueryRow(t.Context(), `SELECT extract(epoch FROM lease_until - now()) FROM delivery WHERE event_id = $1 AND state = 'sending'`, sent[0].EventID).Scan(&lease); err != nil || lease > 60 || lease < 1 {
		t.Errorf("the lease ends in %.0f s, %v", lease, err)
	}
	if got := look(t, l.pool, old[0].EventID, SMS); got.State != Planned {
		t.Errorf("what was to last is %s", got.State)
	}
	l.clock.held = time.Now()
	notifiertest.Sweep(t, l)
	if got := look(t, l.pool, old[0].EventID, SMS); got.State != Expired {
		t.Errorf("what is past its time for long is %s", got.State)
	}
}

func TestWallClock(t *testing.T) {
	t.Parallel()
	var c wallClock
	at, began := time.Unix(1_000_000, 0), time.Now()
	if c.latest(began) != nil {
		t.Error("it is known before the first look")
	}
	for _, step := range []struct {
		says, later, ahead time.Duration
		back               bool
	}{
		{says: 0, later: 0, back: true},
		{says: time.Second, later: time.Second, back: true},
		{says: time.Hour, later: time.Hour},
		{says: 2*time.Hour + leapLeast, later: 2 * time.Hour},
		{says: time.Hour, later: 2*time.Hour + time.Second, back: true},
		{says: 61 * time.Minute, later: 2*time.Hour + 61*time.Second},
		{says: 61*time.Minute + 16*time.Second, later: 2*time.Hour + 71*time.Second, ahead: 6 * time.Second},
		{says: 61*time.Minute + 17*time.Second, later: 2*time.Hour + 72*time.Second},
	} {
		got := c.look(at.Add(step.says), began.Add(step.later))
		if got.back != step.back || got.ahead != step.ahead {
			t.Errorf("at %s it says %s: %+v", step.later, step.says, got)
		}
		c.noted(at.Add(step.says), began.Add(step.later))
		if latest := c.latest(began.Add(step.later + time.Minute)); !latest.Equal(at.Add(step.says + time.Minute + leapLeast)) {
			t.Errorf("at %s it says a minute later at most %s", step.later, latest)
		}
	}
	if c.expiring(began.Add(2*time.Hour + 73*time.Second)) {
		t.Error("it expires after a leap")
	}
	if !c.expiring(began.Add(2*time.Hour + 72*time.Second + leapHeld)) {
		t.Error("it never expires again")
	}
}
