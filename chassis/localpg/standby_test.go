package localpg_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
)

// A standby has what its primary committed and takes no writes; promoted, it goes on
// alone, and the former primary can follow it in turn.
func TestFollow(t *testing.T) {
	t.Parallel()
	waits := map[string]string{"synchronous_standby_names": "*"}
	dirs := []string{folder(t), folder(t)}
	first := start(t, localpg.Options{Dir: dirs[0], Durable: true})
	second, err := localpg.Follow(t.Context(), first, localpg.Options{Dir: dirs[1], Durable: true, Settings: waits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, second) })
	if err := write(t.Context(), first, "to the first"); err != nil {
		t.Fatal(err)
	}
	var fault *pgconn.PgError
	if err := write(t.Context(), second, "too early"); !errors.As(err, &fault) || fault.Code != "25006" {
		t.Errorf("writing to a standby: %v", err)
	}
	stop(t, first) // which waits until the standby has all
	if err := second.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	third, err := localpg.Follow(t.Context(), second, localpg.Options{Dir: dirs[0], Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, third) })
	// The second waits for a standby to have what it commits: there is one.
	if err := write(t.Context(), second, "to the second"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, third); got != "to the first,to the second" {
		t.Errorf("the standby of the second has %q", got)
	}
}
