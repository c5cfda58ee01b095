package outbox

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

// days are the partitions of the event log.
func days(t *testing.T, s *Store) (names []string) {
	t.Helper()
	rows, err := postgres.Many[struct {
		Name string `db:"name"`
	}](t.Context(), s.pool, "listing", `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'event_log'::regclass ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		names = append(names, row.Name)
	}
	return names
}

func TestKeepDays(t *testing.T) {
	t.Parallel()
	stage := newTables(t)
	s := stage.Store
	now := time.Now().UTC()
	for range 2 {
		if err := s.arrangeDays(t.Context(), 2, 15*24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{dayName(now), dayName(now.AddDate(0, 0, 1)), dayName(now.AddDate(0, 0, 2)), "event_log_default"}
	if got := days(t, s); !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	// A day far ahead has no partition yet, and takes events all the same; so
	// does one whose partition cannot be made any more.
	ahead := now.AddDate(0, 0, 3)
	stage.logEvent(t, eventspb.TypeReplyPosted, ahead)
	if err := s.arrangeDays(t.Context(), 4, 15*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	stage.logEvent(t, eventspb.TypeReplyPosted, ahead)
	if got := days(t, s); slices.Contains(got, dayName(ahead)) || !slices.Contains(got, dayName(now.AddDate(0, 0, 4))) {
		t.Errorf("%v", got)
	}
	// Old days go, and nothing younger.
	for _, age := range []int{14, 15, 16, 40} {
		day := now.AddDate(0, 0, -age).Truncate(24 * time.Hour)
		if err := s.onDays(t.Context(), fmt.Sprintf(`CREATE TABLE %s PARTITION OF event_log FOR VALUES FROM ('%s') TO ('%s')`,
			dayName(day), day.Format(time.RFC3339), day.AddDate(0, 0, 1).Format(time.RFC3339))); err != nil {
			t.Fatal(err)
		}
		stage.logEvent(t, eventspb.TypeReplyPosted, day.Add(time.Hour))
	}
	stage.logEvent(t, eventspb.TypeReplyPosted, now.AddDate(0, 0, -50))
	if err := s.arrangeDays(t.Context(), 0, 15*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if n, err := s.ForgetDayless(t.Context(), 15*24*time.Hour); n != 1 || err != nil {
		t.Errorf("%d events of no day, %v, want 1", n, err)
	}
	var oldest time.Time
	if err := s.pool.QueryRow(t.Context(), `SELECT min(created_at) FROM event_log`).Scan(&oldest); err != nil {
		t.Fatal(err)
	}
	if kept := now.AddDate(0, 0, -15).Truncate(24 * time.Hour); !oldest.Equal(kept.Add(time.Hour)) {
		t.Errorf("the oldest is of %s, want %s", oldest, kept)
	}
}

// A table that is busy makes nobody wait: the days are kept another time.
func TestKeepDays_GivesUp(t *testing.T) {
	t.Parallel()
	s := newTables(t).Store
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE event_log IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	if err := s.arrangeDays(t.Context(), 0, 0); err == nil {
		t.Error("a partition was made in spite of the lock")
	}
}
