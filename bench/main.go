// Command bench measures the system against what one would otherwise take, and
// against an earlier commit of itself. It writes docs/benchmarks.md. Start it by
// `make bench`; BENCH_ROWS=1,2 selects, SHORT=1 takes a minute, FROM=commit adds
// that commit's programs.
//
// What is promised: ratios. The sides of a row run on the same machine, against
// the same PostgreSQL with fsync on, in turn (A B A B A B), and each figure is the
// median of its rounds. Beside a rate stands what one operation cost each process
// in processor time, which hardly depends on what else the machine does. Nothing
// is said about absolute speed: client, server and load generator share the cores,
// with whatever else the machine does.
//
// How: this program starts PostgreSQL, the broker and the references (pgbench,
// River, watermill, net/http). The services are their own programs, built from the
// tree; what is not exported of a service is measured by a Go benchmark beside its
// code, built once and run as a child with the services' GC_PERCENT. Nothing of
// the measurement is inside what is measured, so that another commit's programs
// are measured alike: processor time is read from /proc and from what children
// have used when they end.
//
// When it breaks: a row that fails ends the run with status 1, but for what an
// earlier commit cannot run, which the table shows as a dash. It needs Linux.
//
// It is a module of its own, outside the workspace, so that what the references
// need never enters the product.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/ma-messagerie/messagerie/bench/internal/build"
	"github.com/ma-messagerie/messagerie/bench/internal/cpu"
	"github.com/ma-messagerie/messagerie/chassis/localpg"
)

// config is read from BENCH_*.
type config struct {
	// Rows are the numbers of the rows to measure; empty: all.
	Rows []int `env:"ROWS"`
	// Rounds is how often each side is measured; 0: three times, or once when short.
	Rounds int `env:"ROUNDS"`
	// Short measures little of everything, without waiting for a quiet machine: it
	// shows that all rows run, and judges no goal.
	Short bool `env:"SHORT"`
	// From is a commit whose programs are measured in turn with ours; empty: none.
	From string `env:"FROM"`
	// Root is the repository.
	Root string `env:"ROOT" envDefault:".."`
	// Report is the file to write, relative to Root; empty: none. A run of some
	// rows alone, or a short one, writes none.
	Report string `env:"REPORT" envDefault:"docs/benchmarks.md"`
	// Profile is a folder for CPU profiles of the services and of the Go benchmarks;
	// empty: none.
	Profile string `env:"PROFILE"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // stop only unregisters the signals
	}
}

func run(ctx context.Context) (err error) {
	cfg, err := env.ParseAsWithOptions[config](env.Options{Prefix: "BENCH_"})
	if err != nil {
		return fmt.Errorf("reading BENCH_*: %w", err)
	}
	r, err := openRig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	// The references and the load generator collect garbage as the services do.
	debug.SetGCPercent(r.versions[0].GCPercent)
	done, err := r.measure(ctx)
	if err != nil {
		return err
	}
	fmt.Print(table(done))
	if cfg.Report == "" || len(cfg.Rows) > 0 || cfg.Short {
		return nil
	}
	return os.WriteFile(filepath.Join(cfg.Root, cfg.Report), []byte(r.report(done)), 0o644) //nolint:gosec // a document
}

// rows measure the lines of the table, numbered from 1 as in the design.
var rows = []func(context.Context, *rig) ([]row, error){
	measureStore,
	measureGateway,
	measureLatency,
	measureDrain,
	measureProvider,
	measureNotifier,
}

// measure measures the rows that are asked for.
func (r *rig) measure(ctx context.Context) ([]row, error) {
	var done []row
	for i, measure := range rows {
		if !r.cfg.selects(i + 1) {
			continue
		}
		fmt.Fprintf(os.Stderr, "row %d …\n", i+1)
		begun := time.Now()
		measured, err := measure(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("measuring row %d: %w", i+1, err)
		}
		fmt.Fprintf(os.Stderr, "row %d took %s\n", i+1, time.Since(begun).Round(time.Second))
		done = append(done, measured...)
	}
	if r.cfg.Short {
		for i := range done {
			done[i].goal = 0
		}
	}
	return done, nil
}

func (c config) selects(number int) bool {
	for _, n := range c.Rows {
		if n == number {
			return true
		}
	}
	return len(c.Rows) == 0
}

// rig is what the rows share.
type rig struct {
	cfg  config
	size size
	// dir holds what the run makes.
	dir     string
	cluster *localpg.Cluster
	// versions are the programs that are measured: this tree's, and then those of
	// the earlier commit, if there is one.
	versions []*build.Version
	// setUps are what benchmarks take before they measure, see goBench.
	setUps map[string]cpu.Spending
	// people signs everybody in who submits, from the first system on.
	people *people
	// migrated reports whether the template is made, databases counts its copies.
	migrated  bool
	databases int
	// loads are the load averages before each measurement, busy counts those that
	// the machine was not quiet for.
	loads []float64
	busy  int
}

func openRig(ctx context.Context, cfg config) (_ *rig, err error) {
	r := &rig{cfg: cfg, size: full, setUps: make(map[string]cpu.Spending)}
	if cfg.Short {
		r.size = short
	}
	if cfg.Rounds == 0 {
		r.cfg.Rounds = r.size.rounds
	}
	if r.dir, err = os.MkdirTemp("/var/tmp", "messagerie-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(r.dir))
		}
	}()
	if r.versions, err = build.Open(ctx, r.cfg.Root, r.cfg.From, r.dir, r.cfg.profileSource()); err != nil {
		return nil, err
	}
	r.cluster, err = startPostgres(ctx)
	return r, err
}

// startPostgres starts PostgreSQL with the settings of a small dedicated host; all
// sides have them.
func startPostgres(ctx context.Context) (*localpg.Cluster, error) {
	opts := localpg.Options{Durable: true, Settings: map[string]string{
		"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min",
	}}
	cluster, err := localpg.Start(ctx, opts)
	if errors.Is(err, localpg.ErrNoBinaries) && os.Geteuid() == 0 {
		if err := localpg.Install(ctx); err != nil {
			return nil, err
		}
		cluster, err = localpg.Start(ctx, opts)
	}
	return cluster, err
}

func (r *rig) close() error {
	if r.people != nil {
		r.people.close()
	}
	return errors.Join(r.cluster.Stop(), os.RemoveAll(r.dir))
}
