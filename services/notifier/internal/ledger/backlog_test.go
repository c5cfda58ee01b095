package ledger

import (
	"maps"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// tallied is what waits and what is dead, counted and as it is kept.
func tallied(t *testing.T, l *Ledger) (counted, kept map[string]int) {
	t.Helper()
	read := func(key, from string) map[string]int {
		rows, err := l.pool.Query(t.Context(), `SELECT concat_ws('/', `+key+`), sum(n)::int FROM `+from+` GROUP BY 1 HAVING sum(n) <> 0`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		found := make(map[string]int)
		for rows.Next() {
			var key string
			var n int
			if err := rows.Scan(&key, &n); err != nil {
				t.Fatal(err)
			}
			found[key] = n
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		return found
	}
	counted, kept = make(map[string]int), make(map[string]int)
	for _, k := range []tally{tallyBacklog, tallyDeadLetters, tallyDeadDays} {
		maps.Copy(counted, read(k.key, `(`+k.count+`) AS counted`))
		maps.Copy(kept, read(k.key, k.kept()))
	}
	return counted, kept
}

// What waits is known at any time: before it was counted once, after, and whoever changes
// what, by whatever statement.
func TestBacklog(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	agree := func(when string) {
		t.Helper()
		if counted, kept := tallied(t, l); !maps.Equal(counted, kept) {
			t.Errorf("%s: %v is kept, %v is counted", when, kept, counted)
		}
	}
	fold := func() {
		t.Helper()
		if err := l.Fold(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var all []Plan
	for range 8 {
		all = append(all, planOf(Email, SMS)...)
	}
	notifiertest.Plan(t, l, all[:10])
	notifiertest.Exec(t, l.pool, `INSERT INTO set_aside (message_id, type, payload, reason) VALUES ('0', 'x', '', 'UNREADABLE')`)
	agree("before it was counted")
	fold()
	agree("counted")
	notifiertest.Plan(t, l, all) // ten of them again
	agree("planned")
	for _, sql := range []string{
		`UPDATE delivery SET state = 'refused', reason = 'HTTP_400', next_attempt_at = NULL WHERE channel = 'EMAIL'`,
		`UPDATE delivery SET reason = 'HTTP_422' WHERE channel = 'EMAIL'`,
		`UPDATE delivery SET state = 'suppressed', reason = 'NO_PHONE', next_attempt_at = NULL WHERE channel = 'SMS'`,
		`UPDATE delivery SET reason = 'PHONE_INVALID' WHERE channel = 'SMS'`,
		`UPDATE delivery SET dropped_at = now() WHERE channel = 'EMAIL'`,
		`UPDATE delivery SET dropped_at = NULL, state = 'planned', next_attempt_at = now() WHERE channel = 'EMAIL'`,
		`UPDATE delivery SET state = 'sending', next_attempt_at = NULL, lease_until = now(), attempt_id = gen_random_uuid() WHERE channel = 'EMAIL'`,
		`UPDATE delivery SET lease_until = now() WHERE channel = 'EMAIL'`,
		`UPDATE delivery SET state = 'delivered', lease_until = NULL WHERE channel = 'EMAIL'`,
		`UPDATE delivery SET state = 'bounced' WHERE channel = 'EMAIL'`,
		`UPDATE delivery SET updated_at = updated_at - interval '3 days' WHERE channel = 'EMAIL'`,
		`DELETE FROM delivery WHERE channel = 'SMS'`,
		`INSERT INTO set_aside (message_id, type, payload, reason, ended_at) SELECT n::text, 'x', '', 'UNREADABLE', CASE n WHEN 5 THEN now() END FROM generate_series(1, 5) n`,
		`INSERT INTO set_aside (message_id, type, payload, reason) VALUES ('1', 'x', '', 'UNREADABLE') ON CONFLICT DO NOTHING`,
		`UPDATE set_aside SET note = 'x'`,
		`UPDATE set_aside SET ended_at = now() WHERE message_id = '1'`,
		`DELETE FROM set_aside WHERE message_id IN ('1', '2')`,
	} {
		notifiertest.Exec(t, l.pool, sql)
		agree(sql)
	}
	fold()
	agree("folded")
	if n, err := l.DeadLetterCount(t.Context()); n != 8+3 || err != nil {
		t.Errorf("%d dead letters, %v, want 8 deliveries and 3 events", n, err)
	}
	var left int
	if err := l.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM backlog_change) + (SELECT count(*) FROM dead_letter_change) + (SELECT count(*) FROM dead_letter_day_change)`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d changes are left, %v", left, err)
	}
}

// Counting for the first time, adding up and sending go on side by side.
func TestBacklog_SideBySide(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	const planners, each = 4, 30
	var group sync.WaitGroup
	for range planners {
		group.Go(func() {
			for range each {
				notifiertest.Plan(t, l, []Plan{{EventID: uuid.Must(uuid.NewV7()), Channel: Email, EventType: ReplyPosted, ConversationID: uuid.New(), Caisse: "x"}})
				claimed, err := l.Claim(t.Context(), Email, 2, smsLifetime)
				if err != nil {
					t.Error(err)
				}
				var outcomes []Outcome
				for _, d := range claimed {
					outcomes = append(outcomes, Outcome{Delivery: d, State: Accepted, Class: provider.Accepted})
				}
				if _, err := l.Record(t.Context(), outcomes[:min(1, len(outcomes))]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		group.Go(func() {
			for range each {
				if err := l.Fold(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	counted, kept := tallied(t, l)
	if !maps.Equal(counted, kept) || len(counted) == 0 {
		t.Errorf("%v is kept, %v is counted", kept, counted)
	}
}
