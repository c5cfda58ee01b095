package messaging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// newTestCommitter returns a committer that nothing runs yet.
func newTestCommitter(t *testing.T) (*committer, *pgxpool.Pool) {
	t.Helper()
	pool := messagingtest.Pool(t)
	return newCommitter(newStore(pool), func() {}, noop.Int64Histogram{}), pool
}

// newSubmission is a submission as the server makes it, but for the ciphertexts.
// Each has a reference of its own.
func newSubmission(member string, key uuid.UUID, changes ...func(*submission)) *submission {
	id, message := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	sub := &submission{
		conversation: conversation.Row{Opened: conversation.Opened{
			ID: id, MemberID: member, Reference: "MSA-" + id.String(), Caisse: "msa-75", Audience: 1, TaxonomyVersion: 1,
			Theme: "sante", ThemeLabel: "Santé", Queue: "sante", QueueLabel: "Service santé", KeyID: uuid.New(),
		}},
		idempotencyKey: key,
		message:        conversation.Message{ID: message, ConversationID: id, Body: []byte("sealed")},
		chars:          text.OfMember.Min,
		event:          outbox.Event{ID: uuid.Must(uuid.NewV7()), Type: "message-submitted", Payload: []byte("payload")},
	}
	for _, change := range changes {
		change(sub)
	}
	return sub
}

// enqueue puts a submission where Submit does, before it waits.
func (c *committer) enqueue(t *testing.T, sub *submission) (outcome func() (time.Time, error)) {
	t.Helper()
	outcome, err := c.Enqueue(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// storedIDs are the conversations stored with all that belongs to them.
func storedIDs(t *testing.T, pool *pgxpool.Pool) []uuid.UUID {
	t.Helper()
	list, err := postgres.Many[struct {
		ID uuid.UUID `db:"id"`
	}](t.Context(), pool, "listing", `SELECT c.id FROM conversation c JOIN message m ON m.conversation_id = c.id
		JOIN event_log e ON e.conversation_id = c.id JOIN outbox o ON o.id = e.id ORDER BY c.id`)
	if err != nil {
		t.Fatal(err)
	}
	var ids []uuid.UUID
	for _, row := range list {
		ids = append(ids, row.ID)
	}
	return ids
}

// runCommitter starts a committer and returns a function that drains it.
func runCommitter(t *testing.T, c *committer) (drain func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	drain = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(drain)
	return drain
}

// What waits is written together: the same transaction, so the same time.
func TestCommitter_CoalescesWhatWaits(t *testing.T) {
	t.Parallel()
	c, pool := newTestCommitter(t)
	commits := 0
	c.committed = func() { commits++ }
	var outcomes []func() (time.Time, error)
	for range 20 {
		outcomes = append(outcomes, c.enqueue(t, newSubmission("jeanne", uuid.New())))
	}
	drain := runCommitter(t, c)
	times := make(map[time.Time]bool)
	for _, outcome := range outcomes {
		at, err := outcome()
		if err != nil || at.IsZero() {
			t.Fatal(at, err)
		}
		times[at] = true
	}
	drain()
	if len(times) != 1 || commits != 1 {
		t.Errorf("%d transactions, committed called %d times", len(times), commits)
	}
	if n := len(storedIDs(t, pool)); n != 20 {
		t.Errorf("%d stored", n)
	}
}

func TestCommitter_BadRowFailsAlone(t *testing.T) {
	t.Parallel()
	bad := map[string]func(*submission){
		"too short for the table": func(s *submission) { s.chars = text.OfMember.Min - 1 },
		"too long for the table":  func(s *submission) { s.chars = text.OfMember.Max + 1 },
		"no such audience":        func(s *submission) { s.conversation.Audience = 4 },
		"NUL in a text column":    func(s *submission) { s.conversation.ThemeLabel = "a\x00b" },
		"a reference of another":  func(s *submission) { s.conversation.Reference = "MSA-TAKEN" },
	}
	for name, spoil := range bad {
		for _, place := range []int{0, 5, 9} {
			t.Run(fmt.Sprint(name, " at ", place), func(t *testing.T) {
				t.Parallel()
				c, pool := newTestCommitter(t)
				taken := newSubmission("marc", uuid.New(), func(s *submission) { s.conversation.Reference = "MSA-TAKEN" })
				if _, err := c.store.insertSubmissions(t.Context(), []*submission{taken}); err != nil {
					t.Fatal(err)
				}
				want := []uuid.UUID{taken.conversation.ID}
				var outcomes []func() (time.Time, error)
				for i := range 10 {
					sub := newSubmission("jeanne", uuid.New())
					if i == place {
						spoil(sub)
					} else {
						want = append(want, sub.conversation.ID)
					}
					outcomes = append(outcomes, c.enqueue(t, sub))
				}
				runCommitter(t, c)
				for i, outcome := range outcomes {
					if at, err := outcome(); (err != nil) != (i == place) || at.IsZero() != (i == place) {
						t.Errorf("submission %d: %v, %v", i, at, err)
					}
				}
				if got := storedIDs(t, pool); !slices.Equal(got, want) {
					t.Errorf("stored %v, want %v", got, want)
				}
			})
		}
	}
}

func TestCommitter_SameKey(t *testing.T) {
	t.Parallel()
	c, pool := newTestCommitter(t)
	key := uuid.New()
	var first []func() (time.Time, error)
	for range 3 { // in one batch
		first = append(first, c.enqueue(t, newSubmission("jeanne", key)))
	}
	other := c.enqueue(t, newSubmission("marc", key))
	runCommitter(t, c)
	stored := 0
	for _, outcome := range first {
		at, err := outcome()
		if err != nil {
			t.Fatal(err)
		}
		if !at.IsZero() {
			stored++
		}
	}
	if at, err := other(); err != nil || at.IsZero() || stored != 1 {
		t.Errorf("%d of jeanne's stored; marc's: %v, %v", stored, at, err)
	}
	at, err := c.Submit(t.Context(), newSubmission("jeanne", key)) // in a later one
	if err != nil || !at.IsZero() {
		t.Errorf("%v, %v", at, err)
	}
	if n := len(storedIDs(t, pool)); n != 2 {
		t.Errorf("%d stored", n)
	}
}

// Whatever was in the queue at shutdown is stored, and every caller gets its result:
// a caller that wakes late finds both its answer and the committer stopped.
func TestCommitter_DrainAnswersAll(t *testing.T) {
	t.Parallel()
	c, pool := newTestCommitter(t)
	const waiting = 2*maxBatch + 1
	var outcomes []func() (time.Time, error)
	for i := range waiting {
		sub := newSubmission(fmt.Sprint("m", i), uuid.New())
		outcomes = append(outcomes, c.enqueue(t, sub))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	c.Run(ended)
	for _, outcome := range outcomes {
		if at, err := outcome(); err != nil || at.IsZero() {
			t.Fatal(at, err)
		}
	}
	if n := len(storedIDs(t, pool)); n != waiting {
		t.Errorf("%d of %d stored", n, waiting)
	}
	late := newSubmission("jeanne", uuid.New())
	if _, err := c.Submit(t.Context(), late); !errors.Is(err, batch.ErrStopped) {
		t.Errorf("who comes later gets %v", err)
	}
}

// A connection that is cut is not the caller's fault, nor the rows'.
func TestCommitter_WritesAgainAfterALostConnection(t *testing.T) {
	t.Parallel()
	c, pool := newTestCommitter(t)
	runCommitter(t, c)
	for i := range 5 {
		if at, err := c.Submit(t.Context(), newSubmission("jeanne", uuid.New())); err != nil || at.IsZero() {
			t.Fatal(at, err)
		}
		cutSessions(t, pool)
		if n := i + 1; len(storedIDs(t, messagingtest.Open(t, pool.Config().ConnString()))) != n {
			t.Errorf("not %d stored", n)
		}
	}
	if !strings.Contains(logs.String(), "writing again after a lost connection") {
		t.Error("no connection was lost")
	}
}

// cutSessions ends the other sessions of a pool's database, as a restart of the
// server does.
func cutSessions(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	admin, err := pgconn.Connect(t.Context(), pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// A refusal because of the load, or the shutdown, is UNAVAILABLE: the caller retries.
func TestCommitter_RefusalsAreTemporary(t *testing.T) {
	t.Parallel()
	for _, err := range []error{batch.ErrCrowded, batch.ErrStopped} {
		var refusal *rpc.Error
		if err := refusalOf(fmt.Errorf("storing: %w", err)); !errors.As(err, &refusal) || refusal.Code != codes.Unavailable {
			t.Errorf("the caller gets %v", err)
		}
	}
}
