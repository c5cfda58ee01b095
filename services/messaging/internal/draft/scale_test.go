package draft

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/etag"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Every statement of this package reads what it returns, in tables that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("draft", "member", "conversation", "agent_draft"),
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			d := New(pool, nil)
			keys := messagingtest.Vault(t, aside)
			a := NewOfAgents(pool, keys)
			// agent begins something in a conversation of msa-75, another each time, if it is to.
			agent := func(of string, begins bool, do func(ctx context.Context, id *auth.Identity, within uuid.UUID) error) scale.Row {
				return scale.Row{Of: []string{of}, Run: func(ctx context.Context, n int) error {
					picked, err := messagingtest.Pick(ctx, aside, 1, n)
					if err != nil {
						return err
					}
					id := &auth.Identity{Subject: fmt.Sprintf("agent:%d", n), Caisse: "msa-75", Queues: []string{auth.AllQueues}}
					if begins {
						key, err := keys.Of(ctx, picked.MemberID)
						if err != nil {
							return err
						}
						if _, err := aside.Exec(ctx, `UPDATE conversation SET key_id = $2 WHERE id = $1`, picked.ID, key.ID); err != nil {
							return err
						}
						if _, err := a.save(ctx, id, &messagingpb.AgentServiceSaveDraftRequest{ConversationId: picked.ID.String()}); err != nil {
							return err
						}
					}
					return do(ctx, id, picked.ID)
				}}
			}
			read := func(of string, do func(ctx context.Context, member string) error) scale.Row {
				return scale.Row{Of: []string{of}, Run: func(ctx context.Context, n int) error { return do(ctx, fmt.Sprintf("member:%d", n)) }}
			}
			failed := func(_ any, err error) error { return err }
			return []scale.Row{
				read("Drafts.save", func(ctx context.Context, member string) error {
					return failed(d.save(ctx, nil, nil, draft{MemberID: member, ID: uuid.New(), Body: []byte("x")}, 0))
				}),
				read("lock", func(ctx context.Context, member string) error {
					written := draft{MemberID: member, ID: uuid.New(), KeyID: uuid.New(), Body: []byte("x")}
					if _, err := d.save(ctx, nil, nil, written, 0); err != nil {
						return err
					}
					return d.remove(ctx, &etag.Condition{Any: true}, member, written.ID)
				}),
				read("Drafts.one", func(ctx context.Context, member string) error {
					if _, err := d.one(ctx, member, uuid.New()); !errors.Is(err, pgx.ErrNoRows) {
						return err
					}
					return nil
				}),
				read("list", func(ctx context.Context, member string) error { return failed(list(ctx, pool, member, nil, Most)) }),
				read("Drafts.remove", func(ctx context.Context, member string) error { return d.remove(ctx, nil, member, uuid.New()) }),
				read("holdOfMember", func(ctx context.Context, _ string) error {
					picked, err := messagingtest.Pick(ctx, aside, 1, 0)
					if err != nil {
						return err
					}
					return failed(d.save(ctx, nil, nil, draft{MemberID: picked.MemberID, ID: picked.ID, Body: []byte("x"), ConversationID: &picked.ID}, 0))
				}),
				agent("AgentDrafts.save", true, func(context.Context, *auth.Identity, uuid.UUID) error { return nil }),
				agent("AgentDrafts.visible", false, func(ctx context.Context, id *auth.Identity, within uuid.UUID) error {
					return failed(a.visible(ctx, pool, id, within, ``))
				}),
				agent("lockOfAgent", true, func(ctx context.Context, id *auth.Identity, within uuid.UUID) error {
					return a.remove(ctx, &etag.Condition{Any: true}, id.Subject, within)
				}),
				agent("AgentDrafts.list", false, func(ctx context.Context, id *auth.Identity, within uuid.UUID) error {
					return errors.Join(failed(a.list(ctx, id, nil, nil, page.Longest+1)), failed(a.list(ctx, id, &within, nil, 1)))
				}),
				agent("AgentDrafts.remove", false, func(ctx context.Context, id *auth.Identity, within uuid.UUID) error {
					return a.remove(ctx, nil, id.Subject, within)
				}),
				read("ForgetOfAgents", func(ctx context.Context, _ string) error { return failed(ForgetOfAgents(ctx, pool, Life)) }),
				read("Forget", func(ctx context.Context, _ string) error { return failed(Forget(ctx, pool, Life)) }),
			}
		},
	}.Test(t)
}
