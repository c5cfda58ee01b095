package operator

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Every statement of this package reads what it returns, in tables that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: fill,
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			return []scale.Row{
				{Of: []string{"status"}, Planless: 1, Run: func(ctx context.Context, _ int) error {
					_, err := status(ctx, pool, uuid.Nil)
					return err
				}},
				{Of: []string{"purge"}, Run: func(ctx context.Context, _ int) error {
					_, _, err := purge(ctx, pool, conversation.Retention(5*366*24*time.Hour))
					return err
				}},
				{Of: []string{"FoldSubmissions"}, Run: func(ctx context.Context, _ int) error { return FoldSubmissions(ctx, pool) }},
			}
		},
	}.Test(t)
}

// fill fills the tables, and counts what is counted in parts.
func fill(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
	if err := messagingtest.Aged("member", "conversation", "event_log")(ctx, pool, from, to); err != nil {
		return err
	}
	if err := messagingtest.Count(ctx, pool, waiting.Backfill, waiting.CountSQL); err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, `TRUNCATE submission_slot`); err != nil {
		return err
	}
	return FoldSubmissions(ctx, pool)
}
