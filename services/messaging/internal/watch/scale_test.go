package watch

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("member", "conversation"),
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			tickets, hub := NewTickets(pool), NewHub(pool, nil, nil, nil)
			return []scale.Row{
				{Of: []string{"Tickets.Issue"}, Run: func(ctx context.Context, n int) error {
					_, _, err := tickets.Issue(ctx, &auth.Identity{Subject: fmt.Sprintf("member:%d", n), Realm: auth.RealmMember})
					return err
				}},
				{Of: []string{"Tickets.Redeem"}, Run: func(ctx context.Context, n int) error {
					if _, err := tickets.Redeem(ctx, fmt.Sprint("ticket ", n)); err != nil && !errors.Is(err, ErrTicket) {
						return err
					}
					return nil
				}},
				{Of: []string{"Tickets.Forget"}, Run: func(ctx context.Context, _ int) error {
					_, err := tickets.Forget(ctx, TicketLife)
					return err
				}},
				{Of: []string{"Hub.owners"}, Run: func(ctx context.Context, n int) error {
					ids, err := postgres.Many[uuid.UUID](ctx, aside, "choosing", `SELECT id FROM conversation WHERE caisse = 'msa-75' ORDER BY created_at LIMIT $1`, 20+n)
					if err != nil {
						return err
					}
					_, err = hub.owners(ctx, ids)
					return err
				}},
			}
		},
	}.Test(t)
}
