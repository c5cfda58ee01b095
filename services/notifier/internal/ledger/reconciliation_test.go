package ledger

import (
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
)

// A mark that was made while a clock was ahead is taken back, and none is made that is
// ahead or so near that something may yet be committed before it.
func TestReconciled_NeverAhead(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	until := func() time.Duration {
		t.Helper()
		at, err := l.ReconciledUntil(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return time.Since(at).Round(10 * time.Second)
	}
	if got := until(); got != time.Hour {
		t.Errorf("at first, %s ago", got)
	}
	for _, ahead := range []time.Duration{-10 * time.Minute, -time.Hour, 3 * time.Hour} {
		if err := l.Reconciled(t.Context(), time.Now().Add(ahead)); err != nil {
			t.Fatal(err)
		}
		if got, want := until(), max(min(-ahead, 10*time.Minute), unsettled); got != want {
			t.Errorf("after a mark at %s: %s ago, want %s", ahead, got, want)
		}
	}
	notifiertest.Exec(t, l.pool, `UPDATE reconciliation SET settled_until = now() + interval '3 hours'`)
	for range 2 {
		if got := until(); got != unsettled {
			t.Errorf("a mark that is ahead is %s ago, want %s", got, unsettled)
		}
	}
	notifiertest.Exec(t, l.pool, `UPDATE reconciliation SET settled_until = settled_until - interval '1 minute'`)
	if got := until(); got != unsettled+time.Minute {
		t.Errorf("the mark was not taken back but passed over: %s ago", got)
	}
}
