// Package messagingtest gives tests a database with messaging's schema. Only tests import
// it.
package messagingtest

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Pool is a database of the test's own.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Open(t, testenv.Postgres(t, migrations.Files))
}

// Open opens a database until the test ends.
func Open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Patience is how long a test waits for what must come.
const Patience = 30 * time.Second

// Eventually waits for a condition by looking at it.
func Eventually(t *testing.T, what string, true func() bool) {
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
