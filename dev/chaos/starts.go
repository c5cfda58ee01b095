package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
)

// firstCalls is how many submissions come with the gateway's first word that it is
// ready.
const firstCalls = 128

// starts starts everything together many times, messaging with an empty database each
// time, and submits as soon as the gateway says that it is ready. Nothing may be
// refused: who is ready answers.
func (r *run) starts(ctx context.Context) error {
	f, err := fleet.Launch(ctx, filepath.Join(r.cfg.Dir, "starts"), r.binaries, fleet.Options{Product: true, Reports: true})
	if err != nil {
		return fmt.Errorf("starting the system: %w", err)
	}
	defer f.Close()
	var took time.Duration
	failed, spoiled := 0, 0
	reasons := make(map[string]int)
	for i := range r.cfg.Count {
		ready, got, err := r.startOnce(ctx, f)
		if err != nil {
			return fmt.Errorf("start %d: %w", i+1, err)
		}
		took += ready
		failed += got.Failed
		if got.Failed > 0 {
			spoiled++
			reasons[got.Reason]++
			fmt.Fprintf(r.out, "start %d: %d of %d failed: %s\n", i+1, got.Failed, got.Calls, got.Reason)
		}
	}
	fmt.Fprintf(r.out, "%d starts, ready after %s on average: %d of %d first calls failed, in %d starts\n",
		r.cfg.Count, (took / time.Duration(r.cfg.Count)).Round(time.Millisecond), failed, r.cfg.Count*firstCalls, spoiled)
	if failed > 0 {
		return fmt.Errorf("%w: %d calls failed after /readyz said 200", ErrViolated, failed)
	}
	return nil
}

// startOnce ends everything, empties the database of messaging, starts everything at
// the same time, and calls when the gateway is ready.
func (r *run) startOnce(ctx context.Context, f *fleet.Fleet) (ready time.Duration, got load.Summary, err error) {
	f.Halt()
	if err := f.Database.Recreate(ctx, "messaging"); err != nil {
		return 0, got, err
	}
	callers, err := load.NewFirst(f, firstCalls)
	if err != nil {
		return 0, got, err
	}
	defer callers.Close()
	begun := time.Now()
	if err := f.Resume(); err != nil {
		return 0, got, err
	}
	waiting, cancel := context.WithTimeout(ctx, fleet.ReadyPatience)
	defer cancel()
	for !fleet.Answers(waiting, "http://"+f.HTTPAddrs[0]+"/readyz") {
		if !fleet.Sleep(waiting, 2*time.Millisecond) {
			return 0, got, errors.Join(errors.New("the gateway does not get ready"), ctx.Err())
		}
	}
	ready = time.Since(begun)
	return ready, callers.Submit(ctx, firstCalls), nil
}
