package template

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

func failed(_ any, err error) error { return err }

// Every statement of this package reads what it returns, in tables that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("member"),
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			s := &Templates{DB: pool}
			return []scale.Row{
				{Of: []string{"Templates.templates"}, Run: func(ctx context.Context, _ int) error { return failed(s.templates(ctx, "msa-75", "queue-1")) }},
				{Of: []string{"Templates.saveTemplate"}, Run: func(ctx context.Context, n int) error {
					return failed(s.saveTemplate(ctx, savedTemplate{Caisse: "msa-75", UpdatedBy: "claire", template: template{ID: uuid.New(), Title: fmt.Sprint("titre ", n), Text: "x"}}))
				}},
				{Of: []string{"Templates.deleteTemplate"}, Run: func(ctx context.Context, _ int) error { return s.deleteTemplate(ctx, "msa-75", uuid.New()) }},
			}
		},
	}.Test(t)
}
