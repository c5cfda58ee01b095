package conversation

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("member", "conversation", "message", "audit", "note"),
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			// of runs it for a conversation, another each time.
			of := func(name string, run func(ctx context.Context, row Row) error) scale.Row {
				return scale.Row{Of: []string{name}, Run: func(ctx context.Context, n int) error {
					row, err := postgres.One[Row](ctx, aside, "choosing", `SELECT `+Columns+` FROM conversation WHERE caisse = 'msa-75' AND status = 4 ORDER BY created_at DESC OFFSET $1 LIMIT 1`, n)
					if err != nil {
						return err
					}
					return run(ctx, row)
				}}
			}
			failed := func(_ any, err error) error { return err }
			return []scale.Row{
				of("OfMember", func(ctx context.Context, row Row) error { return failed(OfMember(ctx, pool, row.MemberID, row.ID)) }),
				of("Messages", func(ctx context.Context, row Row) error { return failed(Messages(ctx, pool, row.ID)) }),
				of("Unread", func(ctx context.Context, row Row) error { return failed(Unread(ctx, pool, row.MemberID)) }),
				of("Acts", func(ctx context.Context, row Row) error { return failed(Acts(ctx, pool, row.ID)) }),
				{Of: []string{"Readings"}, Run: func(ctx context.Context, _ int) error {
					ids, err := postgres.Many[uuid.UUID](ctx, aside, "choosing", `SELECT id FROM conversation WHERE caisse = 'msa-75' AND status = 4 ORDER BY created_at DESC LIMIT 50`)
					if err != nil {
						return err
					}
					return failed(Readings(ctx, pool, ids))
				}},
				of("QueueRead", func(ctx context.Context, row Row) error {
					batch := &pgx.Batch{}
					QueueRead(batch, row.ID, &Full{})
					return pool.SendBatch(ctx, batch).Close()
				}),
				of("QueueNote", func(ctx context.Context, row Row) error {
					note := NewNote{ID: uuid.New(), ConversationID: row.ID, AgentID: "agent:claire", AgentName: "Claire", IdempotencyKey: uuid.New(), Body: []byte("sealed"), BodyChars: 1}
					return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return failed(AddNote(ctx, tx, note)) })
				}),
				of("QueueAccount", func(ctx context.Context, row Row) error {
					batch, full := &pgx.Batch{}, &Full{}
					QueueAccount(batch, row.MemberID, full)
					if err := pool.SendBatch(ctx, batch).Close(); err != nil || full.Account == nil {
						return errors.Join(err, errors.New("no account"))
					}
					return nil
				}),
				of("QueueAudit", func(ctx context.Context, row Row) error {
					return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
						return Audit(ctx, tx, By(&auth.Identity{Subject: "agent:claire"}, lifecycle.Read, &row))
					})
				}),
			}
		},
	}.Test(t)
}
