package operator

import (
	"testing"

	"github.com/google/uuid"

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
