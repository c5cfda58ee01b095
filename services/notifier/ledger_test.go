package notifier

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
)

func exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(context.WithoutCancel(t.Context()), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// row is what a test looks at.
type row struct {
	State    ledger.State
	Attempts int
	Unknowns int
	Reason   string
	// Wait is next_attempt_at minus now, in whole seconds rounded up; -1 for none.
	Wait int
}

func look(t testing.TB, pool *pgxpool.Pool, event uuid.UUID, channel ledger.Channel) row {
	t.Helper()
	rows, err := pool.Query(context.WithoutCancel(t.Context()), `
		SELECT state, attempts, unknowns, reason, COALESCE(ceil(EXTRACT(epoch FROM next_attempt_at - updated_at)), -1)::int AS wait
		FROM delivery WHERE event_id = $1 AND channel = $2`, event, channel)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[row])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func planOf(channels ...ledger.Channel) []ledger.Plan {
	event, conversation := uuid.New(), uuid.New()
	plans := make([]ledger.Plan, len(channels))
	for i, channel := range channels {
		plans[i] = ledger.Plan{EventID: event, Channel: channel, EventType: ledger.MessageSubmitted, ConversationID: conversation, Caisse: "armorique"}
	}
	return plans
}

func mustPlan(t testing.TB, l *ledger.Ledger, plans []ledger.Plan) int64 {
	t.Helper()
	n, err := l.Plan(t.Context(), plans)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustClaim(t testing.TB, l *ledger.Ledger, channel ledger.Channel, n int) []ledger.Delivery {
	t.Helper()
	claimed, err := l.Claim(t.Context(), channel, n, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return claimed
}

func mustRecord(t testing.TB, l *ledger.Ledger, outcomes ...ledger.Outcome) (late []ledger.Outcome) {
	t.Helper()
	late, err := l.Record(t.Context(), outcomes)
	if err != nil {
		t.Fatal(err)
	}
	return late
}

// lapse ends the leases of all that is being sent.
func lapse(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `UPDATE delivery SET lease_until = now() WHERE state = 'sending'`)
}

// due ends all waits.
func due(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `UPDATE delivery SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL`)
}
