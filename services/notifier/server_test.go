package notifier

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// However the database is away, callers are told the same.
func TestStatusOf(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]error{"57P03": errUnavailable, "28P01": errUnavailable, "25006": errUnavailable, "53300": errUnavailable, "40P01": errUnavailable} {
		if got := statusOf(fmt.Errorf("asking: %w", &pgconn.PgError{Code: code})); !errors.Is(got, want) {
			t.Errorf("%s: %v", code, got)
		}
	}
	if bug := (&pgconn.PgError{Code: "42P01"}); !errors.Is(statusOf(bug), bug) {
		t.Error("a fault of ours passes for an absence")
	}
}
