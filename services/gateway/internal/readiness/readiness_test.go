package readiness

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestRule(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	all := map[string]func(context.Context) error{"taxonomy": nil, "messaging": nil, "notifier": nil}
	for name, row := range map[string]struct {
		wasReady, patient bool
		faults            map[string]error
		ready             bool
	}{
		"at the start, all there":          {false, true, nil, true},
		"at the start, one missing":        {false, true, map[string]error{"notifier": away}, false},
		"at the start, issuers missing":    {false, true, map[string]error{"issuers": away}, false},
		"out of patience, one missing":     {false, false, map[string]error{"notifier": away}, true},
		"out of patience, issuers missing": {false, false, map[string]error{"issuers": away}, false},
		"later, two missing":               {true, false, map[string]error{"notifier": away, "messaging": away, "issuers": away}, true},
		"soon after, one missing":          {true, true, map[string]error{"notifier": away}, true},
		"later, all missing":               {true, false, map[string]error{"notifier": away, "messaging": away, "taxonomy": away}, false},
	} {
		r := &Readiness{services: all, wasReady: row.wasReady, began: time.Now()}
		if row.patient {
			r.grace = time.Hour
		}
		if err := r.judge(row.faults); (err == nil) != row.ready {
			t.Errorf("%s: %v, want ready %t", name, err, row.ready)
		}
	}
}

// Many who ask whether the gateway is ready are one question to the services.
func TestAskedOnce(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 100)
	r := &Readiness{services: map[string]func(context.Context) error{"messaging": func(context.Context) error {
		asked <- struct{}{}
		return nil
	}}, issuers: func(context.Context) error { return nil }}
	for range 100 {
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(asked) != 1 {
		t.Errorf("the service was asked %d times", len(asked))
	}
}
