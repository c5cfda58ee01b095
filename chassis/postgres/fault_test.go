package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// What may be one row's fault is told from a database that is away.
func TestIsBadRow(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"23514": true, // check
		"23505": true, // unique
		"22021": true, // NUL in a text
		"57P01": false, "42P01": false, "40P01": false,
	} {
		if got := postgres.IsBadRow(fmt.Errorf("storing: %w", &pgconn.PgError{Code: code})); got != want {
			t.Errorf("%s: %t", code, got)
		}
	}
	if postgres.IsBadRow(context.Canceled) || postgres.IsBadRow(nil) {
		t.Error("what the database did not say is no bad row")
	}
}

func TestDuplicateOf(t *testing.T) {
	t.Parallel()
	lost := fmt.Errorf("storing: %w", &pgconn.PgError{Code: "23505", ConstraintName: "thing_name_key"})
	if key, is := postgres.DuplicateOf(lost); key != "thing_name_key" || !is || !postgres.IsDuplicate(lost) {
		t.Errorf("%q, %t", key, is)
	}
	for _, err := range []error{nil, context.Canceled, &pgconn.PgError{Code: "23503", ConstraintName: "thing_name_fkey"}} {
		if key, is := postgres.DuplicateOf(err); key != "" || is || postgres.IsDuplicate(err) {
			t.Errorf("%v: %q, %t", err, key, is)
		}
	}
}
