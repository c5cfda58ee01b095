package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
)

const (
	// freezes is how often all connections of the database fall silent.
	freezes = 3
	// freezeEvery is from one to the next.
	freezeEvery = 45 * time.Second
	// goOnWithin is how soon after it each part of the system goes on.
	goOnWithin = 30 * time.Second
	// endWithin is how long after a signal a process has ended, whatever is silent: the
	// drain that the fleet's processes have (see package fleet), and five seconds.
	endWithin = fleet.DrainDelay + fleet.DrainTimeout + 5*time.Second
)

// frozen silences the connections of the database under load, without closing them, and
// measures when each part of the system goes on. At last it does so while every process
// is told to end.
func (r *run) frozen(ctx context.Context) error {
	s, err := r.stage(ctx, "frozen", inReports)
	if err != nil {
		return err
	}
	defer s.close()
	var faults []error
	s.underLoad(ctx, r.cfg.Rate, freezes*freezeEvery+10*time.Second, func(ctx context.Context) {
		for range freezes {
			if !fleet.Sleep(ctx, 5*time.Second) {
				return
			}
			faults = append(faults, s.freeze(ctx))
			fleet.Sleep(ctx, 5*time.Second)
		}
	})
	faults = append(faults, s.judge(ctx, false), s.endSilenced(ctx))
	return errors.Join(faults...)
}

// freeze silences all connections and waits until each part has gone on.
func (s *stage) freeze(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, 2*goOnWithin)
	defer cancel()
	at := time.Now()
	s.fleet.Database.Freeze(false)
	count := func(service, sql string, args ...any) func(context.Context) bool {
		return func(ctx context.Context) bool {
			found, err := fleet.Query[struct{ N int }](ctx, s.fleet.Database, service, sql, args...)
			return err == nil && found[0].N > 0
		}
	}
	parts := map[string]func(context.Context) bool{
		"submissions": count("messaging", `SELECT count(*) FROM conversation WHERE created_at > $1`, at.Add(time.Second)),
		// What was written since has been relayed, and nothing older waits.
		"relay": count("messaging", `SELECT (max(e.created_at) > $1 AND NOT EXISTS (SELECT FROM outbox WHERE created_at < now() - interval '2 seconds'))::integer
			FROM event_log AS e`, at.Add(time.Second)),
		"senders":    count("notifier", `SELECT count(*) FROM attempt WHERE started_at > $1 AND outcome = 'accepted'`, at.Add(time.Second)),
		"reconciler": count("notifier", `SELECT count(*) FROM reconciliation WHERE updated_at > $1`, at.Add(time.Second)),
	}
	var mu sync.Mutex
	var faults []error
	var group sync.WaitGroup
	for name, goesOn := range parts {
		group.Go(func() {
			took := s.until(patience, at, goesOn)
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(s.run.out, "frozen: %s went on after %s\n", name, took.Round(10*time.Millisecond))
			if took == 0 || took > goOnWithin {
				faults = append(faults, fmt.Errorf("%w: %s went on after %s (0: not at all)", ErrViolated, name, took))
			}
		})
	}
	group.Wait()
	return errors.Join(faults...)
}

// endSilenced tells every process to end while the database is silent to it.
func (s *stage) endSilenced(ctx context.Context) error {
	loading, end := context.WithCancel(ctx)
	var load sync.WaitGroup
	load.Go(func() { s.load.Run(loading, loading, s.run.cfg.Rate) })
	fleet.Sleep(ctx, 2*time.Second)
	s.fleet.Database.Freeze(true)
	fleet.Sleep(ctx, time.Second)
	var mu sync.Mutex
	var faults []error
	var group sync.WaitGroup
	for _, p := range s.fleet.Services {
		group.Go(func() {
			begun := time.Now()
			status := p.End(syscall.SIGTERM)
			took := time.Since(begun)
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(s.run.out, "frozen: %s ended %s after the signal with status %d\n", p.Name, took.Round(10*time.Millisecond), status)
			if took > endWithin {
				faults = append(faults, fmt.Errorf("%w: %s ended %s after the signal", ErrViolated, p.Name, took))
			}
		})
	}
	group.Wait()
	end()
	load.Wait()
	return errors.Join(faults...)
}
