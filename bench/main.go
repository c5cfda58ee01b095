// Command bench measures the system against what one would otherwise take, and
// writes docs/benchmarks.md. Start it by `make bench`; BENCH_ROWS=1,2 selects.
//
// What is promised: a ratio. Both sides of a row run on the same machine, against
// the same PostgreSQL with fsync on, in turn (A B A B A B), and each figure is the
// median of its rounds. Nothing is said about absolute speed: client, server and
// load generator share the cores, with whatever else the machine does.
//
// How: this program starts PostgreSQL, the broker and the references (pgbench,
// River, watermill, net/http). What is not exported of a service is measured by a
// Go benchmark beside its code, built once and run as a child.
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
	"syscall"

	"github.com/caarlos0/env/v11"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
)

// config is read from BENCH_*.
type config struct {
	// Rows are the numbers of the rows to measure; empty: all.
	Rows []int `env:"ROWS"`
	// Rounds is how often each side is measured.
	Rounds int `env:"ROUNDS" envDefault:"3"`
	// Root is the repository.
	Root string `env:"ROOT" envDefault:".."`
	// Report is the file to write, relative to Root; empty: none. A run of some
	// rows alone writes none.
	Report string `env:"REPORT" envDefault:"docs/benchmarks.md"`
	// Profile is a folder for CPU profiles of what is ours; empty: none.
	Profile string `env:"PROFILE"`
}

func main() {
	if len(os.Args) > 1 {
		if err := serve(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
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
	var done []row
	for i, measure := range rows {
		if !cfg.selects(i + 1) {
			continue
		}
		fmt.Fprintf(os.Stderr, "row %d …\n", i+1)
		measured, err := measure(ctx, r)
		if err != nil {
			return fmt.Errorf("measuring row %d: %w", i+1, err)
		}
		done = append(done, measured...)
	}
	fmt.Print(table(done))
	if cfg.Report == "" || len(cfg.Rows) > 0 {
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
	cfg config
	// dir holds what the run makes.
	dir     string
	cluster *localpg.Cluster
	// binaries are the compiled Go benchmarks, by package folder.
	binaries map[string]string
	// migrated tells whether the template is made, databases counts its copies.
	migrated  bool
	databases int
	// loads are the load averages before each measurement, busy counts those that
	// the machine was not quiet for.
	loads []float64
	busy  int
}

func openRig(ctx context.Context, cfg config) (*rig, error) {
	dir, err := os.MkdirTemp("/var/tmp", "messagerie-bench-")
	if err != nil {
		return nil, err
	}
	// The settings are those of a small dedicated host; both sides have them.
	opts := localpg.Options{Durable: true, Settings: map[string]string{
		"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min",
	}}
	cluster, err := localpg.Start(ctx, opts)
	if errors.Is(err, localpg.ErrNoBinaries) && os.Geteuid() == 0 {
		if err := localpg.Install(ctx); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		cluster, err = localpg.Start(ctx, opts)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &rig{cfg: cfg, dir: dir, cluster: cluster, binaries: make(map[string]string)}, nil
}

func (r *rig) close() error {
	return errors.Join(r.cluster.Stop(), os.RemoveAll(r.dir))
}
