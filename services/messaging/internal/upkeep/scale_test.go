package upkeep

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Every statement of this package reads what it returns, in tables that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("member", "conversation", "message", "audit", "note", "draft", "agent_draft"),
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			u := &Upkeep{DB: pool, Vault: messagingtest.Vault(t, aside)}
			const years = 366 * 24 * time.Hour
			failed := func(_ any, err error) error { return err }
			return []scale.Row{
				{Of: []string{"Upkeep.backfill"}, Run: func(ctx context.Context, _ int) error {
					if _, err := aside.Exec(ctx, `DELETE FROM backfill WHERE name = $1`, backfills[0].name); err != nil {
						return err
					}
					return failed(u.backfill(ctx, backfills[0], backfillBatch))
				}},
				{Of: []string{"Upkeep.forgetConversations", "forgetConversations"}, Reads: "what it deletes, of which small tables have little", Run: func(ctx context.Context, _ int) error {
					return failed(u.forgetConversations(ctx, 0, 2*years))
				}},
				{Of: nil, Run: func(ctx context.Context, _ int) error { return failed(u.forgetConversations(ctx, 30, 30*years)) }},
				{Of: []string{"Upkeep.forgetMembers"}, Run: func(ctx context.Context, _ int) error { return failed(u.forgetMembers(ctx, years)) }},
				{Of: []string{"Upkeep.retireKeys"}, Run: func(ctx context.Context, _ int) error {
					if _, err := aside.Exec(ctx, `INSERT INTO unused_key (id, member_id, noted_at) VALUES (gen_random_uuid(), 'member:1', now() - interval '2 days')`); err != nil {
						return err
					}
					return failed(u.retireKeys(ctx, unusedAge))
				}},
				{Of: []string{"Upkeep.FillKinds"}, Reads: "as many as there are kinds, of which small tables have few", Run: func(ctx context.Context, _ int) error {
					if _, err := aside.Exec(ctx, `DELETE FROM backfill WHERE name = $1`, kindBackfill); err != nil {
						return err
					}
					return u.FillKinds(ctx)
				}},
				{Of: []string{"Upkeep.forgetKinds"}, Reads: "all kinds, of which small tables have few", Run: func(ctx context.Context, _ int) error { return failed(u.forgetKinds(ctx, unusedKindAge)) }},
				{Of: []string{"Upkeep.forgetAudit"}, Run: func(ctx context.Context, _ int) error { return failed(u.forgetAudit(ctx, years)) }},
			}
		},
	}.Test(t)
}
