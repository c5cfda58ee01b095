package member

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
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
		URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("member", "conversation", "message", "audit", "draft", "agent_draft"),
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			m := New(Config{DB: pool, Vault: messagingtest.Vault(t, aside), Wake: func() {}})
			named := func(n int) string { return fmt.Sprintf("member:%d", n) }
			read := func(of string, do func(ctx context.Context, n int) error) scale.Row {
				return scale.Row{Of: []string{of}, Run: do}
			}
			failed := func(_ any, err error) error { return err }
			ids := func(ctx context.Context, n int) ([]uuid.UUID, error) {
				return postgres.Many[uuid.UUID](ctx, aside, "picking", `SELECT id FROM conversation WHERE caisse = 'msa-75' AND status = 1 ORDER BY created_at LIMIT $1`, 20+n)
			}
			return []scale.Row{
				read("Members.named", func(ctx context.Context, n int) error { return failed(m.named(ctx, []string{named(n), "member:0"})) }),
				read("WithoutData", func(ctx context.Context, n int) error {
					return failed(WithoutData(ctx, pool, []string{"nobody", named(n)}))
				}),
				read("Members.store", func(ctx context.Context, n int) error { return m.store(ctx, named(n), reach{locale: "fr"}) }),
				read("Members.preferences", func(ctx context.Context, n int) error { return failed(m.preferences(ctx, named(n))) }),
				read("Members.changePreferences", func(ctx context.Context, n int) error {
					return m.changePreferences(ctx, named(n), func(*preferenceRow) error { return nil })
				}),
				read("Members.recipients", func(ctx context.Context, n int) error {
					list, err := ids(ctx, n)
					return errors.Join(err, failed(m.recipients(ctx, list)))
				}),
				read("Members.withinScope", func(ctx context.Context, n int) error {
					row, err := messagingtest.Pick(ctx, aside, 1, n)
					return errors.Join(err, m.withinScope(ctx, conversation.Scope{Caisse: "msa-75", AllQueues: true}, row.ID))
				}),
				read("Members.allOfMember", func(ctx context.Context, n int) error { return failed(m.allOfMember(ctx, named(n))) }),
				read("Members.someOfMember", func(ctx context.Context, n int) error {
					list, err := New(Config{DB: aside}).allOfMember(ctx, named(n))
					return errors.Join(err, failed(m.someOfMember(ctx, named(n), list[:min(len(list), ExportPage)])))
				}),
				read("CheckErased", func(ctx context.Context, n int) error {
					if err := CheckErased(ctx, pool, named(n), uuid.New()); !errors.Is(err, pgx.ErrNoRows) {
						return err
					}
					return nil
				}),
				read("ForgetErasedKeys", func(ctx context.Context, _ int) error { return failed(ForgetErasedKeys(ctx, pool, ErasedKeyLife)) }),
				{Of: []string{"Members.eraseAgainAfter"}, Reads: "drafts and members, once after a database came back: they have no index by key", Run: func(ctx context.Context, n int) error {
					row, err := messagingtest.Pick(ctx, aside, 1, n)
					if err != nil {
						return err
					}
					key, before := uuid.New(), row.ID
					before[15]--
					if _, err := aside.Exec(ctx, `UPDATE conversation SET key_id = $2 WHERE id = $1`, row.ID, key); err != nil {
						return err
					}
					_, _, err1 := m.eraseAgainAfter(ctx, before, []uuid.UUID{key})
					_, _, err2 := m.eraseAgainAfter(ctx, uuid.Max, []uuid.UUID{key})
					return errors.Join(err1, err2)
				}},
				{Of: []string{"Members.erase", "Members.keysOf", "eraseConversations"}, Run: func(ctx context.Context, _ int) error {
					member, err := postgres.One[string](ctx, aside, "picking", `SELECT member_id FROM conversation WHERE member_id LIKE 'member:%' ORDER BY id DESC LIMIT 1`)
					return errors.Join(err, failed(m.erase(ctx, member)))
				}},
			}
		},
	}.Test(t)
}
