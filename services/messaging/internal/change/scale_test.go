package change

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("member", "conversation", "message", "audit", "note"),
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			return []scale.Row{
				{Of: []string{"lockMany", "queueTaken", "queueStandings", "applyMany", "queueReply"}, Run: func(ctx context.Context, _ int) error {
					ids, err := postgres.Many[uuid.UUID](ctx, aside, "choosing", `SELECT id FROM conversation WHERE caisse = 'msa-75' AND status IN (1, 2) ORDER BY created_at DESC LIMIT 4`)
					if err != nil {
						return err
					}
					var requests []Request
					for _, id := range ids {
						request := replyTo(id)
						request.Full = true
						requests = append(requests, request)
					}
					_, _, err = (&Changes{pool: pool}).changeMany(ctx, requests)
					return err
				}},
				{Of: []string{"queueKeyLocks"}, Run: func(ctx context.Context, n int) error {
					return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
						batch := &pgx.Batch{}
						queueKeyLocks(batch, []string{"member:1", fmt.Sprintf("member:%d", n)}, []uuid.UUID{uuid.New(), uuid.New()})
						return tx.SendBatch(ctx, batch).Close()
					})
				}},
			}
		},
	}.Test(t)
}
