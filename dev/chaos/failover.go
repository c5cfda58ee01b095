package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/account"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
)

const (
	// failOvers is how often the database fails over, every other time by a crash.
	failOvers = 10
	// moving is how long the services' address goes on leading to the former primary,
	// which is a standby by then: what names, endpoints and load balancers take.
	moving = 7 * time.Second
	// failOverEvery is from one to the next.
	failOverEvery = 20 * time.Second
	// answersWithin is how soon after the address has moved submissions are answered.
	answersWithin = 5 * time.Second
)

// failover has PostgreSQL fail over to a streaming standby under load: ten times to one
// that is synchronous, of which nothing may be lost; then twice, by a crash, to one that
// is not, to count what can be.
func (r *run) failover(ctx context.Context) error {
	err := r.failOver(ctx, fleet.Synchronous, failOvers, func(i int) bool { return i%2 == 1 })
	return errors.Join(err, r.failOver(ctx, fleet.Asynchronous, 2, func(int) bool { return true }))
}

func (r *run) failOver(ctx context.Context, how fleet.Standby, times int, crashes func(i int) bool) error {
	opts := inReports
	opts.Standby = how
	s, err := r.stage(ctx, "failover "+string(how), opts)
	if err != nil {
		return err
	}
	defer s.close()
	var fault error
	s.underLoad(ctx, r.cfg.Rate, time.Duration(times)*failOverEvery, func(ctx context.Context) {
		for i := range times {
			if !fleet.Sleep(ctx, failOverEvery-moving-answersWithin-3*time.Second) {
				return
			}
			if fault = s.failOverOnce(ctx, crashes(i)); fault != nil {
				return
			}
		}
	})
	if fault != nil {
		return fmt.Errorf("failing over: %w", fault)
	}
	if how == fleet.Asynchronous {
		return s.countLost(ctx)
	}
	err = s.judge(ctx, false)
	back := s.nemesis.Account().Recovery["fail-over"]
	if len(back) != times {
		err = errors.Join(err, fmt.Errorf("%d of %d fail-overs were made", len(back), times))
	}
	for _, took := range back {
		if took > answersWithin {
			err = errors.Join(err, fmt.Errorf("%w: submissions were answered %s after the new primary could be reached", ErrViolated, took.Round(time.Millisecond)))
		}
	}
	return err
}

// failOverOnce fails over and moves the address.
func (s *stage) failOverOnce(ctx context.Context, crash bool) error {
	ctx = context.WithoutCancel(ctx)
	d := s.fleet.Database
	d.Acting.Lock()
	defer d.Acting.Unlock()
	begun := time.Now()
	if err := d.FailOver(ctx, crash); err != nil {
		return err
	}
	fleet.Sleep(ctx, moving-time.Since(begun))
	d.Move()
	s.nemesis.AwaitAnswers(ctx, "fail-over", time.Now())
	return nil
}

// countLost prints the verdict on a run in which a primary may have died with what it
// had not sent: that is lost, and no promise.
func (s *stage) countLost(ctx context.Context) error {
	v, err := s.verdict(ctx, false)
	if err != nil {
		return err
	}
	s.print(v)
	fmt.Fprintf(s.run.out, "without a synchronous standby, %d of %d acknowledged submissions were lost with a primary: PostgreSQL promises no more\n", v.Lost, v.Acknowledged)
	allowed := account.Verdict{Lost: v.Lost, LostReplies: v.LostReplies, Foreign: v.Foreign}
	if broken := v.Violations(); len(broken) > len(allowed.Violations()) {
		return fmt.Errorf("%s: %w: %v", s.title, ErrViolated, broken)
	}
	return nil
}
