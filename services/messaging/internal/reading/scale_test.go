package reading

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
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
		URL: testenv.Postgres(t, migrations.Files), Fill: fill,
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			failed := func(_ any, err error) error { return err }
			return []scale.Row{
				{Of: []string{"Count"}, Reads: "what judge does", Run: func(ctx context.Context, _ int) error {
					_, err := aside.Exec(ctx, `UPDATE reading_progress SET counted = now()`)
					_, _, fault := Count(ctx, pool)
					return errors.Join(err, fault)
				}},
				{Of: []string{"countHours"}, Run: func(ctx context.Context, _ int) error {
					return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return countHours(ctx, tx, time.Now().Add(-2*time.Hour), time.Now()) })
				}},
				{Of: []string{"judge"}, Planless: 1, Reads: "the readings of a day, and those of four weeks of whoever has many", Run: func(ctx context.Context, _ int) error {
					return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return failed(judge(ctx, tx)) })
				}},
				{Of: []string{"Unusual"}, Run: func(ctx context.Context, _ int) error { return failed(Unusual(ctx, pool, caisse)) }},
				{Of: []string{"CountUnusual"}, Run: func(ctx context.Context, _ int) error { return failed(CountUnusual(ctx, pool)) }},
				{Of: []string{"Forget"}, Run: func(ctx context.Context, _ int) error { return failed(Forget(ctx, pool, Life)) }},
			}
		},
	}.Test(t)
}

// fill makes an audit of years, and as many hours of some hundred readers.
func fill(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
	if err := messagingtest.Aged("member", "conversation", "audit")(ctx, pool, from, to); err != nil {
		return err
	}
	_, err := pool.Exec(ctx, `
		INSERT INTO reading_hour (caisse, agent_id, hour, agent_name, n)
		SELECT (ARRAY['msa-75', 'msa-35'])[1 + n % 2], 'agent-' || n / 600, date_bin('1 hour', now(), timestamptz 'epoch') - interval '1 hour' * (n % 600), 'Claire', 1 + n % 9
		FROM generate_series($1::int, $2::int - 1) n ON CONFLICT DO NOTHING`, from, to)
	return err
}
