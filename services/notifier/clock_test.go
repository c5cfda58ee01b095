package notifier

import (
	"testing"
	"time"
)

// What was noted while the database's clock was three hours ahead waits as long as it was
// to wait, not three hours more.
func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	waiting, sent, blind := planOf(byEmail), planOf(bySMS), planOf(byEmail)
	for _, p := range [][]plan{sent, waiting, blind} {
		mustPlan(t, l, p)
	}
	mustClaim(t, l, bySMS, 1)
	exec(t, l, `UPDATE delivery SET updated_at = updated_at + interval '3 hours', next_attempt_at = now() + interval '3 hours 20 seconds', state = 'retry' WHERE event_id = $1`, waiting[0].event)
	exec(t, l, `UPDATE delivery SET updated_at = updated_at + interval '3 hours', lease_until = lease_until + interval '3 hours' WHERE event_id = $1`, sent[0].event)
	exec(t, l, `UPDATE delivery SET updated_at = updated_at + interval '3 hours', next_attempt_at = expires_at, state = 'unknown' WHERE event_id = $1`, blind[0].event)
	mustSweep(t, l)
	if got := look(t, l, waiting[0].event, byEmail); got.Wait > 21 || got.Wait < 10 {
		t.Errorf("it waits for %d s, want 20", got.Wait)
	}
	if got := look(t, l, blind[0].event, byEmail); got.Wait < 3600 {
		t.Errorf("what waits for its end waits for %d s", got.Wait)
	}
	var lease float64
	if err := l.pool.QueryRow(t.Context(), `SELECT extract(epoch FROM lease_until - now()) FROM delivery WHERE event_id = $1`, sent[0].event).Scan(&lease); err != nil || lease > 600 || lease <= 0 {
		t.Errorf("the lease ends in %.0f s, %v", lease, err)
	}
}

func TestWallClock(t *testing.T) {
	t.Parallel()
	var c wallClock
	at, began := time.Unix(1_000_000, 0), time.Now()
	for _, step := range []struct {
		says, later time.Duration
		back        bool
	}{{0, 0, true}, {time.Second, time.Second, true}, {time.Hour, time.Hour, false}, {2 * time.Hour, 2 * time.Hour, false}, {time.Hour, 2*time.Hour + time.Second, true}, {61 * time.Minute, 2*time.Hour + 2*time.Minute, false}} {
		if got := c.wentBack(at.Add(step.says), began.Add(step.later)); got != step.back {
			t.Errorf("at %s it says %s: %t", step.later, step.says, got)
		}
	}
}
