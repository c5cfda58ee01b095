package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/attack"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
)

const (
	// slowest is how much of the control's p99 the others' may be under an attack.
	slowest = 3
	// leastCalls is how many calls a p99 must stand on.
	leastCalls = 500
	// mostTries bounds how often an attack is made when only the time was missed.
	mostTries = 3
	// gatewayBytes is what the gateway may have in RAM: its limit in deploy/k8s is 256 MiB.
	gatewayBytes = 200 << 20
	// rest is between an attack and its control, and after it.
	rest = 2 * time.Second
)

// watched are the processes whose memory is reported.
var watched = []string{"gateway-1", "messaging-1", "taxonomy-1", "notifier-1", "web-1"}

// neighbourhood is the product with others who use it, and one who attacks it.
type neighbourhood struct {
	run    *run
	fleet  *fleet.Fleet
	others *load.Others
	target attack.Target
	// long is how long an attack takes.
	long time.Duration
	// timed: a p99 that is too long is a violation.
	timed bool
}

// neighbour has others use the system as it is shipped while one caller makes one
// attack after the other. After each comes a control, in which a process of the same
// priority uses the same processor time on nothing, at the same times.
func (r *run) neighbour(ctx context.Context) error {
	list := attack.All
	if len(r.cfg.Attacks) > 0 {
		list = nil
		for _, name := range r.cfg.Attacks {
			a, _ := attack.Named(name)
			list = append(list, a)
		}
	}
	return r.beside(ctx, list, r.length()/50, true)
}

// beside runs a list of attacks, each for so long.
func (r *run) beside(ctx context.Context, list []attack.Attack, long time.Duration, timed bool) error {
	f, err := fleet.Launch(ctx, filepath.Join(r.cfg.Dir, "neighbour"), r.binaries, fleet.Options{Product: true, Reports: true})
	if err != nil {
		return fmt.Errorf("starting the system: %w", err)
	}
	defer f.Close()
	n := &neighbourhood{run: r, fleet: f, long: long, timed: timed}
	fmt.Fprintf(r.out, "attacks of %s each beside %d calls/s\n", long.Round(time.Second/10), r.cfg.Rate)
	if err := n.prepare(ctx, list); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	ctx, end := context.WithCancel(ctx)
	if n.others, err = load.NewOthers(ctx, f, r.cfg.Seed); err != nil {
		end()
		return fmt.Errorf("preparing: %w", err)
	}
	defer n.others.Close()
	var loading sync.WaitGroup
	defer loading.Wait()
	defer end()
	loading.Go(func() { n.others.Run(ctx, r.cfg.Rate) })
	fleet.Sleep(ctx, long) // what happens first is another matter
	var rows []row
	for _, a := range list {
		got, err := n.judge(ctx, a)
		if err != nil {
			return err
		}
		rows = append(rows, got)
		fmt.Fprintln(r.out, got.line())
	}
	return n.conclude(rows)
}

// row is an attack in the table.
type row struct {
	attack   attack.Attack
	tries    []try
	verdicts []string
}

// try is an attack with its control.
type try struct {
	attacked, control load.Summary
	peaks             map[string]int64
	report            attack.Report
	// processor is what the attacker used.
	processor attack.Spending
}

// ratio compares the others' p99 with that of the control.
func (t try) ratio() float64 {
	return float64(t.attacked.P99) / float64(max(t.control.P99, time.Millisecond))
}

// judge makes an attack, again when only its time was missed: p99 over some hundred
// calls is noisy. The median of all tries is judged.
func (n *neighbourhood) judge(ctx context.Context, a attack.Attack) (row, error) {
	got := row{attack: a}
	for len(got.tries) == 0 || n.timed && got.median().ratio() > slowest && len(got.tries) < mostTries {
		t, err := n.try(ctx, a)
		if err != nil {
			return got, fmt.Errorf("%s: %w", a.Name, err)
		}
		got.tries = append(got.tries, t)
		if t.attacked.Failed > 0 {
			break
		}
	}
	got.verdicts = n.violations(got)
	return got, nil
}

// median is the try of the median ratio.
func (r row) median() try {
	sorted := slices.SortedFunc(slices.Values(r.tries), func(a, b try) int { return int(1000 * (a.ratio() - b.ratio())) })
	return sorted[len(sorted)/2]
}

func (n *neighbourhood) violations(r row) (broken []string) {
	for _, t := range r.tries {
		if t.attacked.Failed > 0 {
			broken = append(broken, fmt.Sprintf("%d failed (%s)", t.attacked.Failed, t.attacked.Reason))
		}
		if t.peaks["gateway-1"] > gatewayBytes {
			broken = append(broken, fmt.Sprintf("the gateway had %d MiB", t.peaks["gateway-1"]>>20))
		}
	}
	if m := r.median(); n.timed && m.ratio() > slowest {
		broken = append(broken, fmt.Sprintf("p99 × %.1f", m.ratio()))
	}
	return broken
}

// try makes an attack and its control.
func (n *neighbourhood) try(ctx context.Context, a attack.Attack) (t try, err error) {
	for _, name := range watched {
		if err := n.fleet.Named(name)[0].ResetPeak(); err != nil {
			return t, err
		}
	}
	if a.Silence {
		n.others.UseFreshTokens(true)
		n.fleet.Silence(true)
	}
	target := n.target
	target.Seconds = n.long.Seconds()
	phase := n.others.Begin()
	t.report, t.processor, err = attack.Spawn(ctx, filepath.Join(n.run.binaries, "dev"), a.Name, target)
	after := n.others.Begin()
	n.fleet.Silence(false)
	n.others.UseFreshTokens(false)
	if err != nil {
		return t, err
	}
	if t.peaks, err = n.peaks(); err != nil {
		return t, err
	}
	fleet.Sleep(ctx, rest)
	target.Spending = t.processor
	control := n.others.Begin()
	if _, _, err := attack.Spawn(ctx, filepath.Join(n.run.binaries, "dev"), attack.Burn, target); err != nil {
		return t, err
	}
	n.others.Begin()
	fleet.Sleep(ctx, rest)
	t.attacked, t.control = ended(phase), ended(control)
	// What fails while the system recovers is of the attack's making.
	if late := ended(after); late.Failed > 0 {
		t.attacked.Failed += late.Failed
		t.attacked.Reason += " afterwards: " + late.Reason
	}
	return t, ctx.Err()
}

// ended is a phase when its last call has ended.
func ended(p *load.Phase) load.Summary {
	p.Wait()
	return p.Summary()
}

// peaks is what the processes had in RAM at most; a process that has died is an error.
func (n *neighbourhood) peaks() (map[string]int64, error) {
	list := make(map[string]int64)
	for _, name := range watched {
		p := n.fleet.Named(name)[0]
		if !p.Running() {
			return nil, fmt.Errorf("%w: %s has died", ErrViolated, name)
		}
		peak, err := p.Peak()
		if err != nil {
			return nil, err
		}
		list[name] = peak
	}
	return list, nil
}

// line is the row for whoever waits for the table.
func (r row) line() string {
	verdict := "ok"
	if len(r.verdicts) > 0 {
		verdict = strings.Join(r.verdicts, "; ")
	}
	return fmt.Sprintf("%-24s %s", r.attack.Name, verdict)
}

// conclude prints the table and what was broken.
func (n *neighbourhood) conclude(rows []row) error {
	table := tabwriter.NewWriter(n.run.out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(table, "\n| attack\t| calls\t| failed\t| p50\t| p99\t| control\t| ratio\t| gateway\t| messaging\t| taxonomy\t| notifier\t| web\t| attacker\t|")
	fmt.Fprintln(table, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	var broken []string
	for _, r := range rows {
		for _, t := range r.tries {
			fmt.Fprintf(table, "| %s\t| %d\t| %d\t| %s\t| %s\t| %s\t| %.1f\t", r.attack.Name, t.attacked.Calls, t.attacked.Failed, short(t.attacked.P50), short(t.attacked.P99), short(t.control.P99), t.ratio())
			for _, name := range watched {
				fmt.Fprintf(table, "| %d\t", t.peaks[name]>>20)
			}
			fmt.Fprintf(table, "| %s\t|\n", achieved(t))
		}
		for _, text := range r.verdicts {
			broken = append(broken, r.attack.Name+": "+text)
		}
		if n.timed && r.tries[0].attacked.Calls < leastCalls {
			fmt.Fprintf(n.run.out, "%s: p99 stands on %d calls only: more MINUTES or RATE\n", r.attack.Name, r.tries[0].attacked.Calls)
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	fmt.Fprintf(n.run.out, "%d of %d attacks did no harm\n", len(rows)-countBroken(rows), len(rows))
	if len(broken) > 0 {
		return fmt.Errorf("%w: %w", ErrViolated, errors.New(strings.Join(broken, "\n")))
	}
	return nil
}

func countBroken(rows []row) (count int) {
	for _, r := range rows {
		if len(r.verdicts) > 0 {
			count++
		}
	}
	return count
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// achieved is what the attacker got, the most frequent answers first.
func achieved(t try) string {
	type answer struct {
		what string
		n    int64
	}
	var list []answer
	for what, n := range t.report.Answers {
		list = append(list, answer{what, n})
	}
	slices.SortFunc(list, func(a, b answer) int { return int(b.n - a.n) })
	text := fmt.Sprintf("%d begun, %d at once, %.1f s processor", t.report.Calls, t.report.Open, t.processor.Total().Seconds())
	for _, a := range list[:min(4, len(list))] {
		text += fmt.Sprintf(", %d %s", a.n, a.what)
	}
	return text
}
