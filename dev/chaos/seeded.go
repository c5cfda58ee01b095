package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/seeded"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/nemesis"
)

// trap is a run in which a bug must show: settings under which it can, and faults
// that bring it out. The reconciler is off, which would mend what some of them
// break. Without the bug, the same run must be clean.
type trap struct {
	opts   fleet.Options
	faults []nemesis.Fault
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
	"messaging dies":   {withReports, every(700*time.Millisecond, nemesis.Fault{Kind: "kill", Target: "messaging-1"}, nemesis.Fault{Kind: "kill", Target: "messaging-2"})},
	"broker dies":      {withReports, every(2*time.Second, nemesis.Fault{Kind: "kill", Target: "broker", For: 700 * time.Millisecond})},
	"notifiers die":    {withReports, every(600*time.Millisecond, nemesis.Fault{Kind: "kill", Target: "notifier-1"}, nemesis.Fault{Kind: "kill", Target: "notifier-2"})},
	"database dies":    {withReports, every(2*time.Second, nemesis.Fault{Kind: "kill", Target: "postgres"})},
	"store rolls back": {withReports, every(2*time.Second, nemesis.Fault{Kind: "store", Target: "roll back"})},
	// Slow calls first, so that many are under way when it freezes.
	"notifiers freeze": {withReports, every(6*time.Second, nemesis.Fault{Kind: "link", Target: "notifier-1-inbox latency", For: 3 * time.Second},
		nemesis.Fault{Kind: "none"}, nemesis.Fault{Kind: "none"}, nemesis.Fault{Kind: "pause", Target: "notifier-1", For: fleet.Lease + time.Second})},
	"operator replays": {withReports, every(3*time.Second, nemesis.Fault{Kind: "replay"})},
	// Once: the next primary is made from the former one first.
	"database fails over": {fleet.Options{Reports: true, Standby: fleet.Synchronous}, []nemesis.Fault{{At: 2 * time.Second, Kind: "failover", Target: "shutdown", For: 2 * time.Second}}},
	"connections freeze":  {withReports, every(3*time.Second, nemesis.Fault{Kind: "freeze", Target: "postgres"})},
	"replies are refused": {withReports, every(4*time.Second, nemesis.Fault{Kind: "refuse", Target: "replies denied", For: 3 * time.Second})},
	// What the broker loses must be found in the event log, whatever the time was. It loses
	// it some rounds after the clock was put right: the first looks at all that was written.
	"clock goes back": {fleet.Options{Reports: true, Clock: true, Reconcile: time.Second}, []nemesis.Fault{
		{At: time.Second, Kind: "clock", Target: "3h", For: 4 * time.Second},
		{At: 8 * time.Second, Kind: "pause", Target: "notifier-1", For: 3 * time.Second},
		{At: 8 * time.Second, Kind: "pause", Target: "notifier-2", For: 3 * time.Second},
		{At: 9 * time.Second, Kind: "store", Target: "delete"},
	}},
	// Calls that were taken and not answered are in doubt when the clock leaps, and the
	// reports that end the doubt come later.
	"clock leaps ahead": {fleet.Options{Reports: true, Clock: true}, []nemesis.Fault{
		{At: 500 * time.Millisecond, Kind: "reports", Target: "late", For: 8 * time.Second},
		{At: time.Second, Kind: "provider", Target: "EMAIL accept-hang", N: 20},
		{At: 4500 * time.Millisecond, Kind: "clock", Target: "3h", For: 4 * time.Second},
	}},
	// Nobody reports and nobody can be asked: whatever is sent again shows.
	"nothing happens":  {fleet.Options{}, nil},
	"answers are lost": {withLookups, every(time.Second, nemesis.Fault{Kind: "provider", Target: "EMAIL accept-hang", N: 5}, nemesis.Fault{Kind: "provider", Target: "SMS accept-hang", N: 5})},
}

// trapOf says where each bug must be caught.
var trapOf = map[seeded.Bug]string{
	seeded.AnswerBeforeCommit:    "messaging dies",
	seeded.DeleteBeforePublish:   "broker dies",
	seeded.SwallowedPublishError: "broker dies",
	seeded.AckBeforeCommit:       "database dies",
	seeded.SendInsideIngest:      "notifiers die",
	seeded.DedupeByBrokerOnly:    "store rolls back",
	seeded.NoFencing:             "notifiers freeze",
	seeded.ReplayIgnoresLedger:   "operator replays",
	seeded.ProcessClock:          "nothing happens",
	seeded.UnknownIsNotSent:      "answers are lost",
	seeded.FormerPrimary:         "database fails over",
	seeded.WaitsForEver:          "connections freeze",
	seeded.RefusedIsDropped:      "replies are refused",
	seeded.MarkNeverGoesBack:     "clock goes back",
	seeded.LeapIsBelieved:        "clock leaps ahead",
}

// seeded switches on one bug after the other and expects the checker to notice
// each. First each trap is run without a bug and must be clean.
func (r *run) seeded(ctx context.Context) error {
	bugs := seeded.All
	if len(r.cfg.Bugs) > 0 {
		bugs = nil
		for _, name := range r.cfg.Bugs {
			bugs = append(bugs, seeded.Bug(name))
		}
	}
	var needed []string
	for _, bug := range bugs {
		if !slices.Contains(needed, trapOf[bug]) {
			needed = append(needed, trapOf[bug])
		}
	}
	var failures []string
	for _, name := range needed {
		broken, err := r.spring(ctx, name, "")
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
		broken, err := r.spring(ctx, trapOf[bug], bug)
		if err != nil {
			return err
		}
		fmt.Fprintf(r.out, "%-18s %s: %v\n", trapOf[bug], bug, orClean(broken))
		if len(broken) == 0 {
			failures = append(failures, string(bug)+" was missed")
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

// spring runs a trap and returns what the checker found.
func (r *run) spring(ctx context.Context, name string, bug seeded.Bug) ([]string, error) {
	t := traps[name]
	opts := t.opts
	opts.Bug = bug
	if bug == seeded.ProcessClock {
		opts.Skew = time.Hour
	}
	title := name
	if bug != "" {
		title += " " + string(bug)
	}
	s, err := r.stage(ctx, title, opts)
	if err != nil {
		return nil, err
	}
	defer s.close()
	s.settlePatience = trapPatience
	s.underLoad(ctx, min(r.cfg.Rate, 150), trapTime, func(ctx context.Context) { s.nemesis.Run(ctx, t.faults) })
	v, err := s.verdict(ctx, false)
	if err != nil {
		return nil, err
	}
	return v.Violations(), nil
}

// trapPatience is how long a trap waits for all to be finished. What a bug has
// lost never is.
const trapPatience = 80 * time.Second
