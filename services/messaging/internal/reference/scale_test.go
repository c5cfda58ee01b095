package reference

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("member", "conversation"),
		Rows: func(pool, _ *pgxpool.Pool) []scale.Row {
			s := New(pool)
			return []scale.Row{
				{Of: []string{"Source.reserve"}, Run: func(ctx context.Context, n int) error {
					_, err := s.reserve(ctx, uint64(n%2))
					return err
				}},
				{Of: []string{"Source.anyUsed"}, Run: func(ctx context.Context, n int) error {
					_, err := s.anyUsed(ctx, []string{"AGED-17", fmt.Sprint("NONE-", n)})
					return err
				}},
			}
		},
	}.Test(t)
}
