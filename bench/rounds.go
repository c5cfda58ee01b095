package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// side is one of those that a row compares.
type side struct {
	figures *sample
	measure func() (float64, error)
}

// rounds measures the sides in turn, so that what else the machine does meets all
// of them.
func (r *rig) rounds(ctx context.Context, sides ...side) error {
	for range r.cfg.Rounds {
		for _, s := range sides {
			r.settle(ctx)
			figure, err := s.measure()
			if err != nil {
				return err
			}
			*s.figures = append(*s.figures, figure)
		}
	}
	return nil
}

const (
	// settleMost is how long a measurement waits for an idle machine.
	settleMost = 10 * time.Second
	settleStep = 250 * time.Millisecond
	// idleEnough is the share of idle time from which the machine counts as quiet.
	idleEnough = 0.85
)

// settle waits until the machine is quiet, and goes on without if it is never.
// It notes the load average.
func (r *rig) settle(ctx context.Context) {
	until := time.Now().Add(settleMost)
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
