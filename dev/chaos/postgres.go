package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/nemesis"
)

// postgresKills kills PostgreSQL ten times under load.
func (r *run) postgresKills(ctx context.Context) error {
	s, err := r.stage(ctx, "postgres", inReports)
	if err != nil {
		return err
	}
	defer s.close()
	const kills = 10
	s.underLoad(ctx, r.cfg.Rate, r.length(), func(ctx context.Context) {
		for range kills {
			if !fleet.Sleep(ctx, r.length()/(kills+1)-time.Second) {
				return
			}
			s.nemesis.Strike(ctx, nemesis.Fault{Kind: "kill", Target: "postgres", For: time.Second})
		}
	})
	err = s.judge(ctx, false)
	for _, took := range s.nemesis.Account().Recovery["kill postgres"] {
		if took > 3*time.Second {
			err = errors.Join(err, fmt.Errorf("%w: submissions were answered again %s after the return of PostgreSQL", ErrViolated, took))
		}
	}
	return err
}
