package notifier

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// backFor is how long after the database's clock was seen to go back, or the start, what
// was noted by it before is looked for: by transactions that had begun before, too.
const backFor = time.Minute

// wallClock notices when the database's clock goes back. What was noted while it was
// ahead, when a delivery is due or a lease ends, would otherwise come as much too late.
type wallClock struct {
	mu    sync.Mutex
	seen  time.Time
	until time.Time // by this process's clock
}

// wentBack takes what the database's clock says, and reports whether what it said before
// is to be set right.
func (c *wallClock) wentBack(says, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if says.Before(c.seen) || c.seen.IsZero() {
		c.until = now.Add(backFor)
	}
	c.seen = says
	return now.Before(c.until)
}

// setRight has the waits and leases that began in a time that is still to come begin now.
func (l *ledger) setRight(ctx context.Context) error {
	var says time.Time
	if err := l.pool.QueryRow(ctx, `SELECT now()`).Scan(&says); err != nil {
		return fmt.Errorf("reading the database's clock: %w", err)
	}
	if !l.clock.wentBack(says, time.Now()) {
		return nil
	}
	tag, err := l.pool.Exec(ctx, `
		WITH ahead AS (
			SELECT event_id, channel FROM delivery
			WHERE updated_at > now() AND (state = 'sending' OR state IN ('planned', 'retry', 'unknown') AND next_attempt_at > now())
			ORDER BY event_id, channel FOR UPDATE SKIP LOCKED)
		UPDATE delivery AS d
		SET next_attempt_at = CASE WHEN next_attempt_at < expires_at THEN now() + GREATEST(next_attempt_at - updated_at, interval '0') ELSE next_attempt_at END,
		    lease_until = CASE WHEN state = 'sending' THEN now() + GREATEST(lease_until - updated_at, interval '0') END, updated_at = now()
		FROM ahead WHERE d.event_id = ahead.event_id AND d.channel = ahead.channel`)
	if err != nil {
		return fmt.Errorf("setting waits right after the clock went back: %w", err)
	}
	if tag.RowsAffected() > 0 {
		slog.WarnContext(ctx, "the database's clock has gone back; what was to wait for it begins its wait anew", "deliveries", tag.RowsAffected())
	}
	return nil
}
