package chaos

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/nemesis"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/seeded"
)

// trap is a run in which a bug must show: settings under which it can, and faults
// that bring it out. The reconciler is off, which would mend what some of them
// break. Without the bug, the same run must be clean.
type trap struct {
	opts   fleet.Options
	faults []nemesis.Fault
	// long is how long the run takes; 0: trapTime.
	long time.Duration
	// unfailing: no try may fail. hinted: a watch must be told to look for itself within
	// hintWithin.
	unfailing, hinted bool
}

// every repeats faults within the time of a trap.
func every(d time.Duration, kinds ...nemesis.Fault) (list []nemesis.Fault) {
	for at := time.Second; at < trapTime; at += d {
		for i, f := range kinds {
			f.At = at + time.Duration(i)*200*time.Millisecond
			list = append(list, f)
		}
	}
	return list
}

const trapTime = 12 * time.Second

var (
	withReports = fleet.Options{Reports: true}
	withLookups = fleet.Options{Lookups: true}
)

// traps are the runs, by what they are good for.
var traps = map[string]trap{
	"messaging dies":   {opts: withReports, faults: every(700*time.Millisecond, nemesis.Fault{Kind: "kill", Target: "messaging-1"}, nemesis.Fault{Kind: "kill", Target: "messaging-2"})},
	"broker dies":      {opts: withReports, faults: every(2*time.Second, nemesis.Fault{Kind: "kill", Target: "broker", For: 700 * time.Millisecond})},
	"notifiers die":    {opts: withReports, faults: every(600*time.Millisecond, nemesis.Fault{Kind: "kill", Target: "notifier-1"}, nemesis.Fault{Kind: "kill", Target: "notifier-2"})},
	"database dies":    {opts: withReports, faults: every(2*time.Second, nemesis.Fault{Kind: "kill", Target: "postgres"})},
	"store rolls back": {opts: withReports, faults: every(2*time.Second, nemesis.Fault{Kind: "store", Target: "roll back"})},
	// Slow calls first, so that many are under way when it freezes.
	"notifiers freeze": {opts: withReports, faults: every(6*time.Second, nemesis.Fault{Kind: "link", Target: "notifier-1-inbox latency", For: 3 * time.Second},
		nemesis.Fault{Kind: "none"}, nemesis.Fault{Kind: "none"}, nemesis.Fault{Kind: "pause", Target: "notifier-1", For: fleet.Lease + time.Second})},
	"operator replays": {opts: withReports, faults: every(3*time.Second, nemesis.Fault{Kind: "replay"})},
	// Once: the next primary is made from the former one first.
	"database fails over": {opts: fleet.Options{Reports: true, Standby: fleet.Synchronous}, faults: []nemesis.Fault{{At: 2 * time.Second, Kind: "failover", Target: "shutdown", For: 2 * time.Second}}},
	// Often: each relay must have been about to ask when they fall silent, and one that goes
	// on does the work of both.
	"connections freeze":  {opts: withReports, faults: every(time.Second, nemesis.Fault{Kind: "freeze", Target: "postgres"})},
	"replies are refused": {opts: withReports, faults: every(4*time.Second, nemesis.Fault{Kind: "refuse", Target: "replies denied", For: 3 * time.Second})},
	// What the broker loses must be found in the event log, whatever the time was. It loses
	// it some rounds after the clock was put right: the first looks at all that was written.
	"clock goes back": {opts: fleet.Options{Reports: true, Clock: true, Reconcile: time.Second}, faults: []nemesis.Fault{
		{At: time.Second, Kind: "clock", Target: "3h", For: 4 * time.Second},
		{At: 8 * time.Second, Kind: "pause", Target: "notifier-1", For: 3 * time.Second},
		{At: 8 * time.Second, Kind: "pause", Target: "notifier-2", For: 3 * time.Second},
		{At: 9 * time.Second, Kind: "store", Target: "delete"},
	}},
	// Calls that were taken and not answered are in doubt when the clock leaps, and the
	// reports that end the doubt come later.
	"clock leaps ahead": {opts: fleet.Options{Reports: true, Clock: true}, faults: []nemesis.Fault{
		{At: 500 * time.Millisecond, Kind: "reports", Target: "late", For: 8 * time.Second},
		{At: time.Second, Kind: "provider", Target: "EMAIL accept-hang", N: 20},
		{At: 4500 * time.Millisecond, Kind: "clock", Target: "3h", For: 4 * time.Second},
	}},
	"references are lost": {opts: withReports, unfailing: true, faults: []nemesis.Fault{
		{At: 2 * time.Second, Kind: "references"}, {At: 3 * time.Second, Kind: "restart", Target: "messaging-1"},
	}},
	"events do not flow": {opts: withReports, long: hintWithin + 10*time.Second, hinted: true, faults: []nemesis.Fault{
		{At: time.Second, Kind: "refuse", Target: "denied", For: hintWithin + 5*time.Second},
	}},
	// Nobody reports and nobody can be asked: whatever is sent again shows.
	"nothing happens":  {opts: fleet.Options{Skew: time.Hour}, faults: nil},
	"answers are lost": {opts: withLookups, faults: every(time.Second, nemesis.Fault{Kind: "provider", Target: "EMAIL accept-hang", N: 5}, nemesis.Fault{Kind: "provider", Target: "SMS accept-hang", N: 5})},
}

// seeded builds the programs with one bug after the other and expects the checker to
// notice each. First each trap is run without a bug and must be clean.
func (r *run) seeded(ctx context.Context) error {
	bugs := seeded.All
	if len(r.cfg.Bugs) > 0 {
		bugs = nil
		for _, name := range r.cfg.Bugs {
			bug, _ := seeded.Named(name)
			bugs = append(bugs, bug)
		}
	}
	var needed []string
	for _, bug := range bugs {
		if !slices.Contains(needed, bug.Trap) {
			needed = append(needed, bug.Trap)
		}
	}
	var failures []string
	for _, name := range needed {
		broken, err := r.spring(ctx, name, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(r.out, "%-18s without a bug: %v\n", name, orClean(broken))
		if len(broken) > 0 {
			failures = append(failures, name+" is not clean")
		}
	}
	caught := 0
	for _, bug := range bugs {
		broken, err := r.springWith(ctx, bug)
		if err != nil {
			return err
		}
		fmt.Fprintf(r.out, "%-18s %s: %v\n", bug.Trap, bug.Name, orClean(broken))
		if len(broken) == 0 {
			failures = append(failures, bug.Name+" was missed")
		} else {
			caught++
		}
	}
	fmt.Fprintf(r.out, "%d of %d seeded bugs caught\n", caught, len(bugs))
	if len(failures) > 0 {
		return fmt.Errorf("%w: %v", ErrViolated, failures)
	}
	return nil
}

func orClean(broken []string) any {
	if len(broken) == 0 {
		return "clean"
	}
	return broken
}

// springWith runs a bug's trap with programs that have it.
func (r *run) springWith(ctx context.Context, bug seeded.Bug) ([]string, error) {
	tree, err := fleet.Tree(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "messagerie-chaos-seeded-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for a bug: %w", err)
	}
	defer os.RemoveAll(dir)
	overlay, err := bug.Overlay(tree, dir)
	if err != nil {
		return nil, err
	}
	with := *r
	if with.binaries, err = fleet.Build(ctx, "", r.cfg.Race, "-overlay", overlay); err != nil {
		return nil, fmt.Errorf("with %s: %w", bug.Name, err)
	}
	defer os.RemoveAll(with.binaries)
	return with.spring(ctx, bug.Trap, bug.Trap+" "+bug.Name)
}

// spring runs a trap and returns what the checker found.
func (r *run) spring(ctx context.Context, name, title string) ([]string, error) {
	t := traps[name]
	s, err := r.stage(ctx, title, t.opts)
	if err != nil {
		return nil, err
	}
	defer s.close()
	s.settlePatience = trapPatience
	var broken []string
	s.underLoad(ctx, min(r.cfg.Rate, 150), cmp.Or(t.long, trapTime), func(ctx context.Context) {
		if !t.hinted {
			s.nemesis.Run(ctx, t.faults)
			return
		}
		hinted, end := s.load.LookForYourself(ctx)
		defer end()
		begun := t.faults[0].At
		told := make(chan bool, 1)
		go func() {
			select {
			case <-hinted:
				told <- true
			case <-time.After(begun + hintWithin):
				told <- false
			}
		}()
		s.nemesis.Run(ctx, t.faults)
		if !<-told {
			broken = append(broken, fmt.Sprintf("no watch was told to look for itself within %s", hintWithin))
		}
	})
	if failed := s.load.Failed.Load(); t.unfailing && failed > 0 {
		broken = append(broken, fmt.Sprintf("%d tries failed", failed))
	}
	v, err := s.verdict(ctx, false)
	if err != nil {
		return nil, err
	}
	return append(broken, v.Violations()...), nil
}

// trapPatience is how long a trap waits for all to be finished. What a bug has
// lost never is.
const trapPatience = 80 * time.Second
