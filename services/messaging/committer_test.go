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

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// newTestCommitter returns a committer that nothing runs yet.
func newTestCommitter(t *testing.T) (*committer, *pgxpool.Pool) {
	t.Helper()
	pool := openPool(t, testenv.Postgres(t, Migrations))
	return newCommitter(&store{pool}, func() {}, noop.Int64Histogram{}), pool
}

// newSubmission is a submission as the server makes it, but for the ciphertexts.
// Each has a reference of its own.
func newSubmission(member string, key uuid.UUID, changes ...func(*submission)) *submission {
	conversation, message := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	sub := &submission{
		conversation: conversationRow{
			ID: conversation, MemberID: member, Reference: "MSA-" + conversation.String(), Caisse: "msa-75", Audience: 1, TaxonomyVersion: 1,
			Theme: "sante", ThemeLabel: "Santé", Queue: "sante", QueueLabel: "Service santé", DataKey: []byte("key"),
		},
		idempotencyKey: key,
		message:        messageRow{ID: message, ConversationID: conversation, Body: []byte("sealed")},
		chars:          MinMemberChars,
		event:          event{id: uuid.Must(uuid.NewV7()), kind: "message-submitted", payload: []byte("payload")},
	}
	for _, change := range changes {
		change(sub)
	}
	return sub
}

// enqueue puts a submission where submit does, before it waits.
func (c *committer) enqueue(ctx context.Context, sub *submission) (outcome func() (time.Time, error)) {
	p := newPending[*submission, time.Time](ctx, sub)
	c.queue <- p
	return func() (time.Time, error) { return c.await(ctx, p) }
}

// storedIDs are the conversations stored with all that belongs to them.
func storedIDs(t *testing.T, pool *pgxpool.Pool) []uuid.UUID {
	t.Helper()
	list, err := many[struct {
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
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }()
	drain = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
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
		outcomes = append(outcomes, c.enqueue(t.Context(), newSubmission("jeanne", uuid.New())))
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
		t.Errorf("%d transactions, told %d times", len(times), commits)
	}
	if n := len(storedIDs(t, pool)); n != 20 {
		t.Errorf("%d stored", n)
	}
}

func TestCommitter_BoundsABatch(t *testing.T) {
	t.Parallel()
	c, _ := newTestCommitter(t)
	for range maxBatch + 1 {
		c.queue <- newPending[*submission, time.Time](t.Context(), newSubmission("jeanne", uuid.New()))
	}
	if n := len(c.gather(<-c.queue)); n != maxBatch {
		t.Errorf("%d in one batch", n)
	}
}

func TestCommitter_BadRowFailsAlone(t *testing.T) {
	t.Parallel()
	bad := map[string]func(*submission){
		"too short for the table": func(s *submission) { s.chars = MinMemberChars - 1 },
		"too long for the table":  func(s *submission) { s.chars = MaxMemberChars + 1 },
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
					outcomes = append(outcomes, c.enqueue(t.Context(), sub))
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
		first = append(first, c.enqueue(t.Context(), newSubmission("jeanne", key)))
	}
	other := c.enqueue(t.Context(), newSubmission("marc", key))
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
	at, err := c.submit(t.Context(), newSubmission("jeanne", key)) // in a later one
	if err != nil || !at.IsZero() {
		t.Errorf("%v, %v", at, err)
	}
	if n := len(storedIDs(t, pool)); n != 2 {
		t.Errorf("%d stored", n)
	}
}

func TestCommitter_SkipsWhoHasLeft(t *testing.T) {
	t.Parallel()
	c, pool := newTestCommitter(t)
	ctx, leave := context.WithCancel(t.Context())
	gone := c.enqueue(ctx, newSubmission("jeanne", uuid.New()))
	stays := newSubmission("jeanne", uuid.New())
	waiting := c.enqueue(t.Context(), stays)
	leave()
	if _, err := gone(); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left gets %v", err)
	}
	runCommitter(t, c)
	if at, err := waiting(); err != nil || at.IsZero() {
		t.Errorf("who waits gets %v, %v", at, err)
	}
	if got := storedIDs(t, pool); !slices.Equal(got, []uuid.UUID{stays.conversation.ID}) {
		t.Errorf("stored %v", got)
	}
}

// Whatever was in the queue when the end came is stored, and everybody is told
// so: a caller that wakes late finds both its answer and the committer stopped.
func TestCommitter_DrainAnswersAll(t *testing.T) {
	t.Parallel()
	c, pool := newTestCommitter(t)
	const waiting = 2*maxBatch + 1
	var outcomes []func() (time.Time, error)
	for i := range waiting {
		sub := newSubmission(fmt.Sprint("m", i), uuid.New())
		outcomes = append(outcomes, c.enqueue(t.Context(), sub))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.run(ended); err != nil {
		t.Fatal(err)
	}
	for _, outcome := range outcomes {
		if at, err := outcome(); err != nil || at.IsZero() {
			t.Fatal(at, err)
		}
	}
	if n := len(storedIDs(t, pool)); n != waiting {
		t.Errorf("%d of %d stored", n, waiting)
	}
	late := newSubmission("jeanne", uuid.New())
	if _, err := c.submit(t.Context(), late); !errors.Is(err, errDraining) {
		t.Errorf("who comes later gets %v", err)
	}
}

// A connection that is cut is not the caller's fault, nor the rows'.
func TestCommitter_WritesAgainAfterALostConnection(t *testing.T) {
	t.Parallel()
	c, pool := newTestCommitter(t)
	runCommitter(t, c)
	for i := range 5 {
		if at, err := c.submit(t.Context(), newSubmission("jeanne", uuid.New())); err != nil || at.IsZero() {
			t.Fatal(at, err)
		}
		cutSessions(t, pool)
		if n := i + 1; len(storedIDs(t, openPool(t, pool.Config().ConnString()))) != n {
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

// What has waited for half of its caller's time is not begun, and its caller is told while
// there is time; what is late for the queue is not taken into it.
func TestCommitter_LateWorkIsNotBegun(t *testing.T) {
	t.Parallel()
	c, pool := newTestCommitter(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	late, inTime := newPending[*submission, time.Time](ctx, newSubmission("late", uuid.New())), newPending[*submission, time.Time](ctx, newSubmission("jeanne", uuid.New()))
	if left := time.Until(late.until); left > 30*time.Minute || left < 29*time.Minute {
		t.Errorf("of an hour it waits for %s, want half", left)
	}
	late.until = time.Now().Add(-time.Nanosecond)
	c.flush([]*pending[*submission, time.Time]{late, inTime})
	if at, err := c.await(ctx, late); !errors.Is(err, errCrowded) || !at.IsZero() {
		t.Errorf("late: %s, %v", at, err)
	}
	if at, err := c.await(ctx, inTime); err != nil || at.IsZero() {
		t.Errorf("in time: %s, %v", at, err)
	}
	if got := storedIDs(t, pool); len(got) != 1 || got[0] != inTime.work.conversation.ID {
		t.Errorf("stored %v, want what was in time alone", got)
	}
	for range cap(c.queue) {
		c.queue <- inTime
	}
	brief, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if _, err := c.submit(brief, newSubmission("paul", uuid.New())); !errors.Is(err, errCrowded) || brief.Err() != nil {
		t.Errorf("a queue that is full: %v, %v", err, brief.Err())
	}
	var refusal *rpc.Error
	if err := statusOf(fmt.Errorf("storing: %w", errCrowded)); !errors.As(err, &refusal) || refusal.Code != codes.Unavailable {
		t.Errorf("the caller is told %v", err)
	}
}
