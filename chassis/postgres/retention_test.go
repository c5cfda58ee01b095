package postgres

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Steps are taken until one has deleted less than it might; what is kept for ever or held
// is left alone, and a fault of one kind stops no other.
func TestForget(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancel(t.Context())
	left := map[string]int64{"many": 2*ForgetBatch + 7, "exactly": ForgetBatch, "for ever": 5, "held": 5, "faulty": 5}
	steps := make(map[string]int)
	term := func(what string, keep time.Duration) Term {
		return Term{What: what, Keep: keep, Step: func(_ context.Context, older time.Duration) (int64, error) {
			if older != keep {
				t.Errorf("%s: older than %s, want %s", what, older, keep)
			}
			steps[what]++
			if what == "faulty" {
				return 0, errors.New("not now")
			}
			n := min(left[what], ForgetBatch)
			left[what] -= n
			return n, nil
		}}
	}
	held := term("held", time.Hour)
	held.Held = func() bool { return true }
	Forget(ctx, term("faulty", time.Hour), term("many", time.Hour), term("exactly", time.Minute), term("for ever", 0), held,
		Term{What: "the last", Keep: 1, Step: func(context.Context, time.Duration) (int64, error) { end(); return 0, nil }})
	for what, want := range map[string]struct {
		left  int64
		steps int
	}{"many": {0, 3}, "exactly": {0, 2}, "for ever": {5, 0}, "held": {5, 0}, "faulty": {5, 1}} {
		if left[what] != want.left || steps[what] != want.steps {
			t.Errorf("%s: %d left after %d steps, want %d after %d", what, left[what], steps[what], want.left, want.steps)
		}
	}
}
