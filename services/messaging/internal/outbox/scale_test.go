package outbox

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{URL: testenv.Postgres(t, migrations.Files), Fill: messagingtest.Aged("event_log"), Rows: scaleRows}.Test(t)
}

func scaleRows(pool, _ *pgxpool.Pool) []scale.Row {
	s := New(pool)
	failed := func(_ any, err error) error { return err }
	year := 366 * 24 * time.Hour
	return []scale.Row{
		{Of: []string{"Append"}, Run: func(ctx context.Context, _ int) error {
			batch := &pgx.Batch{}
			Append(batch, []Event{{ID: uuid.Must(uuid.NewV7()), Type: "message-submitted", Caisse: "msa-75", ConversationID: uuid.New(), Payload: []byte("x")}})
			return pool.SendBatch(ctx, batch).Close()
		}},
		{Of: []string{"Store.Figures"}, Reads: "what waits, up to 10,000", Run: func(ctx context.Context, _ int) error { return failed(s.Figures(ctx, uuid.Nil)) }},
		{Of: []string{"Store.Stale"}, Run: func(ctx context.Context, _ int) error { return failed(s.Stale(ctx, uuid.Nil, time.Minute)) }},
		{Of: []string{"Store.relay", "Store.settle"}, Planless: 1, Run: func(ctx context.Context, _ int) error { // nothing is refused
			_, _, err := s.relay(ctx, uuid.Nil, relayBatch, func(rows []Row) verdict { return verdict{acked: idsOf(rows[:1])} })
			return err
		}},
		// Requeue is of operators: the same table, by its key.
		{Of: []string{"refuse", "settleRefused", "Drop", "Store.Requeue"}, Planless: 2, Run: func(ctx context.Context, _ int) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				ids := []uuid.UUID{uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())}
				for _, id := range ids {
					if _, err := tx.Exec(ctx, `INSERT INTO outbox (id, type, caisse, conversation_id, payload) VALUES ($1, 'reply-posted', 'msa-75', $1, 'x')`, id); err != nil {
						return err
					}
				}
				if err := refuse(ctx, tx, []refusal{{id: ids[0], reason: "DENIED"}, {id: ids[1], reason: "DENIED"}}); err != nil {
					return err
				}
				rows, err := postgres.Many[Refused](ctx, tx, "reading", `SELECT `+refusedColumns+` FROM outbox_refused LIMIT 2`)
				if err != nil {
					return err
				}
				return errors.Join(settleRefused(ctx, tx, rows, &verdict{acked: ids[:1]}, time.Minute), failed(Drop(ctx, tx, ids[1])))
			})
		}},
		{Of: []string{"Store.retry", "Store.ForgetRefused", "Store.Refused"}, Run: func(ctx context.Context, _ int) error {
			_, err1 := s.retry(ctx, func() time.Duration { return time.Minute }, func([]Refused) verdict { return verdict{} })
			return errors.Join(err1, failed(s.ForgetRefused(ctx, year)), failed(s.Refused(ctx, time.Time{}, uuid.Nil, 20)))
		}},
		{Of: []string{"Store.Digests"}, Reads: "the events of the time asked for", Run: func(ctx context.Context, _ int) error {
			_, _, err := s.Digests(ctx, []string{"message-submitted"}, time.Now().Add(-time.Hour), nil)
			return err
		}},
		{Of: []string{"Store.Events"}, Run: func(ctx context.Context, _ int) error {
			from := time.Now().Add(-5 * time.Hour)
			return errors.Join(failed(s.Events(ctx, []string{"message-submitted"}, from, time.Now(), time.Time{}, uuid.Nil, 101)),
				failed(s.Events(ctx, []string{"message-submitted"}, from, time.Now(), from.Add(time.Hour), uuid.Nil, 101)))
		}},
		// Days are made and dropped without a plan.
		{Of: []string{"Store.arrangeDays", "Store.DropDays", "Store.onDays"}, Planless: 2, Run: func(ctx context.Context, _ int) error {
			return s.arrangeDays(ctx, 1, 300*24*time.Hour)
		}},
		{Of: []string{"Store.ForgetDayless"}, Run: func(ctx context.Context, _ int) error { return failed(s.ForgetDayless(ctx, year)) }},
	}
}
