// Package upkeep is the background maintenance of messaging's tables: it deletes what is past
// its retention, makes and drops the event log's partitions, backfills columns and counts
// that migrations have added, folds what is counted in parts, and counts readings. Any number
// of processes may run it.
package upkeep

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/operator"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reading"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
)

// Upkeep has the database and the retention of its tables; 0 keeps all.
type Upkeep struct {
	DB            *pgxpool.Pool
	Vault         *vault.Vault
	Conversations conversation.Retention

	Audit, EventLog, Erasures time.Duration
	// Purged counts the conversations that were deleted at their term; nil: nobody does.
	Purged metric.Int64Counter
}

// Run works until ctx is done.
func (u *Upkeep) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { outbox.New(u.DB).KeepDays(ctx, u.EventLog); return nil })
	group.Go(func() error { u.runBackfills(ctx); return nil })
	group.Go(func() error { u.fold(ctx); return nil })
	group.Go(func() error { reading.Keep(ctx, u.DB); return nil })
	group.Go(func() error { postgres.Forget(ctx, u.terms()...); return nil })
	return group.Wait()
}

const (
	// foldEvery is how often new rows are folded into the counts.
	foldEvery = 5 * time.Second
	// foldTimeout bounds one round.
	foldTimeout = 5 * time.Second
)

// fold adds new rows to the counts.
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
