package load

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	var p Phase
	for i := 1; i <= 1000; i++ {
		p.note("call", time.Duration(i)*time.Millisecond, nil)
	}
	if s := p.Summary(); s.Calls != 1000 || s.Failed != 0 || s.P50 != 501*time.Millisecond || s.P99 != 991*time.Millisecond || s.Max != time.Second {
		t.Errorf("%+v", s)
	}
	p.note("call", 10*time.Second, errors.New("too late"))
	p.note("watch", 0, errors.New("cut"))
	p.note("watch", 0, errors.New("cut"))
	// A stream that is cut is a failure, and no latency.
	if s := p.Summary(); s.Calls != 1001 || s.Failed != 3 || s.Reason != "watch: cut" || s.Max != 10*time.Second {
		t.Errorf("%+v", s)
	}
	var none Phase
	none.note("watch", 0, errors.New("cut"))
	if s := none.Summary(); s.Calls != 0 || s.Failed != 1 || s.Reason != "watch: cut" {
		t.Errorf("%+v", s)
	}
}

// A stream that a server ends because its time is up has not failed, though the caller's
// own clock says so a moment later.
func TestOver(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	passed, cancelPassed := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancelPassed()
	coming, cancelComing := context.WithTimeout(t.Context(), time.Hour)
	defer cancelComing()
	for name, row := range map[string]struct {
		ctx  context.Context
		over bool
	}{"without an end": {t.Context(), false}, "cancelled": {cancelled, true}, "its time has passed": {passed, true}, "its time is to come": {coming, false}} {
		if got := over(row.ctx); got != row.over {
			t.Errorf("%s: %t", name, got)
		}
	}
}
