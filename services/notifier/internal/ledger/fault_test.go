package ledger

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// However the database is away, callers are told the same.
func TestStatusOf(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]error{"57P03": ErrUnavailable, "28P01": ErrUnavailable, "25006": ErrUnavailable, "53300": ErrUnavailable, "40P01": ErrUnavailable} {
		if got := StatusOf(fmt.Errorf("asking: %w", &pgconn.PgError{Code: code})); !errors.Is(got, want) {
			t.Errorf("%s: %v", code, got)
		}
	}
	if bug := (&pgconn.PgError{Code: "42P01"}); !errors.Is(StatusOf(bug), bug) {
		t.Error("a fault of ours passes for an absence")
	}
}
