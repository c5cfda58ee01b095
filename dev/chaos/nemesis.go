package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fault is one thing that goes wrong, drawn before the run.
type fault struct {
	At     time.Duration
	Kind   string
	Target string
	For    time.Duration
	// N is how many calls a fault of a provider lasts.
	N int
}

func (f fault) String() string {
	return fmt.Sprintf("%8.1fs %-9s %-22s %s", f.At.Seconds(), f.Kind, f.Target, f.For)
}

// nemesis lets faults loose on a fleet.
type nemesis struct {
	fleet *fleet
	load  *load

	mu       sync.Mutex
	counts   map[string]int
	recovery map[string][]time.Duration
	errs     []error
	// inFlight is how many calls to providers were under way when a notifier or
	// the providers were killed.
	inFlight int
	group    sync.WaitGroup
}

func newNemesis(f *fleet, l *load) *nemesis {
	return &nemesis{fleet: f, load: l, counts: make(map[string]int), recovery: make(map[string][]time.Duration)}
}

// kinds are the faults of the random scenario, the more often the more frequent.
var kinds = []string{
	"kill", "kill", "kill", "kill", "kill", "kill", "kill", "pause", "link", "link", "link",
	"provider", "provider", "provider", "reports", "store", "restart", "replay",
}

// drawFaults draws a schedule for so long: a fault every one to three seconds.
func drawFaults(seed uint64, length time.Duration, linkNames []string, among []string, withReports bool) (list []fault) {
	rng := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // drawn again from the same seed
	between := func(least, most time.Duration) time.Duration {
		return (least + time.Duration(rng.Int64N(int64(most-least)))).Round(10 * time.Millisecond)
	}
	one := func(names ...string) string { return names[rng.IntN(len(names))] }
	processes := []string{
		"gateway-1", "gateway-2", "messaging-1", "messaging-2", "notifier-1", "notifier-2", "taxonomy-1", "broker", "postgres", "inbox",
	}
	for at := between(time.Second, 2*time.Second); at < length; at += between(time.Second, 3*time.Second) {
		f := fault{At: at, Kind: one(among...)}
		switch f.Kind {
		case "kill":
			f.Target, f.For = one(processes...), between(0, 2*time.Second)
		case "pause":
			f.Target, f.For = one("messaging-1", "messaging-2", "notifier-1", "notifier-2", "broker", "inbox"), between(500*time.Millisecond, lease+2*time.Second)
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
		case "store":
			f.Target, f.For = one("delete", "roll back", "truncate"), between(0, 2*time.Second)
		}
		list = append(list, f)
	}
	return list
}

// run lets the faults loose at their times and waits until each is over.
func (n *nemesis) run(ctx context.Context, faults []fault) {
	begun := time.Now()
	for _, f := range faults {
		if !sleep(ctx, f.At-time.Since(begun)) {
			break
		}
		n.group.Go(func() { n.strike(ctx, f) })
	}
	n.group.Wait()
}

// strike lets one fault loose and ends it, whatever ctx says.
func (n *nemesis) strike(ctx context.Context, f fault) {
	ctx = context.WithoutCancel(ctx)
	name, detail, _ := strings.Cut(f.Target, " ")
	var err error
	switch f.Kind {
	case "kill":
		err = n.kill(ctx, f.Target, f.For)
	case "pause":
		err = n.withProcess(f.Target, func(p *process) error {
			p.signal(syscall.SIGSTOP)
			sleep(ctx, f.For)
			p.signal(syscall.SIGCONT)
			return nil
		})
	case "restart":
		err = n.withProcess(f.Target, func(p *process) error {
			p.end(syscall.SIGTERM)
			if err := p.start(); err != nil {
				return err
			}
			return p.awaitReady(ctx)
		})
	case "link":
		err = n.spoil(ctx, name, detail, f.For)
	case "provider":
		fault := map[string]any{"channel": name, "mode": detail, "count": f.N, "retryAfterSeconds": 1}
		err = n.fleet.tell(ctx, "/api/faults", fault)
	case "reports":
		err = n.fleet.tell(ctx, "/api/reports", map[string]any{"mode": f.Target, "delayMs": 1500})
	case "store":
		err = n.damageStore(ctx, f.Target, f.For)
	case "replay":
		err = n.load.replay(ctx)
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

func (n *nemesis) withProcess(name string, do func(*process) error) error {
	list := n.fleet.named(name)
	if len(list) != 1 {
		return fmt.Errorf("%d processes are named %s", len(list), name)
	}
	if !list[0].acting.TryLock() {
		return errBusy
	}
	defer list[0].acting.Unlock()
	return do(list[0])
}

// kill kills a process with -9, leaves it dead for a while, starts it again and
// measures how long it then takes until submissions are answered again.
func (n *nemesis) kill(ctx context.Context, name string, dead time.Duration) error {
	if strings.HasPrefix(name, "notifier") || name == "inbox" {
		n.countInFlight(ctx)
	}
	if name == "postgres" {
		return n.killDatabase(ctx, dead)
	}
	return n.withProcess(name, func(p *process) error {
		p.end(syscall.SIGKILL)
		sleep(ctx, dead)
		begun := time.Now()
		if err := p.start(); err != nil {
			return err
		}
		if err := p.awaitReady(ctx); err != nil {
			return err
		}
		n.recovered("kill "+strings.TrimRight(name, "-12"), begun)
		return nil
	})
}

func (n *nemesis) killDatabase(ctx context.Context, dead time.Duration) error {
	d := n.fleet.database
	if !d.acting.TryLock() {
		return errBusy
	}
	defer d.acting.Unlock()
	if err := d.kill(); err != nil {
		return err
	}
	sleep(ctx, dead)
	if err := d.start(ctx); err != nil {
		return err
	}
	n.awaitAnswers(ctx, "kill postgres", time.Now())
	return nil
}

// awaitAnswers measures how long it takes until submissions are answered with
// success again.
func (n *nemesis) awaitAnswers(ctx context.Context, kind string, since time.Time) {
	before := n.load.acked.Load()
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for n.load.acked.Load() <= before {
		if !sleep(ctx, 5*time.Millisecond) {
			break
		}
	}
	n.recovered(kind, since)
}

func (n *nemesis) recovered(kind string, since time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.recovery[kind] = append(n.recovery[kind], time.Since(since))
}

func (n *nemesis) countInFlight(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	found, err := query[struct{ N int }](ctx, n.fleet.database.url("notifier"), `SELECT count(*) FROM delivery WHERE state = 'sending'`)
	if err != nil {
		return // the database is down as well
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inFlight += found[0].N
}

// spoil puts a fault on a link for a while.
func (n *nemesis) spoil(ctx context.Context, name, kind string, long time.Duration) error {
	i := slices.IndexFunc(n.fleet.links.all, func(l *link) bool { return l.name == name })
	if i < 0 {
		return fmt.Errorf("no link is named %s", name)
	}
	l := n.fleet.links.all[i]
	if !l.acting.TryLock() {
		return errBusy
	}
	defer l.acting.Unlock()
	attributes := map[string]map[string]any{
		"latency":    {"latency": 300, "jitter": 200},
		"reset_peer": {"timeout": 50},
		"timeout":    {"timeout": 0}, // takes everything and passes nothing on
		"bandwidth":  {"rate": 8},    // kB/s
		"slicer":     {"average_size": 7, "size_variation": 3, "delay": 20},
	}[kind]
	for _, way := range []string{"upstream", "downstream"} {
		if err := l.spoil(toxic{Name: kind + "-" + way, Type: kind, Stream: way, Attributes: attributes}); err != nil {
			return err
		}
	}
	sleep(ctx, long)
	l.heal(ctx)
	return nil
}

// damageStore kills the broker and does something to what it has on disk.
func (n *nemesis) damageStore(ctx context.Context, how string, dead time.Duration) error {
	return n.withProcess("broker", func(p *process) error {
		p.end(syscall.SIGKILL)
		store := n.fleet.path("nats")
		var err error
		switch how {
		case "delete":
			err = os.RemoveAll(store)
		case "roll back":
			err = n.rollBack(store)
		case "truncate":
			err = truncateNewest(store)
		}
		if err != nil {
			return fmt.Errorf("damaging the store: %w", err)
		}
		sleep(ctx, dead)
		begun := time.Now()
		if err := p.start(); err != nil {
			return err
		}
		if err := p.awaitReady(ctx); err != nil {
			return err
		}
		n.recovered("store "+how, begun)
		return nil
	})
}

// rollBack puts an old copy of the store in its place; the first time, there is
// none, and one is made.
func (n *nemesis) rollBack(store string) error {
	old := n.fleet.storeOld
	if old == "" {
		n.fleet.storeOld = store + ".old"
		return copyTree(store, n.fleet.storeOld)
	}
	if err := os.RemoveAll(store); err != nil {
		return err
	}
	return copyTree(old, store)
}

func copyTree(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return os.CopyFS(to, os.DirFS(from))
}

// truncateNewest cuts the last third off the newest block of messages, as a disk
// does that had not written it yet.
func truncateNewest(store string) error {
	var newest string
	var at time.Time
	err := filepath.WalkDir(store, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".blk") {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.ModTime().After(at) {
			newest, at = path, info.ModTime()
		}
		return err
	})
	if err != nil || newest == "" {
		return err
	}
	info, err := os.Stat(newest)
	if err != nil {
		return err
	}
	return os.Truncate(newest, info.Size()*2/3)
}

// heal ends everything that a fault may have left behind.
func (n *nemesis) heal(ctx context.Context) error {
	for _, l := range n.fleet.links.all {
		l.heal(ctx)
	}
	for _, p := range n.fleet.everything() {
		p.signal(syscall.SIGCONT)
		if !p.running() {
			if err := p.start(); err != nil {
				return err
			}
		}
	}
	if err := n.fleet.awaitAll(ctx); err != nil {
		return err
	}
	for _, channel := range []string{"EMAIL", "SMS"} {
		if err := n.fleet.tell(ctx, "/api/faults", map[string]any{"channel": channel, "mode": "off"}); err != nil {
			return err
		}
	}
	mode := "on"
	if !n.fleet.opts.reports {
		mode = "off"
	}
	slog.Debug("healed")
	return n.fleet.tell(ctx, "/api/reports", map[string]any{"mode": mode})
}
