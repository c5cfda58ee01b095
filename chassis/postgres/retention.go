package postgres

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Term is how long rows of a kind are kept.
type Term struct {
	// What is their name in the log.
	What string
	// Keep is how long; 0: for ever.
	Keep time.Duration
	// Held reports whether deletion must wait; nil: it need not.
	Held func() bool
	// Step deletes at most ForgetBatch of those that are older, oldest first, and returns
	// how many.
	Step func(ctx context.Context, keep time.Duration) (int64, error)
}

// ForgetBatch is how much one step deletes at most.
const ForgetBatch = 500

const (
	// forgetEvery is how often old rows are looked for, forgetTimeout how long a step may
	// take, and forgetPause the pause after it.
	forgetEvery   = time.Hour
	forgetTimeout = 10 * time.Second
	forgetPause   = 50 * time.Millisecond
)

// Forget deletes what is past its term until ctx is done, step by step: a step locks few
// rows, briefly, and rows that nobody else uses any more. Any number of processes may run it.
func Forget(ctx context.Context, terms ...Term) {
	for {
		for _, t := range terms {
			if t.Keep == 0 || t.Held != nil && t.Held() {
				continue
			}
			if deleted := t.forget(ctx); deleted > 0 {
				slog.InfoContext(ctx, "deleted what was past its term", "what", t.What, "rows", deleted)
			}
		}
		if !rest(ctx, forgetEvery/2+rand.N(forgetEvery)) { //nolint:gosec // spreads load, guards nothing
			return
		}
	}
}

// forget deletes all of a kind that is past its term, and returns how much.
func (t Term) forget(ctx context.Context) (deleted int64) {
	for n := int64(ForgetBatch); n >= ForgetBatch; {
		step, cancel := context.WithTimeout(ctx, forgetTimeout)
		var err error
		n, err = t.Step(step, t.Keep)
		cancel()
		deleted += n
		if err != nil {
			if ctx.Err() == nil {
				slog.WarnContext(ctx, "deleting what is past its term", "what", t.What, "error", err)
			}
			return deleted
		}
		if !rest(ctx, forgetPause) {
			return deleted
		}
	}
	return deleted
}

// rest waits, and reports whether ctx is still alive.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
