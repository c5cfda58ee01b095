package statistics

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

func failed(_ any, err error) error { return err }

// Every statement of this package reads what it returns, in tables that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: fill,
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			all := conversation.Scope{Caisse: "msa-75", AllQueues: true}
			return []scale.Row{
				{Of: []string{"statistics"}, Planless: 2, Reads: "the conversations of a year", Run: func(ctx context.Context, _ int) error {
					return failed(statistics(ctx, pool, all, "", 366))
				}},
			}
		},
	}.Test(t)
}

func fill(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
	if err := messagingtest.Aged("member", "conversation")(ctx, pool, from, to); err != nil {
		return err
	}
	return messagingtest.Count(ctx, pool, waiting.Backfill, waiting.CountSQL)
}
