package waiting

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Every statement of this package reads what it returns, in tables that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: fill,
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			failed := func(_ any, err error) error { return err }
			return []scale.Row{
				{Of: []string{"Everywhere"}, Run: func(ctx context.Context, _ int) error { return failed(Everywhere(ctx, pool)) }},
				{Of: []string{"ByQueue"}, Run: func(ctx context.Context, _ int) error {
					return failed(ByQueue(ctx, pool, conversation.Scope{Caisse: "msa-75", AllQueues: true}))
				}},
				{Of: []string{"Fold"}, Run: func(ctx context.Context, _ int) error { return Fold(ctx, pool) }},
			}
		},
	}.Test(t)
}

func fill(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
	if err := messagingtest.Aged("member", "conversation")(ctx, pool, from, to); err != nil {
		return err
	}
	return messagingtest.Count(ctx, pool, Backfill, CountSQL)
}
