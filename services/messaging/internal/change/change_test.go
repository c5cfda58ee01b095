package change

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// newTestChanges returns a group commit of changes that nothing runs yet, with
// conversations to change.
func newTestChanges(t *testing.T, conversations int) (*Changes, *pgxpool.Pool, []uuid.UUID) {
	t.Helper()
	pool := messagingtest.Pool(t)
	ids, err := postgres.Many[uuid.UUID](t.Context(), pool, "opening", `
		INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, queue, queue_label)
		SELECT gen_random_uuid(), 'm' || n, gen_random_uuid(), 'MSA-' || n, 'msa-75', 1, 1, 'sante', 'Santé', 'sante', 'Service santé' FROM generate_series(1, $1::int) n
		RETURNING id`, conversations)
	if err != nil {
		t.Fatal(err)
	}
	return New(pool, nil, func() {}, watch.NewHints(nil), noop.Int64Histogram{}), pool, ids
}

var everything = conversation.Scope{Caisse: "msa-75", AllQueues: true}

// replyTo is a request that stores a reply, spoilt by some of the tests.
func replyTo(id uuid.UUID, spoil ...func(*Change)) Request {
	key := uuid.New()
	return Request{Scope: everything, Agent: &auth.Identity{Subject: "agent:claire"}, ID: id, Key: key, Decide: func(row Current) (*Change, error) {
		if row.Replied {
			return nil, ErrReplied
		}
		agent := "agent:claire"
		message := conversation.Message{ID: uuid.Must(uuid.NewV7()), ConversationID: row.ID, Author: 2, AgentID: &agent, Body: []byte("sealed")}
		todo := &Change{
			Actions: []lifecycle.Action{lifecycle.Reply}, Reply: &Reply{message, key, 1},
			Set: []string{`status = @status`, `last_reply_id = @reply`}, Args: pgx.NamedArgs{"status": int16(4), "reply": message.ID},
			Events: []func(conversation.Row) (outbox.Event, error){func(after conversation.Row) (outbox.Event, error) {
				return outbox.Event{ID: uuid.Must(uuid.NewV7()), Type: "reply-posted", Caisse: after.Caisse, ConversationID: after.ID, Payload: fmt.Append(nil, after.Version)}, nil
			}},
		}
		for _, change := range spoil {
			change(todo)
		}
		return todo, nil
	}}
}

func (c *Changes) enqueue(ctx context.Context, r Request) (outcome func() (conversation.Full, error)) {
	outcome, err := c.Enqueue(ctx, r)
	if err != nil {
		return func() (conversation.Full, error) { return conversation.Full{}, err }
	}
	return outcome
}

func runChanges(t *testing.T, c *Changes) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	group.Go(func() { c.Run(ctx) })
	t.Cleanup(func() { cancel(); group.Wait() })
}

// written counts what changes leave behind, and how many transactions they took.
func written(t *testing.T, pool *pgxpool.Pool) (replies, events, audits, transactions int) {
	t.Helper()
	err := pool.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM message WHERE author = 2),
		       (SELECT count(*) FROM event_log e JOIN outbox o USING (id) WHERE e.type = 'reply-posted'),
		       (SELECT count(*) FROM audit), (SELECT count(DISTINCT xmin::text) FROM message WHERE author = 2)`).Scan(&replies, &events, &audits, &transactions)
	if err != nil {
		t.Fatal(err)
	}
	return replies, events, audits, transactions
}

// What waits is written together.
func TestChanges_CoalesceWhatWaits(t *testing.T) {
	t.Parallel()
	c, pool, ids := newTestChanges(t, 64)
	commits := 0
	c.committed = func() { commits++ }
	var outcomes []func() (conversation.Full, error)
	for _, id := range ids {
		outcomes = append(outcomes, c.enqueue(t.Context(), replyTo(id)))
	}
	runChanges(t, c)
	for i, outcome := range outcomes {
		row, err := outcome()
		if err != nil || row.ID != ids[i] || row.Status != 4 || row.Version != 2 || !row.Unread {
			t.Fatalf("%d: %+v, %v", i, row, err)
		}
	}
	if replies, events, audits, transactions := written(t, pool); replies != 64 || events != 64 || audits != 64 || transactions != 1 || commits != 1 {
		t.Errorf("%d replies, %d events, %d audits in %d transactions, committed called %d times", replies, events, audits, transactions, commits)
	}
}

func TestChanges_BadOneFailsAlone(t *testing.T) {
	t.Parallel()
	errDecided := errors.New("decided against")
	bad := map[string]func(ids []uuid.UUID) Request{
		"the table refuses it": func(ids []uuid.UUID) Request {
			return replyTo(ids[5], func(c *Change) { c.Reply.Chars = text.OfAgent.Max + 1 })
		},
		"the status is none": func(ids []uuid.UUID) Request {
			return replyTo(ids[5], func(c *Change) { c.Args["status"] = int16(99) })
		},
		"there is no conversation": func([]uuid.UUID) Request { return replyTo(uuid.New()) },
		"it is out of scope":       func(ids []uuid.UUID) Request { r := replyTo(ids[5]); r.Scope.Caisse = "msa-29"; return r },
		"it is of another queue": func(ids []uuid.UUID) Request {
			r := replyTo(ids[5])
			r.Scope = conversation.Scope{Caisse: "msa-75", Queues: []string{"other"}}
			return r
		},
		"it is decided against": func(ids []uuid.UUID) Request {
			r := replyTo(ids[5])
			r.Decide = func(Current) (*Change, error) { return nil, errDecided }
			return r
		},
		"its event cannot be stored": func(ids []uuid.UUID) Request {
			return replyTo(ids[5], func(c *Change) {
				c.Events = []func(conversation.Row) (outbox.Event, error){func(conversation.Row) (outbox.Event, error) { return outbox.Event{Type: "a\x00b", ID: uuid.New()}, nil }}
			})
		},
	}
	for name, spoilt := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, pool, ids := newTestChanges(t, 10)
			var outcomes []func() (conversation.Full, error)
			for i, id := range ids {
				r := replyTo(id)
				if i == 5 {
					r = spoilt(ids)
				}
				outcomes = append(outcomes, c.enqueue(t.Context(), r))
			}
			runChanges(t, c)
			for i, outcome := range outcomes {
				if _, err := outcome(); (err != nil) != (i == 5) {
					t.Errorf("change %d: %v", i, err)
				}
			}
			if replies, events, audits, _ := written(t, pool); replies != 9 || events != 9 || audits != 9 {
				t.Errorf("%d replies, %d events, %d audits", replies, events, audits)
			}
		})
	}
}

// Two changes of one conversation go one after the other, the second on what the
// first has left; the same key twice is one reply.
func TestChanges_SameConversationAndSameKey(t *testing.T) {
	t.Parallel()
	c, pool, ids := newTestChanges(t, 2)
	same := replyTo(ids[0])
	outcomes := []func() (conversation.Full, error){
		c.enqueue(t.Context(), replyTo(ids[0])), c.enqueue(t.Context(), replyTo(ids[0])), c.enqueue(t.Context(), same), c.enqueue(t.Context(), same),
	}
	runChanges(t, c)
	versions := map[int32]bool{}
	for i, outcome := range outcomes {
		row, err := outcome()
		if wanted := i >= 3; errors.Is(err, ErrReplied) != wanted || err != nil && !wanted {
			t.Fatalf("%d: %v", i, err)
		}
		versions[row.Version] = true
	}
	if !versions[2] || !versions[3] || !versions[4] {
		t.Errorf("versions %v", versions)
	}
	elsewhere := same
	elsewhere.ID = ids[1]
	if _, err := c.Submit(t.Context(), elsewhere); !errors.Is(err, ErrReplied) {
		t.Errorf("the same key elsewhere: %v", err)
	}
	if replies, _, _, transactions := written(t, pool); replies != 3 || transactions != 3 {
		t.Errorf("%d replies in %d transactions, want 3 in 3", replies, transactions)
	}
}

func TestChanges_SkipWhoHasLeft(t *testing.T) {
	t.Parallel()
	c, pool, ids := newTestChanges(t, 2)
	ctx, leave := context.WithCancel(t.Context())
	gone := c.enqueue(ctx, replyTo(ids[0]))
	waiting := c.enqueue(t.Context(), replyTo(ids[1]))
	leave()
	if _, err := gone(); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left gets %v", err)
	}
	runChanges(t, c)
	if _, err := waiting(); err != nil {
		t.Error(err)
	}
	if replies, _, _, _ := written(t, pool); replies != 1 {
		t.Errorf("%d replies", replies)
	}
}

// A reply whose transaction began first and ended last is still the last one:
// otherwise a member could never mark the conversation as read.
func TestChanges_OvertakenIsStillTheLast(t *testing.T) {
	t.Parallel()
	c, pool, ids := newTestChanges(t, 1)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if _, err := tx.Exec(t.Context(), `SELECT now()`); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.changeMany(t.Context(), []Request{replyTo(ids[0])}); err != nil { // comes later and overtakes
		t.Fatal(err)
	}
	slowly := []Request{replyTo(ids[0])}
	rows, _, err := lockMany(t.Context(), tx, slowly)
	if err != nil {
		t.Fatal(err)
	}
	todo, err := slowly[0].Decide(rows[ids[0]])
	if err != nil {
		t.Fatal(err)
	}
	if err := applyMany(t.Context(), tx, slowly, map[int]*Change{0: todo}, make([]batch.Result[conversation.Full], 1)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	messages, err := conversation.Messages(t.Context(), pool, ids[0])
	if err != nil || len(messages) != 2 || messages[1].ID != todo.Reply.Row.ID {
		t.Errorf("the last message is not %s: %v, %v", todo.Reply.Row.ID, messages, err)
	}
}
