package taxonomy

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("member"), // there are as many versions as publications
		Rows: func(pool, _ *pgxpool.Pool) []scale.Row {
			v := New(nil, pool, time.Hour)
			return []scale.Row{
				{Of: []string{"Versions.save"}, Run: func(ctx context.Context, n int) error {
					return v.save(ctx, &taxonomypb.Catalogue{Version: int32(1000 + n)})
				}},
				{Of: []string{"Versions.read"}, Run: func(ctx context.Context, _ int) error {
					_, err1 := v.Kept(ctx, 1000)
					_, err2 := v.newest(ctx)
					return errors.Join(err1, err2)
				}},
			}
		},
	}.Test(t)
}
