package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// settlePatience bounds the wait for everything to be finished after the last
// fault: twice the wait after a doubt, leases, and a backlog.
const settlePatience = 4 * time.Minute

// Run runs a scenario and writes its table to out. It returns ErrViolated when a
// promise was broken.
func Run(ctx context.Context, cfg Config, out io.Writer) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Seed == 0 {
		cfg.Seed = uint64(time.Now().UnixNano())
	}
	if cfg.Dir == "" {
		dir, err := os.MkdirTemp("/var/tmp", "messagerie-chaos-")
		if err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
		cfg.Dir = dir
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil { //nolint:gosec // user postgres must get through it
		return fmt.Errorf("making %s: %w", cfg.Dir, err)
	}
	if err := os.Chmod(cfg.Dir, 0o755); err != nil { //nolint:gosec // as above
		return fmt.Errorf("opening %s: %w", cfg.Dir, err)
	}
	r := &run{cfg: cfg, out: out}
	fmt.Fprintf(out, "scenario %s, seed %d, %g minutes, %d submissions/s\nagain: make chaos SCENARIO=%s SEED=%d MINUTES=%g RATE=%d\n",
		cfg.Scenario, cfg.Seed, cfg.Minutes, cfg.Rate, cfg.Scenario, cfg.Seed, cfg.Minutes, cfg.Rate)
	var err error
	if r.binaries, err = build(ctx, cfg.Race, cfg.Scenario == "seeded"); err != nil {
		return err
	}
	defer os.RemoveAll(r.binaries)
	if err := scenarios[cfg.Scenario](r, ctx); err != nil {
		fmt.Fprintf(out, "logs and state are in %s\n", cfg.Dir)
		return err
	}
	return os.RemoveAll(cfg.Dir)
}

func (r *run) length() time.Duration { return time.Duration(r.cfg.Minutes * float64(time.Minute)) }

// inReports are the settings of a run in which providers report, and cannot be
// asked: what is proven is that reports suffice.
var inReports = options{reports: true, reconcile: 5 * time.Second}

// random runs everything at once, first with reports, then for a quarter of the
// time without reports and without anybody to ask, where duplicates are possible
// and counted.
func (r *run) random(ctx context.Context) error {
	first := r.act(ctx, "with reports", inReports, r.length(), kinds)
	second := r.act(ctx, "without reports", options{reconcile: 5 * time.Second}, max(r.length()/4, 20*time.Second), kinds)
	return errors.Join(first, second)
}

// act is one fleet under load and faults, to the verdict.
func (r *run) act(ctx context.Context, title string, opts options, long time.Duration, among []string) error {
	s, err := r.stage(ctx, title, opts)
	if err != nil {
		return err
	}
	defer s.close()
	var linkNames []string
	for _, l := range s.fleet.links.all {
		linkNames = append(linkNames, l.name)
	}
	faults := drawFaults(r.cfg.Seed, long, linkNames, among, opts.reports)
	if err := writeSchedule(filepath.Join(r.cfg.Dir, title+".faults"), faults); err != nil {
		return err
	}
	s.underLoad(ctx, r.cfg.Rate, long, func(ctx context.Context) { s.nemesis.run(ctx, faults) })
	return s.judge(ctx, !opts.reports && !opts.lookups)
}

func writeSchedule(path string, faults []fault) error {
	var text string
	for _, f := range faults {
		text += f.String() + "\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the schedule: %w", err)
	}
	return nil
}

// stage is a fleet with its load and nemesis.
type stage struct {
	run     *run
	title   string
	fleet   *fleet
	load    *load
	nemesis *nemesis
	// endLoad gives up what is not answered yet.
	finish  context.Context //nolint:containedctx // outlives the calls that share it
	endLoad context.CancelFunc
	loaded  time.Duration
	// settlePatience bounds the wait for everything to be finished.
	settlePatience time.Duration
}

func (r *run) stage(ctx context.Context, title string, opts options) (*stage, error) {
	f, err := launch(ctx, filepath.Join(r.cfg.Dir, title), r.binaries, opts)
	if err != nil {
		return nil, fmt.Errorf("starting the system: %w", err)
	}
	l, err := newLoad(f, r.cfg.Seed)
	if err != nil {
		f.close()
		return nil, err
	}
	s := &stage{run: r, title: title, fleet: f, load: l, nemesis: newNemesis(f, l), settlePatience: settlePatience}
	s.finish, s.endLoad = context.WithCancel(context.WithoutCancel(ctx))
	if !opts.reports {
		err = f.tell(ctx, "/api/reports", map[string]any{"mode": "off"})
	}
	return s, err
}

func (s *stage) close() {
	s.endLoad()
	s.load.close()
	s.fleet.close()
}

// underLoad runs the load for so long, and do meanwhile; then what has been begun
// is finished.
func (s *stage) underLoad(ctx context.Context, rate int, long time.Duration, do func(context.Context)) {
	loading, end := context.WithTimeout(ctx, long)
	defer end()
	begun := time.Now()
	var both sync.WaitGroup
	both.Go(func() { s.load.run(loading, s.finish, rate) })
	both.Go(func() { do(loading) })
	both.Go(func() { s.watch(loading) })
	both.Wait()
	s.loaded = time.Since(begun)
	s.nemesis.mu.Lock()
	errs := errors.Join(s.nemesis.errs...)
	s.nemesis.mu.Unlock()
	if errs != nil {
		fmt.Fprintf(s.run.out, "%s: faults that could not be made or ended: %v\n", s.title, errs)
	}
}

// watch says every half minute how it goes.
func (s *stage) watch(ctx context.Context) {
	begun := time.Now()
	for sleep(ctx, 30*time.Second) {
		fmt.Fprintf(s.run.out, "%s: %3.0f s, %d begun, %d answered, %d tries failed\n",
			s.title, time.Since(begun).Seconds(), s.load.begun.Load(), s.load.acked.Load(), s.load.failed.Load())
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
	if broken := v.violations(); len(broken) > 0 {
		return fmt.Errorf("%s: %w: %v", s.title, ErrViolated, broken)
	}
	return nil
}

func (s *stage) verdict(ctx context.Context, blind bool) (verdict, error) {
	if err := s.nemesis.heal(ctx); err != nil {
		return verdict{}, fmt.Errorf("healing: %w", err)
	}
	// Clients go on until they are answered.
	patience, end := context.WithTimeout(ctx, 2*time.Minute)
	defer end()
	for s.load.open.Load() > 0 && sleep(patience, 100*time.Millisecond) {
	}
	s.endLoad()
	s.load.group.Wait()
	took, err := s.fleet.settle(ctx, s.settlePatience)
	if err != nil {
		fmt.Fprintf(s.run.out, "%s: %v\n", s.title, err)
	}
	s.nemesis.mu.Lock()
	s.nemesis.recovery["to finish all after the last fault"] = []time.Duration{took}
	s.nemesis.mu.Unlock()
	found, err := s.fleet.collect(ctx, s.load)
	if err != nil {
		return verdict{}, fmt.Errorf("collecting the accounts: %w", err)
	}
	return check(found, blind), nil
}

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
		sleep(ctx, 5*time.Second)
		failed := s.load.failed.Load()
		s.fleet.broker.end(syscall.SIGTERM)
		sleep(ctx, outage)
		failedDuring = s.load.failed.Load() - failed
		back := time.Now()
		if err := s.restartBroker(ctx); err != nil {
			return
		}
		drained = s.until(ctx, back, s.outboxSmall)
		sleep(ctx, 2*time.Second)
		// Now what it has acknowledged is lost.
		s.fleet.broker.end(syscall.SIGKILL)
		if err := os.RemoveAll(s.fleet.path("nats")); err != nil {
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
	if err := s.fleet.broker.start(); err != nil {
		return err
	}
	return s.fleet.broker.awaitReady(ctx)
}

// until waits for a condition and returns how long after a moment it held; 0 when
// it did not within the load's time.
func (s *stage) until(ctx context.Context, since time.Time, holds func(context.Context) bool) time.Duration {
	for !holds(ctx) {
		if !sleep(ctx, 100*time.Millisecond) {
			return 0
		}
	}
	return time.Since(since)
}

// outboxSmall: what is left are the submissions of this moment.
func (s *stage) outboxSmall(ctx context.Context) bool {
	waiting, err := query[struct{ N int }](ctx, s.fleet.database.url("messaging"), `SELECT count(*) FROM outbox`)
	return err == nil && waiting[0].N < s.run.cfg.Rate
}

// notifiedUntil: everything that was committed before then is in the ledger, and
// has ended there.
func (s *stage) notifiedUntil(ctx context.Context, then time.Time) bool {
	logged, err1 := query[struct{ N int }](ctx, s.fleet.database.url("messaging"),
		`SELECT count(*) FROM event_log WHERE type IN ('message-submitted', 'reply-posted') AND created_at < $1`, then)
	ended, err2 := query[struct{ N int }](ctx, s.fleet.database.url("notifier"),
		`SELECT count(*) FROM delivery WHERE channel = 'EMAIL' AND logged_at < $1 AND state NOT IN `+openStates, then)
	return err1 == nil && err2 == nil && ended[0].N >= logged[0].N
}

// postgresKills kills PostgreSQL ten times under load.
func (r *run) postgresKills(ctx context.Context) error {
	s, err := r.stage(ctx, "postgres", inReports)
	if err != nil {
		return err
	}
	defer s.close()
	const kills = 10
	s.underLoad(ctx, r.cfg.Rate, r.length(), func(ctx context.Context) {
		for range kills {
			if !sleep(ctx, r.length()/(kills+1)-time.Second) {
				return
			}
			s.nemesis.strike(ctx, fault{Kind: "kill", Target: "postgres", For: time.Second})
		}
	})
	err = s.judge(ctx, false)
	s.nemesis.mu.Lock()
	defer s.nemesis.mu.Unlock()
	for _, took := range s.nemesis.recovery["kill postgres"] {
		if took > 3*time.Second {
			err = errors.Join(err, fmt.Errorf("%w: submissions were answered again %s after the return of PostgreSQL", ErrViolated, took))
		}
	}
	return err
}

// sameKeys has 64 callers submit the same ten thousand keys, in any order.
func (r *run) sameKeys(ctx context.Context) error {
	s, err := r.stage(ctx, "same keys", inReports)
	if err != nil {
		return err
	}
	defer s.close()
	const callers, keys = 64, 10_000
	list := make([]*sent, keys)
	for i := range list {
		list[i] = &sent{Member: memberNamed(0), Key: uuid.NewString()}
	}
	s.load.sent = list
	var calls atomic.Int64
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for i := range keys {
				at := list[(i+caller*keys/callers)%keys]
				if caller%2 == 0 { // half of them hard on each other's heels
					at = list[i]
				}
				s.load.submit(s.finish, at, "Bonjour, "+at.Key, caller%4 == 0)
				calls.Add(1)
			}
		})
	}
	group.Wait()
	v, err := s.verdict(ctx, false)
	if err != nil {
		return err
	}
	s.print(v)
	fmt.Fprintf(r.out, "%d callers, %d keys, %d calls: %d conversations\n", callers, keys, calls.Load(), v.Conversations)
	if broken := v.violations(); len(broken) > 0 || v.Conversations != keys {
		return fmt.Errorf("%w: %d conversations of %d keys, %v", ErrViolated, v.Conversations, keys, broken)
	}
	return nil
}

// rolling restarts every service by SIGTERM, one process after the other, as a
// rollout does, until the time is up.
func (r *run) rolling(ctx context.Context) error {
	s, err := r.stage(ctx, "rolling restart", inReports)
	if err != nil {
		return err
	}
	defer s.close()
	rounds := 0
	s.underLoad(ctx, r.cfg.Rate, r.length(), func(ctx context.Context) {
		sleep(ctx, 2*time.Second)
		for ctx.Err() == nil {
			for _, p := range s.fleet.services {
				s.nemesis.strike(ctx, fault{Kind: "restart", Target: p.name})
				if !sleep(ctx, time.Second) {
					return
				}
			}
			rounds++
		}
	})
	failed := s.load.failed.Load()
	fmt.Fprintf(r.out, "%d restarts, %d whole rounds: %d failed requests of %d\n", s.nemesis.counts["restart"], rounds, failed, s.load.acked.Load()+failed)
	err = s.judge(ctx, false)
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d requests failed", ErrViolated, failed))
	}
	return err
}
