package operator

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// The figures of submissions are the same whether slots have been added up or not, and
// however often; a clock that was ahead keeps none from being counted.
func TestSubmissions(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	run := func(sql string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	run(`INSERT INTO event_log (id, type, caisse, conversation_id, payload, created_at)
		SELECT gen_random_uuid(), type, 'msa-75', gen_random_uuid(), '', date_bin('10 seconds', now(), timestamptz 'epoch') + interval '2 seconds' - age::interval FROM generate_series(1, 3), (VALUES
			('message-submitted', '10 seconds'), ('message-submitted', '4 minutes'), ('message-submitted', '6 minutes'), ('message-submitted', '59 minutes'),
			('message-submitted', '61 minutes'), ('reply-posted', '4 minutes')) AS v (type, age)`)
	slots := func() (n int) {
		t.Helper()
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM submission_slot`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	check := func(when string) {
		t.Helper()
		got, err := status(t.Context(), db, uuid.Nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.GetSubmissionsFiveMinutes() != 6 || got.GetSubmissionsHour() != 12 {
			t.Errorf("%s: %d in five minutes and %d in an hour, want 6 and 12", when, got.GetSubmissionsFiveMinutes(), got.GetSubmissionsHour())
		}
	}
	check("not added up")
	for range 2 {
		if err := FoldSubmissions(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		check("added up")
		if n := slots(); n != 3 { // without what is not past, or too long past
			t.Errorf("%d slots, want 3", n)
		}
	}
	run(`INSERT INTO submission_slot (slot, n) VALUES (now() + interval '1 hour', 9), (now() - interval '3 hours', 9)`)
	check("a clock was ahead")
	if err := FoldSubmissions(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if n := slots(); n != 3 {
		t.Errorf("%d slots, want 3: those to come and old ones are kept", n)
	}
}

// What is due is what the next purge deletes; what was deleted counts for a day.
func TestPurge(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	run := func(sql string, args ...any) {
		t.Helper()
		if _, err := db.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	run(`INSERT INTO purge_slot (slot, n) VALUES (now() - interval '1 hour', 20), (now() - interval '23 hours', 3), (now() - interval '25 hours', 100), (now() + interval '1 hour', 100)`)
	for _, row := range []struct {
		years  any
		status int
		ago    string
		held   bool
	}{
		{nil, 4, "6 years", false},
		{nil, 7, "6 years", true},
		{nil, 1, "6 years", false},
		{nil, 7, "4 years", false},
		{1, 5, "2 years", false},
		{1, 7, "2 years", false},
		{10, 7, "9 years", false},
		{30, 7, "31 years", false},
	} {
		id := messagingtest.Converse(t, db, "nina")
		run(`UPDATE conversation SET status = $2, updated_at = now() - $3::interval, retention_years = $4, held_at = CASE WHEN $5 THEN now() END WHERE id = $1`, id, row.status, row.ago, row.years, row.held)
	}
	noted := messagingtest.Converse(t, db, "nina")
	run(`UPDATE conversation SET status = 7, updated_at = now() - interval '6 years' WHERE id = $1`, noted)
	run(`INSERT INTO note (id, conversation_id, agent_id, agent_name, idempotency_key, body, body_chars) VALUES ($1, $1, 'claire', 'Claire', $1, '', 1)`, noted)
	for keep, want := range map[time.Duration]int64{0: 3, 5 * 366 * 24 * time.Hour: 4} {
		purged, due, err := purge(t.Context(), db, conversation.Retention(keep))
		if purged != 23 || due != want || err != nil {
			t.Errorf("kept for %s: %d deleted, %d due, %v, want 23 and %d", keep, purged, due, err, want)
		}
	}
	run(`INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, queue, queue_label, status, updated_at)
		SELECT gen_random_uuid(), 'old', gen_random_uuid(), 'OLD-' || n, 'msa-75', 1, 1, 'x', 'x', 'x', 'x', 7, now() - interval '6 years' FROM generate_series(1, $1::int) n`, mostDue)
	if _, due, err := purge(t.Context(), db, conversation.Retention(366*24*time.Hour)); due != mostDue || err != nil {
		t.Errorf("%d due, %v, want no more than %d", due, err, mostDue)
	}
}
