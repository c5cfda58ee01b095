package messaging

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// A submission whose (member, key) is stored leaves no trace in any table, and is
// missing from the result.
func TestStore_ConflictWritesNothing(t *testing.T) {
	t.Parallel()
	pool := messagingtest.Pool(t)
	s := newStore(pool)
	first, fresh := newSubmission("jeanne", uuid.New()), newSubmission("jeanne", uuid.New())
	if stored, err := s.insertSubmissions(t.Context(), []*submission{first}); err != nil || len(stored) != 1 {
		t.Fatal(stored, err)
	}
	again := newSubmission("jeanne", first.idempotencyKey)
	stored, err := s.insertSubmissions(t.Context(), []*submission{again, fresh})
	if err != nil || len(stored) != 1 || stored[fresh.conversation.ID].IsZero() {
		t.Errorf("%v, %v", stored, err)
	}
	if n := len(storedIDs(t, pool)); n != 2 {
		t.Errorf("%d whole conversations", n)
	}
	for _, table := range []string{"conversation", "message", "event_log", "outbox"} {
		var n int
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil || n != 2 {
			t.Errorf("%d rows in %s, %v", n, table, err)
		}
	}
	conversation, message, err := s.submitted(t.Context(), "jeanne", first.idempotencyKey)
	if err != nil || conversation.ID != first.conversation.ID || message.ID != first.message.ID {
		t.Errorf("%v, %v, %v", conversation.ID, message.ID, err)
	}
	if _, _, err := s.submitted(t.Context(), "marc", first.idempotencyKey); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("another member's key: %v", err)
	}
}

// Each value is in its own column of each table, which is its value here.
func TestStore_ColumnsOfASubmission(t *testing.T) {
	t.Parallel()
	pool := messagingtest.Pool(t)
	sub := newSubmission("member_id", uuid.New(), func(sub *submission) {
		c := &sub.conversation.Opened
		c.Reference, c.Caisse, c.Audience, c.TaxonomyVersion, c.AnswerDays = "reference", "caisse", 2, 3, 4
		c.Theme, c.ThemeLabel, c.Topic, c.TopicLabel, c.Reason, c.ReasonLabel = "theme", "theme_label", "topic", "topic_label", "reason", "reason_label"
		c.Queue, c.QueueLabel = "queue", "queue_label"
		sub.message.Body, sub.chars = []byte("body"), 11
		sub.event.Type, sub.event.Payload, sub.event.Trace = "type", []byte("payload"), "trace"
	})
	if stored, err := newStore(pool).insertSubmissions(t.Context(), []*submission{sub}); err != nil || len(stored) != 1 {
		t.Fatal(stored, err)
	}
	sealed := func(text string) string { return fmt.Sprintf(`\x%x`, text) }
	for table, row := range map[string]struct {
		others map[string]string
		named  int
	}{
		"conversation": {named: 11, others: map[string]string{
			"id": sub.conversation.ID.String(), "idempotency_key": sub.idempotencyKey.String(), "audience": "2", "taxonomy_version": "3", "answer_days": "4", "key_id": sub.conversation.KeyID.String(),
		}},
		"message": {others: map[string]string{
			"id": sub.message.ID.String(), "conversation_id": sub.conversation.ID.String(), "author": "1", "body": sealed("body"), "body_chars": "11",
		}},
		"event_log": {named: 2, others: map[string]string{
			"id": sub.event.ID.String(), "conversation_id": sub.conversation.ID.String(), "payload": sealed("payload"),
		}},
		"outbox": {named: 3, others: map[string]string{
			"id": sub.event.ID.String(), "conversation_id": sub.conversation.ID.String(), "payload": sealed("payload"),
		}},
	} {
		columns, err := postgres.Many[struct {
			Key   string  `db:"key"`
			Value *string `db:"value"`
		}](t.Context(), pool, "reading", `SELECT key, value FROM `+table+` AS t, jsonb_each_text(to_jsonb(t))`)
		if err != nil {
			t.Fatal(err)
		}
		named := 0
		for _, c := range columns {
			if want, ok := row.others[c.Key]; ok && (c.Value == nil || *c.Value != want) {
				t.Errorf("%s.%s is %v, want %s", table, c.Key, c.Value, want)
			}
			if c.Value != nil && *c.Value == c.Key {
				named++
			}
		}
		if named != row.named {
			t.Errorf("%s: %d columns have their names, want %d: %v", table, named, row.named, columns)
		}
	}
}

// In a young installation, whose tables PostgreSQL has no statistics of yet, a batch looks its
// conversations up all the same: the plan that it settles on then stays for a while, and would
// read a table that has grown meanwhile.
func TestInsertSubmissions_PlansOfAYoungDatabase(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), testenv.Postgres(t, Migrations))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `SET plan_cache_mode = force_generic_plan`); err != nil {
		t.Fatal(err)
	}
	whole := regexp.MustCompile(`Seq Scan on (conversation|message|event_log|outbox)\b`)
	for name, sql := range map[string]string{"insertion": insertSubmissionsSQL, "lookup": failErasedSQL} {
		statement, err := conn.Prepare(t.Context(), name, sql)
		if err != nil {
			t.Fatal(err)
		}
		nulls := strings.TrimSuffix(strings.Repeat("NULL,", len(statement.ParamOIDs)), ",")
		rows, err := conn.Query(t.Context(), `EXPLAIN EXECUTE `+name+` (`+nulls+`)`, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Join(plan, "\n"); whole.MatchString(lines) {
			t.Errorf("the %s reads a whole table:\n%s", name, lines)
		}
	}
}
