package attack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Spending is how much processor time a process had used after each step of time.
type Spending []time.Duration

// spendingStep is the time between two looks at a process.
const spendingStep = 100 * time.Millisecond

// Total is what was used in all.
func (s Spending) Total() time.Duration {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1]
}

// after is what had been used at a time from the beginning.
func (s Spending) after(t time.Duration) time.Duration {
	step := int(t / spendingStep)
	if step >= len(s) {
		return s.Total()
	}
	var before time.Duration
	if step > 0 {
		before = s[step-1] //nolint:gosec // step is below len(s)
	}
	return before + (s[step]-before)*(t%spendingStep)/spendingStep
}

// watchSpending looks at a process until ctx is done.
func watchSpending(ctx context.Context, pid int) (s Spending) {
	ticker := time.NewTicker(spendingStep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return s
		case <-ticker.C:
			if used, err := processorTime(pid); err == nil { // it ends at any moment
				s = append(s, used)
			}
		}
	}
}

// processorTime is what a process has used, in steps of the kernel's clock.
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("looking at the attacker: %w", err)
	}
	// After the command's name in brackets, which may have any character: utime and
	// stime are fields 14 and 15 of all (proc_pid_stat(5)).
	const utime, stime, tick = 14 - 3, 15 - 3, 10 * time.Millisecond
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= stime {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[utime : stime+1] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading /proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// burners is how many processors the control can use at once.
const burners = 4

// burnStep is how long one is kept busy before the account is looked at.
const burnStep = 2 * time.Millisecond

// burn uses the same processor time on nothing, at the same times. before is what this
// process had used already.
func burn(ctx context.Context, before time.Duration, s Spending) {
	begun := time.Now()
	var group sync.WaitGroup
	for range burners {
		group.Go(func() {
			for ctx.Err() == nil {
				if spent()-before >= s.after(time.Since(begun)) {
					pause(ctx, burnStep)
					continue
				}
				for until := time.Now().Add(burnStep); time.Now().Before(until); {
				}
			}
		})
	}
	group.Wait()
}

// spent is the processor time of this process.
func spent() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
