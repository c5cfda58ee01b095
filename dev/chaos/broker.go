package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/account"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
)

// brokerOutage stops the broker for half of the time under load, then deletes its
// store.
func (r *run) brokerOutage(ctx context.Context) error {
	s, err := r.stage(ctx, "broker outage", inReports)
	if err != nil {
		return err
	}
	defer s.close()
	outage := r.length() / 2
	var failedDuring int64
	var drained, repaired time.Duration
	s.underLoad(ctx, r.cfg.Rate, r.length()+10*time.Second, func(ctx context.Context) {
		fleet.Sleep(ctx, 5*time.Second)
		failed := s.load.Failed.Load()
		s.fleet.Broker.End(syscall.SIGTERM)
		fleet.Sleep(ctx, outage)
		failedDuring = s.load.Failed.Load() - failed
		back := time.Now()
		if err := s.restartBroker(ctx); err != nil {
			return
		}
		drained = s.until(ctx, back, s.outboxSmall)
		fleet.Sleep(ctx, 2*time.Second)
		// Now what it has acknowledged is lost.
		s.fleet.Broker.End(syscall.SIGKILL)
		if err := os.RemoveAll(s.fleet.Path("nats")); err != nil {
			return
		}
		back = time.Now()
		if err := s.restartBroker(ctx); err != nil {
			return
		}
		cut := back
		repaired = s.until(ctx, back, func(ctx context.Context) bool { return s.notifiedUntil(ctx, cut) })
	})
	fmt.Fprintf(r.out, "broker away for %s: %d tries failed meanwhile; drained %s after its return; store deleted: everything notified %s after its return\n",
		outage, failedDuring, drained.Round(time.Millisecond), repaired.Round(time.Millisecond))
	err = s.judge(ctx, false)
	if failedDuring > 0 || drained == 0 || repaired == 0 || repaired > 2*time.Minute {
		err = errors.Join(err, fmt.Errorf("%w: %d tries failed, drained in %s, repaired in %s", ErrViolated, failedDuring, drained, repaired))
	}
	return err
}

func (s *stage) restartBroker(ctx context.Context) error {
	if err := s.fleet.Broker.Start(); err != nil {
		return err
	}
	return s.fleet.Broker.AwaitReady(ctx)
}

// until waits for a condition and returns how long after a moment it held; 0 when
// it did not within the load's time.
func (s *stage) until(ctx context.Context, since time.Time, holds func(context.Context) bool) time.Duration {
	for !holds(ctx) {
		if !fleet.Sleep(ctx, 100*time.Millisecond) {
			return 0
		}
	}
	return time.Since(since)
}

// outboxSmall: what is left are the submissions of this moment.
func (s *stage) outboxSmall(ctx context.Context) bool {
	waiting, err := fleet.Query[struct{ N int }](ctx, s.fleet.Database, "messaging", `SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM outbox_refused)`)
	return err == nil && waiting[0].N < s.run.cfg.Rate
}

// notifiedUntil: everything that was committed before then is in the ledger, and
// has ended there.
func (s *stage) notifiedUntil(ctx context.Context, then time.Time) bool {
	logged, err1 := fleet.Query[struct{ N int }](ctx, s.fleet.Database, "messaging",
		`SELECT count(*) FROM event_log WHERE type IN ('message-submitted', 'reply-posted') AND created_at < $1`, then)
	ended, err2 := fleet.Query[struct{ N int }](ctx, s.fleet.Database, "notifier",
		`SELECT count(*) FROM delivery WHERE channel = 'EMAIL' AND logged_at < $1 AND state NOT IN `+account.OpenStates, then)
	return err1 == nil && err2 == nil && ended[0].N >= logged[0].N
}
