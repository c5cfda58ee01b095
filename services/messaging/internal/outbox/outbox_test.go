package outbox

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

const deniedCaisse = "msa-33"

var deniedSubject = eventspb.Subject(eventspb.TypeMessageSubmitted, deniedCaisse)

// tables are those of a database and a broker of the test's own.
type tables struct {
	*Store
	broker *testenv.Broker
}

func newTables(t testing.TB) *tables {
	t.Helper()
	return &tables{New(messagingtest.Pool(t)), testenv.NATS(t)}
}

// connect returns a bus whose stream is there. The broker fsyncs before it acknowledges.
func (s *tables) connect(t testing.TB) *bus.Bus {
	t.Helper()
	events, err := bus.Connect("test", bus.Config{URL: s.broker.URL, Replicas: 1, MaxBytes: 1 << 30}, bus.Stream{
		Name: eventspb.StreamName, Subjects: []string{eventspb.SubjectPrefix + ">"},
		MaxAge: eventspb.MaxAge, DuplicateWindow: eventspb.DuplicateWindow,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(events.Close)
	if err := events.EnsureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	return events
}

// fill appends events and returns their ids.
func (s *tables) fill(t testing.TB, n int) (ids []uuid.UUID) {
	t.Helper()
	return s.fillFor(t, "msa-75", n)
}

func (s *tables) fillFor(t testing.TB, caisse string, n int) (ids []uuid.UUID) {
	t.Helper()
	events := make([]Event, n)
	for i := range events {
		events[i] = Event{ID: uuid.Must(uuid.NewV7()), Type: eventspb.TypeMessageSubmitted, Caisse: caisse, ConversationID: uuid.New(), Payload: []byte("x")}
		ids = append(ids, events[i].ID)
	}
	batch := &pgx.Batch{}
	Append(batch, events)
	if err := s.pool.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Fatal(err)
	}
	return ids
}

// setAside puts events among those that are refused, as they are after so many tries.
func (s *tables) setAside(t testing.TB, caisse string, n int) (ids []uuid.UUID) {
	t.Helper()
	ids = s.fillFor(t, caisse, n)
	if _, err := s.pool.Exec(t.Context(), `
		WITH moved AS (DELETE FROM outbox WHERE id = ANY($1) RETURNING `+columns+`)
		INSERT INTO outbox_refused (`+columns+`, reason, tries, set_aside_at, next_try)
		SELECT `+columns+`, 'DENIED', 8, now(), now() + interval '1 minute' FROM moved`, ids); err != nil {
		t.Fatal(err)
	}
	return ids
}

// hurry makes refused events due, as if nothing had happened since their last try but
// what the relay has seen.
func (s *tables) hurry(t testing.TB) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), `UPDATE outbox_refused SET next_try = now(), tried_at = now() - interval '1 minute'`); err != nil {
		t.Fatal(err)
	}
}

// logEvent puts an event into the log at a time.
func (s *tables) logEvent(t testing.TB, kind string, at time.Time) {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO event_log (id, type, caisse, conversation_id, payload, created_at) VALUES ($1, $2, 'msa-75', $1, '', $3)`, id, kind, at); err != nil {
		t.Fatal(err)
	}
}

func (s *tables) count(t testing.TB, sql string, args ...any) int {
	t.Helper()
	n, err := postgres.One[int](t.Context(), s.pool, "counting", sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What is appended is in the log and in the outbox, each value in its own column.
func TestAppend(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	want := Event{ID: uuid.Must(uuid.NewV7()), Type: "type", Caisse: "caisse", ConversationID: uuid.New(), Payload: []byte("payload"), Trace: "trace"}
	batch := &pgx.Batch{}
	Append(batch, []Event{want})
	if err := s.pool.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Fatal(err)
	}
	for table, trace := range map[string]string{"outbox": "trace", "event_log": "'trace' AS trace"} {
		got, err := postgres.One[Event](t.Context(), s.pool, "reading", `SELECT id, type, caisse, conversation_id, payload, `+trace+` FROM `+table)
		if err != nil || got.ID != want.ID || got.Type != want.Type || got.Caisse != want.Caisse || got.ConversationID != want.ConversationID ||
			string(got.Payload) != "payload" || got.Trace != "trace" {
			t.Errorf("%s: %+v, %v", table, got, err)
		}
	}
}
