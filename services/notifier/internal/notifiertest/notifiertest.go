// Package notifiertest is what the notifier's tests share: a database with its schema and
// what they do to it, and what a test's process tells. Only tests import it.
//
// It imports none of the notifier's packages but the migrations, so that their internal
// tests can use it, and takes their types as they come.
package notifiertest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/notifier/migrations"
)

// Pool is a database of the test's own.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Open(t, testenv.Postgres(t, migrations.Files))
}

// Open opens a database until the test ends.
func Open(t testing.TB, url string, options ...postgres.Option) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Exec runs a statement, also while the test ends.
func Exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(context.WithoutCancel(t.Context()), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// Lapse ends the leases of all that is being sent.
func Lapse(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	Exec(t, pool, `UPDATE delivery SET lease_until = now() WHERE state = 'sending'`)
}

// Due ends all waits.
func Due(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	Exec(t, pool, `UPDATE delivery SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL`)
}

// Row is what a test looks at of a delivery.
type Row[State ~string] struct {
	State    State
	Attempts int
	Unknowns int
	Reason   string
	// Wait is next_attempt_at minus now, in whole seconds rounded up; -1 for none.
	Wait int
}

// Look reads a delivery.
func Look[State, Channel ~string](t testing.TB, pool *pgxpool.Pool, event uuid.UUID, channel Channel) Row[State] {
	t.Helper()
	rows, err := pool.Query(context.WithoutCancel(t.Context()), `
		SELECT state, attempts, unknowns, reason, COALESCE(ceil(EXTRACT(epoch FROM next_attempt_at - updated_at)), -1)::int AS wait
		FROM delivery WHERE event_id = $1 AND channel = $2`, event, channel)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Row[State]])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Plan plans deliveries and returns how many were new.
func Plan[P any](t testing.TB, ledger interface {
	Plan(ctx context.Context, plans []P) (int64, error)
}, plans []P,
) int64 {
	t.Helper()
	n, err := ledger.Plan(t.Context(), plans)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Claim claims up to n deliveries of a channel for a minute.
func Claim[Channel, Delivery any](t testing.TB, ledger interface {
	Claim(ctx context.Context, channel Channel, n int, lease time.Duration) ([]Delivery, error)
}, channel Channel, n int,
) []Delivery {
	t.Helper()
	claimed, err := ledger.Claim(t.Context(), channel, n, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return claimed
}

// Record records outcomes and returns those that came too late.
func Record[Outcome any](t testing.TB, ledger interface {
	Record(ctx context.Context, outcomes []Outcome) ([]Outcome, error)
}, outcomes ...Outcome,
) (late []Outcome) {
	t.Helper()
	late, err := ledger.Record(t.Context(), outcomes)
	if err != nil {
		t.Fatal(err)
	}
	return late
}

// Sweep ends the waits that are over.
func Sweep[Swept any](t testing.TB, ledger interface {
	Sweep(ctx context.Context) (Swept, error)
},
) {
	t.Helper()
	if _, err := ledger.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Patience is how long a test waits for what must come.
const Patience = 30 * time.Second

// Eventually waits for a condition by looking at it.
func Eventually(t testing.TB, what string, true func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(Patience)
	for !true() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited %s until %s", Patience, what)
		}
	}
}
