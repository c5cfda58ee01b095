package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
)

const (
	// clockSteps is how far the databases' clock goes wrong, and clockWrongFor how long it
	// stays so.
	clockSteps    = 3 * time.Hour
	clockWrongFor = time.Minute
	// repairedWithin is how soon what the broker has lost is notified nevertheless.
	repairedWithin = 2 * time.Minute
)

// clock sets the databases' clock three hours ahead for a minute, and back, under load;
// afterwards the broker loses what it has acknowledged, which the reconciler must find as
// soon as ever. Then the same with a clock that is behind.
func (r *run) clock(ctx context.Context) error {
	var faults []error
	for name, ahead := range map[string]time.Duration{"ahead": clockSteps, "behind": -clockSteps} {
		faults = append(faults, r.clockStep(ctx, name, ahead))
	}
	return errors.Join(faults...)
}

func (r *run) clockStep(ctx context.Context, name string, ahead time.Duration) error {
	opts := inReports
	opts.Clock = true
	s, err := r.stage(ctx, "clock "+name, opts)
	if err != nil {
		return err
	}
	defer s.close()
	var fault error
	var repaired time.Duration
	s.underLoad(ctx, r.cfg.Rate, clockWrongFor+repairedWithin, func(ctx context.Context) {
		fleet.Sleep(ctx, 5*time.Second)
		if fault = s.fleet.Database.SetClock(ctx, ahead); fault != nil {
			return
		}
		fleet.Sleep(ctx, clockWrongFor)
		if fault = s.fleet.Database.SetClock(ctx, 0); fault != nil {
			return
		}
		fleet.Sleep(ctx, 5*time.Second)
		s.fleet.Broker.End(syscall.SIGKILL)
		if fault = os.RemoveAll(s.fleet.Path("nats")); fault != nil {
			return
		}
		back := time.Now()
		if fault = s.restartBroker(ctx); fault != nil {
			return
		}
		repaired = s.until(ctx, back, func(ctx context.Context) bool { return s.notifiedUntil(ctx, back) })
	})
	if fault != nil {
		return fmt.Errorf("clock %s: %w", name, fault)
	}
	fmt.Fprintf(r.out, "clock %s by %s for %s; store deleted afterwards: everything notified in %s\n", name, clockSteps, clockWrongFor, repaired.Round(10*time.Millisecond))
	err = s.judge(ctx, false)
	if repaired == 0 || repaired > repairedWithin {
		err = errors.Join(err, fmt.Errorf("%w: clock %s: notified in %s (0: not at all)", ErrViolated, name, repaired))
	}
	return err
}
