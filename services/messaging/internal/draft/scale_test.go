package draft

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/etag"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Every statement of this package reads what it returns, in tables that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("draft", "member"),
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			d := New(pool, nil)
			read := func(of string, do func(ctx context.Context, member string) error) scale.Row {
				return scale.Row{Of: []string{of}, Run: func(ctx context.Context, n int) error { return do(ctx, fmt.Sprintf("member:%d", n)) }}
			}
			failed := func(_ any, err error) error { return err }
			return []scale.Row{
				read("Drafts.save", func(ctx context.Context, member string) error {
					return failed(d.save(ctx, nil, nil, draft{MemberID: member, ID: uuid.New(), Body: []byte("x")}))
				}),
				read("lock", func(ctx context.Context, member string) error {
					written := draft{MemberID: member, ID: uuid.New(), KeyID: uuid.New(), Body: []byte("x")}
					if _, err := d.save(ctx, nil, nil, written); err != nil {
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
				read("Forget", func(ctx context.Context, _ string) error { return failed(Forget(ctx, pool, Life)) }),
			}
		},
	}.Test(t)
}
