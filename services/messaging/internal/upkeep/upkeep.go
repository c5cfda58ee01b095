// Package upkeep is what messaging does to its tables beside answering: it forgets what is
// past its term, fills in what migrations have added, and adds up what is counted in parts.
// Any number of processes may.
package upkeep

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/operator"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
)

// Upkeep is the tables and for how long what is in them is kept; 0 keeps all.
type Upkeep struct {
	DB                             *pgxpool.Pool
	Conversations, Audit, EventLog time.Duration
}

// Run works until ctx is done.
func (u *Upkeep) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { outbox.New(u.DB).KeepDays(ctx, u.EventLog); return nil })
	group.Go(func() error { u.runBackfills(ctx); return nil })
	group.Go(func() error { u.fold(ctx); return nil })
	group.Go(func() error { postgres.Forget(ctx, u.terms()...); return nil })
	return group.Wait()
}

const (
	// foldEvery is how often what has come is added to what is counted.
	foldEvery = 5 * time.Second
	// foldTimeout bounds one time.
	foldTimeout = 5 * time.Second
)

// fold adds up what has come.
func (u *Upkeep) fold(ctx context.Context) {
	for chassis.Sleep(ctx, foldEvery) {
		round, cancel := context.WithTimeout(ctx, foldTimeout)
		err := errors.Join(waiting.Fold(round, u.DB), operator.FoldSubmissions(round, u.DB))
		cancel()
		if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "adding up; it is known all the same", "error", err)
		}
	}
}
