package chaos

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/account"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/nemesis"
)

// settlePatience bounds the wait for everything to be finished after the last
// fault: twice the wait after a doubt, leases, and a backlog.
const settlePatience = 4 * time.Minute

// inReports are the settings of a run in which providers report, and cannot be
// asked: what is proven is that reports suffice.
var inReports = fleet.Options{Reports: true, Reconcile: 5 * time.Second}

// stage is a fleet with its load and nemesis.
type stage struct {
	run     *run
	title   string
	fleet   *fleet.Fleet
	load    *load.Load
	nemesis *nemesis.Nemesis
	// endLoad gives up what is not answered yet.
	finish  context.Context //nolint:containedctx // outlives the calls that share it
	endLoad context.CancelFunc
	loaded  time.Duration
	// settled is how long it took to finish all after the last fault.
	settled time.Duration
	// settlePatience bounds the wait for everything to be finished.
	settlePatience time.Duration
}

func (r *run) stage(ctx context.Context, title string, opts fleet.Options) (*stage, error) {
	f, err := fleet.Launch(ctx, filepath.Join(r.cfg.Dir, title), r.binaries, opts)
	if err != nil {
		return nil, fmt.Errorf("starting the system: %w", err)
	}
	l, err := load.New(f, r.cfg.Seed)
	if err != nil {
		f.Close()
		return nil, err
	}
	s := &stage{run: r, title: title, fleet: f, load: l, nemesis: nemesis.New(f, l), settlePatience: settlePatience}
	s.finish, s.endLoad = context.WithCancel(context.WithoutCancel(ctx))
	if !opts.Reports {
		err = f.Tell(ctx, "/api/reports", map[string]any{"mode": "off"})
	}
	return s, err
}

func (s *stage) close() {
	s.endLoad()
	s.load.Close()
	s.fleet.Close()
}

// underLoad runs the load for so long, and do meanwhile; then what has been begun
// is finished.
func (s *stage) underLoad(ctx context.Context, rate int, long time.Duration, do func(context.Context)) {
	loading, end := context.WithTimeout(ctx, long)
	defer end()
	begun := time.Now()
	var both sync.WaitGroup
	both.Go(func() { s.load.Run(loading, s.finish, rate) })
	both.Go(func() { do(loading) })
	both.Go(func() { s.watch(loading) })
	both.Wait()
	s.loaded = time.Since(begun)
	if errs := s.nemesis.Account().Err; errs != nil {
		fmt.Fprintf(s.run.out, "%s: faults that could not be made or ended: %v\n", s.title, errs)
	}
}

// watch says every half minute how it goes.
func (s *stage) watch(ctx context.Context) {
	begun := time.Now()
	for fleet.Sleep(ctx, 30*time.Second) {
		fmt.Fprintf(s.run.out, "%s: %3.0f s, %d begun, %d answered, %d tries failed\n",
			s.title, time.Since(begun).Seconds(), s.load.Begun.Load(), s.load.Acked.Load(), s.load.Failed.Load())
	}
}

// judge heals, waits until all is finished, collects the accounts and prints the
// verdict.
func (s *stage) judge(ctx context.Context, blind bool) error {
	v, err := s.verdict(ctx, blind)
	if err != nil {
		return err
	}
	s.print(v)
	if broken := v.Violations(); len(broken) > 0 {
		return fmt.Errorf("%s: %w: %v", s.title, ErrViolated, broken)
	}
	return nil
}

func (s *stage) verdict(ctx context.Context, blind bool) (account.Verdict, error) {
	if err := s.nemesis.Heal(ctx); err != nil {
		return account.Verdict{}, fmt.Errorf("healing: %w", err)
	}
	// Clients go on until they are answered.
	patience, end := context.WithTimeout(ctx, 2*time.Minute)
	defer end()
	for s.load.Open.Load() > 0 && fleet.Sleep(patience, 100*time.Millisecond) {
	}
	s.endLoad()
	s.load.Wait()
	took, err := account.Settle(ctx, s.fleet, s.settlePatience)
	if err != nil {
		fmt.Fprintf(s.run.out, "%s: %v\n", s.title, err)
	}
	s.settled = took
	found, err := account.Collect(ctx, s.fleet, s.load)
	if err != nil {
		return account.Verdict{}, fmt.Errorf("collecting the accounts: %w", err)
	}
	return account.Check(found, blind), nil
}
