package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/bench/internal/build"
	"github.com/ma-messagerie/messagerie/bench/internal/cpu"
)

// benchmark is a Go benchmark of a service.
type benchmark struct {
	service, name string
	count         int
	// who is what runs in its process.
	who string
	// database says that it has one, whose server's time counts.
	database bool
	// fill makes so many events as the benchmark does before it measures, and returns
	// what that takes; nil: it makes none.
	fill func(ctx context.Context, n int) (cpu.Spending, error)
}

// measurement is what a side gave once.
type measurement struct {
	// figures are by unit, as a Go benchmark reports them.
	figures map[string]float64
	costs   []cpu.Cost
}

// goBench runs a Go benchmark of a service, with the rig's PostgreSQL.
//
// Its processor time is taken from outside, and has what the benchmark does before
// and after it measures: that is taken off. Go runs a benchmark with a count of one
// first and then with the one asked for, each time with a database and a broker of
// its own: so it does with a count of two, whose time therefore is that of both
// set-ups and of three operations.
func (r *rig) goBench(ctx context.Context, p *build.Version, b benchmark) (measurement, error) {
	setUp, err := r.setUp(ctx, p, b)
	if err != nil {
		return measurement{}, err
	}
	r.settle(ctx)
	figures, spent, err := r.runBenchmark(ctx, p, b, b.count)
	return measurement{figures, spent.Since(setUp).Each(b.count - 2)}, err
}

// setUp is what a benchmark spends on what it does not measure, by the medians of
// as many runs as there are rounds. It is taken once.
func (r *rig) setUp(ctx context.Context, p *build.Version, b benchmark) (cpu.Spending, error) {
	return r.once(p.Title()+" "+b.name, func() (cpu.Spending, error) {
		if err := r.makeTemplate(ctx, p, b); err != nil {
			return nil, err
		}
		spent, err := r.typical(func() (cpu.Spending, error) {
			_, spent, err := r.runBenchmark(ctx, p, b, 2)
			return spent, err
		})
		if err != nil || b.fill == nil {
			return spent, err
		}
		// All versions make their events alike.
		filled, err := r.once("events of "+b.name, func() (cpu.Spending, error) {
			return r.typical(func() (cpu.Spending, error) { return b.fill(ctx, b.count) })
		})
		if err != nil {
			return nil, fmt.Errorf("making the events of %s: %w", b.name, err)
		}
		return spent.And(filled), nil
	})
}

// makeTemplate runs a benchmark of a service a first time: it makes the template of
// the schema, which all later ones copy.
func (r *rig) makeTemplate(ctx context.Context, p *build.Version, b benchmark) error {
	if !b.database {
		return nil
	}
	_, err := r.once(p.Title()+" "+b.service, func() (cpu.Spending, error) {
		_, spent, err := r.runBenchmark(ctx, p, b, 1)
		return spent, err
	})
	return err
}

// once remembers what something takes.
func (r *rig) once(key string, take func() (cpu.Spending, error)) (cpu.Spending, error) {
	if known, ok := r.setUps[key]; ok {
		return known, nil
	}
	spent, err := take()
	if err == nil {
		r.setUps[key] = spent
	}
	return spent, err
}

// typical takes something once a round and returns each part's median.
func (r *rig) typical(take func() (cpu.Spending, error)) (cpu.Spending, error) {
	var all side
	for range r.cfg.Rounds {
		spent, err := take()
		if err != nil {
			return nil, err
		}
		all.add(measurement{costs: spent.Each(1)})
	}
	var typical cpu.Spending
	for _, c := range all.costs {
		typical = append(typical, cpu.Part{Who: c.who, Time: time.Duration(c.sample.median() * float64(time.Microsecond))})
	}
	return typical, nil
}

// runBenchmark returns the figures of one run, and what it has spent from its start
// to its end.
func (r *rig) runBenchmark(ctx context.Context, p *build.Version, b benchmark, count int) (map[string]float64, cpu.Spending, error) {
	binary, folder, err := p.Benchmarks(ctx, b.service, b.name)
	if err != nil {
		return nil, nil, err
	}
	args := []string{
		"-test.run", "^$", "-test.bench", "^" + strings.ReplaceAll(b.name, "/", "$/^") + "$",
		"-test.benchtime", fmt.Sprint(count, "x"), "-test.timeout", "5m",
	}
	if r.cfg.Profile != "" {
		path, err := r.profilePath(p, strings.ReplaceAll(b.name, "/", "-"))
		if err != nil {
			return nil, nil, err
		}
		args = append(args, "-test.cpuprofile", path)
	}
	cmd := exec.CommandContext(ctx, binary, args...) //nolint:gosec // built above
	cmd.Dir = folder
	cmd.Env = build.Environ("CI=true", "GOGC="+strconv.Itoa(p.GCPercent))
	var watched cpu.Meters
	if b.database {
		cmd.Env = append(cmd.Env, "TEST_DATABASE_URL="+r.cluster.URL("postgres"))
		watched = cpu.Meters{r.postgres()}
	}
	var out []byte
	spent, err := watched.Around(func() error {
		var err error
		if out, err = cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running %s of %s: %w: %s", b.name, p.Title(), err, out)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	figures, err := parseFigures(out, b.name)
	return figures, append(cpu.Spending{{Who: b.who, Time: cpu.Ended(cmd)}}, spent...), err
}

// parseFigures reads the line of a benchmark: its name, the count, then pairs of
// a figure and its unit.
func parseFigures(out []byte, name string) (map[string]float64, error) {
	for line := range bytes.Lines(out) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || strings.TrimSuffix(fields[0], "-"+strconv.Itoa(runtime.GOMAXPROCS(0))) != name {
			continue
		}
		got := make(map[string]float64)
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("reading %q: %w", line, err)
			}
			got[fields[i+1]] = value
		}
		return got, nil
	}
	return nil, fmt.Errorf("no figures of %s in: %s", name, out)
}
