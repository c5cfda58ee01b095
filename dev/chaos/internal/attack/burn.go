package attack

import (
	"context"
	"sync"
	"syscall"
	"time"
)

// burnStep is how long the processor is kept busy before the account is looked at.
const burnStep = 2 * time.Millisecond

// burn spends a share of one processor's time (more than 1: of several) on nothing,
// spread evenly.
func burn(ctx context.Context, begun time.Time, share float64) {
	var group sync.WaitGroup
	for range int(share) + 1 {
		group.Go(func() {
			for ctx.Err() == nil {
				if spent() > time.Duration(share*float64(time.Since(begun))) {
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
