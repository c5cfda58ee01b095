package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/nemesis"
)

const (
	// openWatches is how many streams are open meanwhile.
	openWatches = 24
	// leastOpen is the part of the time in which they must be. A stream that is opened
	// just before a drain may end at once; all together may not.
	leastOpen = 0.9
)

// rolling restarts every service by SIGTERM, one process after the other, as a
// rollout does, until the time is up, while members and agents keep watches open. No
// request may fail, no watch may end by an error or be refused when it is opened
// again, they must be open nearly all the time, and every process must end with
// status 0.
func (r *run) rolling(ctx context.Context) error {
	s, err := r.stage(ctx, "rolling restart", inReports)
	if err != nil {
		return err
	}
	defer s.close()
	rounds := 0
	var watches *load.Watches
	s.underLoad(ctx, r.cfg.Rate, r.length(), func(ctx context.Context) {
		fleet.Sleep(ctx, 2*time.Second)
		watches = s.load.Watch(ctx, openWatches)
		defer watches.Wait()
		for ctx.Err() == nil {
			for _, p := range s.fleet.Services {
				s.nemesis.Strike(ctx, nemesis.Fault{Kind: "restart", Target: p.Name})
				if !fleet.Sleep(ctx, time.Second) {
					return
				}
			}
			rounds++
		}
	})
	failed, struck := s.load.Failed.Load(), s.nemesis.Account()
	fmt.Fprintf(r.out, "%d restarts, %d whole rounds: %d failed requests of %d; %d watches opened, %d ended cleanly, open %.1f %% of the time; %d processes did not end with status 0\n",
		struck.Counts["restart"], rounds, failed, s.load.Acked.Load()+failed, watches.Opened.Load(), watches.Ended.Load(), 100*watches.Share(), len(struck.Unclean))
	err = s.judge(ctx, false)
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d requests failed", ErrViolated, failed))
	}
	if open := watches.Share(); open < leastOpen {
		err = errors.Join(err, fmt.Errorf("%w: watches were open for %.1f %% of the time", ErrViolated, 100*open))
	}
	if len(struck.Unclean) > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %s", ErrViolated, strings.Join(struck.Unclean, ", ")))
	}
	return err
}
