package ledger

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

const (
	// backFor is how long after the database's clock was seen to go back, or the start,
	// what was noted by it before is looked for: by transactions that had begun before, too.
	backFor = time.Minute
	// leapLeast is how much more time than has passed must seem to have passed for the
	// clock to have leapt. It is far below any wait that matters.
	leapLeast = 5 * time.Second
	// leapHeld is how long after a leap nothing expires: a clock that is put right within
	// that time has ended no delivery.
	leapHeld = 5 * time.Minute
)

// wallClock follows the database's clock by this process's monotonic one, to notice when
// it leaps: a server set wrong and right again, or another primary with a clock of its own.
//
// What is promised: waits and leases last as long as they were to last, whichever way the
// clock leaps. How: until a leap has been noticed nothing passes for due that would not be
// without it, and what waits then begins its wait anew. When it breaks: a process that
// starts within the moment between a leap ahead and another process's noticing it cannot
// know, and believes the clock.
type wallClock struct {
	mu sync.Mutex
	// seen is what the clock said when it was last asked, asked when that was.
	seen, asked time.Time
	// back and held end what backFor and leapHeld begin, by this process's clock.
	back, held time.Time
}

// latest is the most that the clock can say without a leap; nil: not known.
func (c *wallClock) latest(now time.Time) *time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen.IsZero() {
		return nil
	}
	latest := c.seen.Add(now.Sub(c.asked) + leapLeast)
	return &latest
}

// leap is what a look at the clock found.
type leap struct {
	// back: what it said before may still be to come.
	back bool
	// ahead is how far it has leapt ahead, from after before, or 0.
	ahead         time.Duration
	before, after time.Time
}

// look compares what the clock says, to a question of the time asked, with what it said
// before. It passes for leapt until noted.
func (c *wallClock) look(says, asked time.Time) leap {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found leap
	if says.Before(c.seen) || c.seen.IsZero() {
		c.back = asked.Add(backFor)
	} else if expected := c.seen.Add(asked.Sub(c.asked)); says.Sub(expected) > leapLeast {
		found.ahead, found.before, found.after = says.Sub(expected), c.seen, expected
		c.held = asked.Add(leapHeld)
	}
	found.back = asked.Before(c.back)
	return found
}

// noted has what the clock says pass for the time: its leap has been dealt with.
func (c *wallClock) noted(says, asked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen, c.asked = says, asked
}

// expiring reports whether what is past its time may be ended.
func (c *wallClock) expiring(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !now.Before(c.held)
}

// followClock looks at the database's clock and sets right what a leap would end too soon
// or too late.
func (l *Ledger) followClock(ctx context.Context) error {
	asked := time.Now()
	says, err := postgres.One[time.Time](ctx, l.pool, "reading the database's clock", `SELECT now()`)
	if err != nil {
		return err
	}
	found := l.clock.look(says, asked)
	if found.back {
		if err := l.beginAnew(ctx); err != nil {
			return err
		}
	}
	if found.ahead > 0 {
		if err := l.putOff(ctx, found); err != nil {
			return err
		}
	}
	l.clock.noted(says, asked)
	return nil
}

// beginAnew has the leases, and the waits after a doubt, that began in a time that is still
// to come begin now. What is certainly not sent waits for nothing: it is looked at again, as
// what it was to wait for, the morning after a night that has not come, may be no more.
func (l *Ledger) beginAnew(ctx context.Context) error {
	changed, err := postgres.Exec(ctx, l.pool, "setting waits right after the clock went back", `
		WITH ahead AS (
			SELECT event_id, channel FROM delivery
			WHERE updated_at > now() AND (state = 'sending' OR state IN ('planned', 'retry', 'unknown') AND next_attempt_at > now())
			ORDER BY event_id, channel FOR UPDATE SKIP LOCKED)
		UPDATE delivery AS d
		SET next_attempt_at = CASE WHEN state IN ('planned', 'retry') THEN now()
		                           WHEN next_attempt_at < expires_at THEN now() + GREATEST(next_attempt_at - updated_at, interval '0')
		                           ELSE next_attempt_at END,
		    lease_until = CASE WHEN state = 'sending' THEN now() + GREATEST(lease_until - updated_at, interval '0') END, updated_at = now()
		FROM ahead WHERE d.event_id = ahead.event_id AND d.channel = ahead.channel`)
	if err != nil {
		return err
	}
	if changed > 0 {
		slog.WarnContext(ctx, "the database's clock has gone back; what waits for it begins to wait anew", "deliveries", changed)
	}
	return nil
}

// putOff has the leases and the waits after a doubt that a leap would have ended last as
// long as they were to last. What another process has put off bears the new time.
func (l *Ledger) putOff(ctx context.Context, found leap) error {
	changed, err := postgres.Exec(ctx, l.pool, "putting waits off after the clock leapt", `
		WITH cut AS (
			SELECT event_id, channel FROM delivery
			WHERE state IN ('sending', 'unknown') AND updated_at <= $2 AND COALESCE(lease_until, next_attempt_at) > $1
			ORDER BY event_id, channel FOR UPDATE)
		UPDATE delivery AS d
		SET next_attempt_at = CASE WHEN state = 'unknown' THEN LEAST(expires_at, next_attempt_at + $3::interval) END,
		    lease_until = lease_until + $3::interval, updated_at = now()
		FROM cut WHERE d.event_id = cut.event_id AND d.channel = cut.channel`, found.before, found.after, found.ahead)
	if err != nil {
		return err
	}
	slog.WarnContext(ctx, "the database's clock has leapt ahead; leases and doubts last as long as before, and nothing expires for a while",
		"by", found.ahead, "deliveries", changed, "while", leapHeld)
	return nil
}
