package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/bench/internal/build"
)

// side is one of those that a row compares, with what it gave in each round.
type side struct {
	title   string
	measure func() (measurement, error)
	// optional sides may fail: what an earlier commit cannot run is not measured.
	optional bool
	failed   error

	figures map[string]sample // by unit
	costs   []costs
}

// costs are what an operation cost one part, in microseconds.
type costs struct {
	who    string
	sample sample
}

// add keeps the figures of one round.
func (s *side) add(m measurement) {
	if s.figures == nil {
		s.figures = make(map[string]sample)
	}
	for unit, value := range m.figures {
		s.figures[unit] = append(s.figures[unit], value)
	}
	for _, c := range m.costs {
		at := slices.IndexFunc(s.costs, func(known costs) bool { return known.who == c.Who })
		if at < 0 {
			s.costs, at = append(s.costs, costs{who: c.Who}), len(s.costs)
		}
		s.costs[at].sample = append(s.costs[at].sample, c.Micros)
	}
}

// total is what an operation cost all parts but those that make the load, by
// their medians.
func (s *side) total() float64 {
	sum := 0.0
	for _, c := range s.costs {
		if !makesLoad[c.who] {
			sum += c.sample.median()
		}
	}
	return sum
}

// sides are this tree's and, if there is one, the earlier commit's.
func (r *rig) sides(measure func(p *build.Version) (measurement, error)) []*side {
	var list []*side
	for _, p := range r.versions {
		list = append(list, &side{title: p.Title(), optional: p.Commit != "", measure: func() (measurement, error) { return measure(p) }})
	}
	return list
}

// benchSides measure by a Go benchmark.
func (r *rig) benchSides(ctx context.Context, b benchmark) []*side {
	return r.sides(func(p *build.Version) (measurement, error) { return r.goBench(ctx, p, b) })
}

// rounds measures the sides in turn, every other round backwards, so that what else the machine
// does, and what each leaves the database server to clear away, meets all of them.
func (r *rig) rounds(ctx context.Context, groups ...[]*side) error {
	sides := slices.Concat(groups...)
	for range r.cfg.Rounds {
		for _, s := range sides {
			if s.failed != nil {
				continue
			}
			m, err := s.measure()
			switch {
			case err == nil:
				s.add(m)
			case s.optional && ctx.Err() == nil:
				s.failed = err
				fmt.Fprintf(os.Stderr, "not measured: %s: %v\n", s.title, err)
			default:
				return err
			}
		}
		slices.Reverse(sides)
	}
	return nil
}

// one is a reference.
func one(title string, measure func() (measurement, error)) []*side {
	return []*side{{title: title, measure: measure}}
}

const (
	settleStep = 250 * time.Millisecond
	// idleEnough is the share of idle time from which the machine counts as quiet.
	idleEnough = 0.85
)

// settle waits until the machine is quiet, and goes on without if it is never.
// It notes the load average. A short run waits for nothing.
func (r *rig) settle(ctx context.Context) {
	if r.size.settle == 0 {
		return
	}
	until := time.Now().Add(r.size.settle)
	before, all := idleTime()
	ticker := time.NewTicker(settleStep)
	defer ticker.Stop()
	quiet := false
	for !quiet && time.Now().Before(until) {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		idle, total := idleTime()
		quiet = total > all && float64(idle-before) >= idleEnough*float64(total-all)
		before, all = idle, total
	}
	if !quiet {
		r.busy++
	}
	if content, err := os.ReadFile("/proc/loadavg"); err == nil {
		var load float64
		if _, err := fmt.Sscan(string(content), &load); err == nil {
			r.loads = append(r.loads, load)
		}
	}
}

// idleTime is how long the processors have idled and run since the start, in
// ticks; zero where there is no /proc.
func idleTime() (idle, total int) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(content), "\n")
	for i, field := range strings.Fields(line)[1:] {
		var ticks int
		if _, err := fmt.Sscan(field, &ticks); err != nil {
			return 0, 0
		}
		total += ticks
		if i == 3 { // waiting for the disk is not idle: both sides need it
			idle += ticks
		}
	}
	return idle, total
}
