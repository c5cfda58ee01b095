// Package messagingtest gives tests a database with messaging's schema. Only tests import
// it.
package messagingtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Pool is a database of the test's own.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Open(t, testenv.Postgres(t, migrations.Files))
}

// Vault is a vault of the test's own for a database, which runs until the test ends.
func Vault(t testing.TB, data *pgxpool.Pool) *vault.Vault {
	t.Helper()
	secret, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	keyset, err := vault.OpenKeyset(secret)
	if err != nil {
		t.Fatal(err)
	}
	keys := vault.New(vault.Config{DB: Open(t, testenv.Postgres(t, vault.Migrations)), Data: data, Keyset: keyset})
	if _, err := keys.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); _ = keys.Run(ctx) }()
	t.Cleanup(func() { end(); <-ended })
	return keys
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
