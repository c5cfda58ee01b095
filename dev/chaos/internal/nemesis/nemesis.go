// Package nemesis draws faults from a seed and lets them loose on a fleet.
//
// The same seed draws the same faults at the same times; what they hit depends on the
// machine. Each fault ends by itself, whatever happens to the run, and two never have
// the same target at once: the later is left out. Heal ends what one may have left.
//
// A fault that cannot be made or ended is no violation of the system's: it is reported
// apart, and says that the run proves less.
package nemesis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

// Fault is one thing that goes wrong, drawn before the run.
type Fault struct {
	At     time.Duration
	Kind   string
	Target string
	For    time.Duration
	// N is how many calls a fault of a provider lasts.
	N int
}

func (f Fault) String() string {
	return fmt.Sprintf("%8.1fs %-9s %-22s %s", f.At.Seconds(), f.Kind, f.Target, f.For)
}

// Nemesis lets faults loose on a fleet.
type Nemesis struct {
	fleet *fleet.Fleet
	load  *load.Load

	mu       sync.Mutex
	counts   map[string]int
	recovery map[string][]time.Duration
	errs     []error
	unclean  []string
	// inFlight is how many calls to providers were under way when a notifier or
	// the providers were killed.
	inFlight int
	group    sync.WaitGroup
	storeOld string // an old copy of the broker's store
}

// New makes a nemesis that does nothing yet.
func New(f *fleet.Fleet, l *load.Load) *Nemesis {
	return &Nemesis{fleet: f, load: l, counts: make(map[string]int), recovery: make(map[string][]time.Duration)}
}

// Kinds are the faults of the random scenario, the more often the more frequent.
var Kinds = []string{
	"kill", "kill", "kill", "kill", "kill", "kill", "kill", "pause", "link", "link", "link",
	"provider", "provider", "provider", "reports", "store", "restart", "replay", "refuse", "freeze", "failover", "clock",
}

// Draw draws a schedule for so long: a fault every one to three seconds.
func Draw(seed uint64, length time.Duration, linkNames []string, among []string, withReports bool) (list []Fault) {
	rng := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // drawn again from the same seed
	between := func(least, most time.Duration) time.Duration {
		return (least + time.Duration(rng.Int64N(int64(most-least)))).Round(10 * time.Millisecond)
	}
	one := func(names ...string) string { return names[rng.IntN(len(names))] }
	processes := []string{
		"gateway-1", "gateway-2", "messaging-1", "messaging-2", "notifier-1", "notifier-2", "taxonomy-1", "broker", "postgres", "inbox",
	}
	for at := between(time.Second, 2*time.Second); at < length; at += between(time.Second, 3*time.Second) {
		f := Fault{At: at, Kind: one(among...)}
		switch f.Kind {
		case "kill":
			f.Target, f.For = one(processes...), between(0, 2*time.Second)
		case "pause":
			f.Target, f.For = one("messaging-1", "messaging-2", "notifier-1", "notifier-2", "broker", "inbox"), between(500*time.Millisecond, fleet.Lease+2*time.Second)
		case "restart":
			f.Target = one("gateway-1", "gateway-2", "messaging-1", "messaging-2", "notifier-1", "notifier-2", "taxonomy-1")
		case "link":
			f.Target, f.For = one(linkNames...)+" "+one("latency", "reset_peer", "timeout", "bandwidth", "slicer"), between(500*time.Millisecond, 4*time.Second)
		case "provider":
			f.Target, f.N = one("EMAIL", "SMS")+" "+one("throttle", "error", "hang", "accept-hang"), 1+rng.IntN(40)
		case "reports":
			if !withReports {
				continue
			}
			f.Target = one("on", "late", "repeat", "forge")
		case "refuse":
			f.Target, f.For = one("full", "denied", "replies denied"), between(500*time.Millisecond, 8*time.Second)
		case "freeze":
			f.Target = "postgres"
		case "failover":
			f.Target, f.For = one("shutdown", "crash"), between(0, 3*time.Second)
		case "clock":
			f.Target, f.For = one("3h", "-3h", "20s", "-20s"), between(500*time.Millisecond, 8*time.Second)
		case "store":
			f.Target, f.For = one("delete", "roll back", "truncate"), between(0, 2*time.Second)
		}
		list = append(list, f)
	}
	return list
}

// Run lets the faults loose at their times and waits until each is over.
func (n *Nemesis) Run(ctx context.Context, faults []Fault) {
	begun := time.Now()
	for _, f := range faults {
		if !fleet.Sleep(ctx, f.At-time.Since(begun)) {
			break
		}
		n.group.Go(func() { n.Strike(ctx, f) })
	}
	n.group.Wait()
}

// Strike lets one fault loose and ends it, whatever ctx says.
func (n *Nemesis) Strike(ctx context.Context, f Fault) {
	ctx = context.WithoutCancel(ctx)
	name, detail, _ := strings.Cut(f.Target, " ")
	var err error
	switch f.Kind {
	case "kill":
		err = n.kill(ctx, f.Target, f.For)
	case "pause":
		err = n.withProcess(f.Target, func(p *fleet.Process) error {
			p.Signal(syscall.SIGSTOP)
			fleet.Sleep(ctx, f.For)
			p.Signal(syscall.SIGCONT)
			return nil
		})
	case "restart":
		err = n.withProcess(f.Target, func(p *fleet.Process) error {
			n.left(p.Name, p.End(syscall.SIGTERM))
			if err := p.Start(); err != nil {
				return err
			}
			return p.AwaitReady(ctx)
		})
	case "link":
		err = n.spoil(ctx, name, detail, f.For)
	case "provider":
		fault := map[string]any{"channel": name, "mode": detail, "count": f.N, "retryAfterSeconds": 1}
		err = n.fleet.Tell(ctx, "/api/faults", fault)
	case "reports":
		err = n.fleet.Tell(ctx, "/api/reports", map[string]any{"mode": f.Target, "delayMs": cmp.Or(f.For, 1500*time.Millisecond).Milliseconds()})
	case "store":
		err = n.damageStore(ctx, f.Target, f.For)
	case "refuse":
		err = n.refuse(ctx, f.Target, f.For)
	case "freeze":
		err = n.withDatabase(func(d *fleet.Database) error { d.Freeze(false); return nil })
	case "failover":
		err = n.failOver(ctx, f.Target == "crash", f.For)
	case "clock":
		err = n.setClock(ctx, f.Target, f.For)
	case "references":
		err = n.withDatabase(func(d *fleet.Database) error { return d.LoseReferences(ctx) })
	case "replay":
		err = n.load.Replay(ctx)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case errors.Is(err, errBusy), f.Kind == "none":
	case err != nil && (f.Kind == "provider" || f.Kind == "reports" || f.Kind == "replay"):
		// Who was to be told is down just now.
	case err != nil:
		n.errs = append(n.errs, fmt.Errorf("%s %s: %w", f.Kind, f.Target, err))
	default:
		n.counts[f.Kind]++
	}
}

// errBusy: another fault has the target.
var errBusy = errors.New("another fault has it")

func (n *Nemesis) withProcess(name string, do func(*fleet.Process) error) error {
	list := n.fleet.Named(name)
	if len(list) != 1 {
		return fmt.Errorf("%d processes are named %s", len(list), name)
	}
	if !list[0].Acting.TryLock() {
		return errBusy
	}
	defer list[0].Acting.Unlock()
	return do(list[0])
}

// kill kills a process with -9, leaves it dead for a while, starts it again and
// measures how long it then takes until submissions are answered again.
func (n *Nemesis) kill(ctx context.Context, name string, dead time.Duration) error {
	if strings.HasPrefix(name, "notifier") || name == "inbox" {
		n.countInFlight(ctx)
	}
	if name == "postgres" {
		return n.killDatabase(ctx, dead)
	}
	return n.withProcess(name, func(p *fleet.Process) error {
		p.End(syscall.SIGKILL)
		fleet.Sleep(ctx, dead)
		begun := time.Now()
		if err := p.Start(); err != nil {
			return err
		}
		if err := p.AwaitReady(ctx); err != nil {
			return err
		}
		n.recovered("kill "+strings.TrimRight(name, "-12"), begun)
		return nil
	})
}

func (n *Nemesis) killDatabase(ctx context.Context, dead time.Duration) error {
	return n.withDatabase(func(d *fleet.Database) error {
		if err := d.Kill(); err != nil {
			return err
		}
		fleet.Sleep(ctx, dead)
		if err := d.Start(ctx); err != nil {
			return err
		}
		n.AwaitAnswers(ctx, "kill postgres", time.Now())
		return nil
	})
}

func (n *Nemesis) withDatabase(do func(*fleet.Database) error) error {
	d := n.fleet.Database
	if !d.Acting.TryLock() {
		return errBusy
	}
	defer d.Acting.Unlock()
	return do(d)
}

// failOver has the standby take over, and the services' address lead to it a while later.
func (n *Nemesis) failOver(ctx context.Context, crash bool, moving time.Duration) error {
	return n.withDatabase(func(d *fleet.Database) error {
		if err := d.FailOver(ctx, crash); err != nil {
			return err
		}
		fleet.Sleep(ctx, moving)
		d.Move()
		n.AwaitAnswers(ctx, "fail-over", time.Now())
		return nil
	})
}

// setClock has the databases' clock be wrong for a while.
func (n *Nemesis) setClock(ctx context.Context, ahead string, long time.Duration) error {
	by, err := time.ParseDuration(ahead)
	if err != nil {
		return fmt.Errorf("reading how far: %w", err)
	}
	return n.withDatabase(func(d *fleet.Database) error {
		if err := d.SetClock(ctx, by); err != nil {
			return err
		}
		fleet.Sleep(ctx, long)
		return d.SetClock(ctx, 0)
	})
}

// refuse has the broker take no events for a while, or not all.
func (n *Nemesis) refuse(ctx context.Context, how string, long time.Duration) error {
	return n.withProcess("broker", func(*fleet.Process) (err error) {
		end := func(context.Context) error { return n.fleet.Deny() }
		switch how {
		case "full":
			end, err = n.fleet.Fill(ctx)
		case "denied":
			err = n.fleet.Deny(eventspb.Everything)
		case "replies denied":
			err = n.fleet.Deny(eventspb.AllCaisses(eventspb.TypeReplyPosted))
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) { // its store has just been deleted
			return errBusy
		}
		if err != nil {
			return err
		}
		fleet.Sleep(ctx, long)
		return end(ctx)
	})
}

// AwaitAnswers measures how long it takes until submissions are answered with
// success again.
func (n *Nemesis) AwaitAnswers(ctx context.Context, kind string, since time.Time) {
	before := n.load.Acked.Load()
	ctx, cancel := context.WithTimeout(ctx, fleet.ReadyPatience)
	defer cancel()
	for n.load.Acked.Load() <= before {
		if !fleet.Sleep(ctx, 5*time.Millisecond) {
			break
		}
	}
	n.recovered(kind, since)
}

// left notes a process that did not end well although it was asked to.
func (n *Nemesis) left(name string, status int) {
	if status == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unclean = append(n.unclean, fmt.Sprintf("%s ended with status %d", name, status))
}

func (n *Nemesis) recovered(kind string, since time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.recovery[kind] = append(n.recovery[kind], time.Since(since))
}

func (n *Nemesis) countInFlight(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	found, err := fleet.Query[struct{ N int }](ctx, n.fleet.Database, "notifier", `SELECT count(*) FROM delivery WHERE state = 'sending'`)
	if err != nil {
		return // the database is down as well
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inFlight += found[0].N
}

// spoil puts a fault on a link for a while.
func (n *Nemesis) spoil(ctx context.Context, name, kind string, long time.Duration) error {
	i := slices.IndexFunc(n.fleet.Links(), func(l *fleet.Link) bool { return l.Name == name })
	if i < 0 {
		return fmt.Errorf("no link is named %s", name)
	}
	l := n.fleet.Links()[i]
	if !l.Acting.TryLock() {
		return errBusy
	}
	defer l.Acting.Unlock()
	attributes := map[string]map[string]any{
		"latency":    {"latency": 300, "jitter": 200},
		"reset_peer": {"timeout": 50},
		"timeout":    {"timeout": 0}, // takes everything and passes nothing on
		"bandwidth":  {"rate": 8},    // kB/s
		"slicer":     {"average_size": 7, "size_variation": 3, "delay": 20},
	}[kind]
	for _, way := range []string{"upstream", "downstream"} {
		if err := l.Spoil(fleet.Toxic{Name: kind + "-" + way, Type: kind, Stream: way, Attributes: attributes}); err != nil {
			return err
		}
	}
	fleet.Sleep(ctx, long)
	return l.Heal(context.WithoutCancel(ctx))
}

// Heal ends everything that a fault may have left behind.
func (n *Nemesis) Heal(ctx context.Context) error {
	for _, l := range n.fleet.Links() {
		if err := l.Heal(ctx); err != nil {
			return err
		}
	}
	for _, p := range n.fleet.All() {
		p.Signal(syscall.SIGCONT)
		if !p.Running() {
			if err := p.Start(); err != nil {
				return err
			}
		}
	}
	if err := n.fleet.AwaitAll(ctx); err != nil {
		return err
	}
	if err := n.fleet.Deny(); err != nil {
		return err
	}
	for _, channel := range []string{"EMAIL", "SMS"} {
		if err := n.fleet.Tell(ctx, "/api/faults", map[string]any{"channel": channel, "mode": "off"}); err != nil {
			return err
		}
	}
	mode := "on"
	if !n.fleet.Options.Reports {
		mode = "off"
	}
	slog.Debug("healed")
	return n.fleet.Tell(ctx, "/api/reports", map[string]any{"mode": mode})
}

// Account is what was done, and how the system took it.
type Account struct {
	// Counts are the faults that struck, by kind.
	Counts map[string]int
	// Recovery is how long it took until the system answered again, by kind.
	Recovery map[string][]time.Duration
	// InFlight is how many calls to providers were under way when a notifier or
	// the providers were killed.
	InFlight int
	// Unclean are restarts in which a process did not end with status 0.
	Unclean []string
	// Err is why faults could not be made or ended.
	Err error
}

// Account returns what was done so far.
func (n *Nemesis) Account() Account {
	n.mu.Lock()
	defer n.mu.Unlock()
	recovery := make(map[string][]time.Duration, len(n.recovery))
	for kind, took := range n.recovery {
		recovery[kind] = slices.Clone(took)
	}
	return Account{maps.Clone(n.counts), recovery, n.inFlight, slices.Clone(n.unclean), errors.Join(n.errs...)}
}
