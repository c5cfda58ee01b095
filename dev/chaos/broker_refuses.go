package chaos

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

const (
	// refusesFor is how long the broker refuses, in each way.
	refusesFor = 45 * time.Second
	// refusalsMended is the most of a way's time that may pass until all is notified.
	refusalsMended = 2 * time.Minute
	// hintWithin is how soon watches must be told to look for themselves.
	hintWithin = 30 * time.Second
)

// refusing is a way in which a broker that is connected takes no events; the returned
// function ends it.
type refusing struct {
	name  string
	begin func(context.Context, *stage) (end func(context.Context) error, err error)
}

var waysToRefuse = []refusing{
	{"full", func(ctx context.Context, s *stage) (func(context.Context) error, error) { return s.fleet.Fill(ctx) }},
	{"two of three nodes gone", func(_ context.Context, s *stage) (func(context.Context) error, error) {
		others := s.fleet.Brokers[1:]
		for _, p := range others {
			p.End(syscall.SIGKILL)
		}
		return func(ctx context.Context) error {
			var faults []error
			for _, p := range others {
				faults = append(faults, p.Start(), p.AwaitReady(ctx))
			}
			return errors.Join(faults...)
		}, nil
	}},
	{"all subjects denied", func(_ context.Context, s *stage) (func(context.Context) error, error) {
		return func(context.Context) error { return s.fleet.Deny() }, s.fleet.Deny(eventspb.Everything)
	}},
	{"replies denied", func(_ context.Context, s *stage) (func(context.Context) error, error) {
		return func(context.Context) error { return s.fleet.Deny() }, s.fleet.Deny(eventspb.AllCaisses(eventspb.TypeReplyPosted))
	}},
}

// brokerRefuses has the broker of three nodes, connected all the time, refuse events in
// one way after the other under load.
func (r *run) brokerRefuses(ctx context.Context) error {
	opts := inReports
	opts.Cluster = true
	s, err := r.stage(ctx, "broker refuses", opts)
	if err != nil {
		return err
	}
	defer s.close()
	var faults []error
	// Each way has the time that it takes, and as long for what it has left behind.
	s.underLoad(ctx, r.cfg.Rate, time.Duration(len(waysToRefuse))*(refusesFor+time.Minute), func(ctx context.Context) {
		fleet.Sleep(ctx, 5*time.Second)
		for _, way := range waysToRefuse {
			faults = append(faults, s.refuse(ctx, way))
		}
	})
	return errors.Join(append(faults, s.judge(ctx, false))...)
}

// refuse has the broker refuse in one way, and says what came of it.
func (s *stage) refuse(ctx context.Context, way refusing) error {
	hinted, endWatch := s.load.LookForYourself(ctx)
	defer endWatch()
	failed := s.load.Failed.Load()
	end, err := way.begin(ctx, s)
	if err != nil {
		return fmt.Errorf("%s: %w", way.name, err)
	}
	begun := time.Now()
	var hint time.Duration
	select {
	case <-hinted:
		hint = time.Since(begun)
	case <-time.After(refusesFor):
	}
	fleet.Sleep(ctx, refusesFor-time.Since(begun))
	failedDuring := s.load.Failed.Load() - failed
	back := time.Now()
	if err := end(ctx); err != nil {
		return fmt.Errorf("%s: %w", way.name, err)
	}
	patience, cancel := context.WithTimeout(ctx, refusalsMended+10*time.Second)
	defer cancel()
	drained := s.until(patience, back, s.outboxSmall)
	notified := s.until(patience, back, func(ctx context.Context) bool { return s.notifiedUntil(ctx, back) })
	fmt.Fprintf(s.run.out, "broker refuses, %s for %s: %d tries failed meanwhile; watches were told after %s; afterwards drained in %s, everything notified in %s\n",
		way.name, refusesFor, failedDuring, hint.Round(10*time.Millisecond), drained.Round(10*time.Millisecond), notified.Round(10*time.Millisecond))
	if failedDuring > 0 || hint == 0 || hint > hintWithin || drained == 0 || notified == 0 || notified > refusalsMended {
		return fmt.Errorf("%w: broker refuses, %s: %d tries failed, told after %s, drained in %s, notified in %s (0: not at all)",
			ErrViolated, way.name, failedDuring, hint, drained, notified)
	}
	return nil
}
