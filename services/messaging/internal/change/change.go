// Package change is how conversations change once they are there: what agents do, and further
// messages of members. A [Request] decides under the lock of its conversation; [Changes]
// commits many together, with their events, messages and audit.
package change

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// most bounds one transaction, whose conversations stay locked until it commits.
const most = 128

// Changes is the group commit of changes to conversations: agents' claims, replies and
// closings, and members' follow-ups.
//
// What is promised: Submit returns the conversation as it is after the commit of
// the transaction that changed it, with its event and, for an agent's change, its
// audit. A change that is refused, by its decision or by the database, fails alone.
// Of two changes of one conversation, the second decides on what the first has left.
//
// A reply is later than every message that is there, by its time too, whatever the database's
// clock says: of two, the one that got the lock last is the last.
//
// How: a batch locks its conversations with one statement in the order of their
// ids, so that two processes never wait for each other, decides each, and writes
// all in two further round trips. A second change of the same conversation, or
// under the same key, waits for the next transaction. When the database refuses a
// batch's data, each half is tried on its own, down to single changes.
//
// When it breaks: a connection lost during the commit leaves the outcome unknown,
// and every caller of the batch gets the error. A reply or a follow-up is then
// retried with its key, which finds what was stored; a claim is renewed; a closed
// conversation is found closed.
type Changes struct {
	*batch.Group[Request, conversation.Full]
	pool *pgxpool.Pool
	keys *vault.Vault
	// committed is called after each commit that appended an event, and hints gets the
	// changes without one.
	committed func()
	hints     *watch.Hints
}

// New returns a group that nothing runs yet. committed is called after each commit that
// appended an event; hints gets the changes without one, sizes the number of changes in each
// transaction.
func New(pool *pgxpool.Pool, keys *vault.Vault, committed func(), hints *watch.Hints, sizes metric.Int64Histogram) *Changes {
	c := &Changes{pool: pool, keys: keys, committed: committed, hints: hints}
	c.Group = batch.New(batch.Config[Request, conversation.Full]{
		Do: c.apply, Most: most, Divide: postgres.IsBadRow, Conflict: collides, Sizes: sizes,
	})
	return c
}

// Submit has a change made, see [Changes]. A decision that needs a key that is not in memory
// is made anew once it is: the vault is not asked while conversations are locked.
func (c *Changes) Submit(ctx context.Context, r Request) (conversation.Full, error) {
	done, err := c.Group.Submit(ctx, r)
	var needed *vault.NeededError
	if errors.As(err, &needed) {
		if _, err := c.keys.Key(ctx, needed.Member, needed.ID); err != nil {
			return done, err
		}
		return c.Group.Submit(ctx, r)
	}
	return done, err
}

// Request is what somebody wants done to a conversation.
type Request struct {
	// Scope is what they may see; the conversation of another is [pgx.ErrNoRows].
	Scope conversation.Scope
	// Agent is the calling agent; nil for a member.
	Agent *auth.Identity
	ID    uuid.UUID
	// Key is the idempotency key of a reply or follow-up; zero for other changes.
	Key uuid.UUID
	// Full: what was written in the conversation is to be read in the same transaction.
	Full bool
	// Decide says what to do with the conversation as it is, under its lock;
	// nothing is nil.
	Decide func(now Current) (*Change, error)
}

// Change is what is done to a conversation.
type Change struct {
	// Set are the assignments of the update, with their arguments.
	Set  []string
	Args pgx.NamedArgs
	// Reply is inserted when not nil.
	Reply *Reply
	// Note is inserted when not nil: an agent's, for colleagues.
	Note *conversation.NewNote
	// Events are published, in this order; the row's version is counted up by each.
	Events []func(conversation.Row) (outbox.Event, error)
	// Actions go into the audit, with the Target that they have.
	Actions []lifecycle.Action
	Target  string
}

// Reply is a message that is stored with a change, an agent's or a member's.
type Reply struct {
	Row   conversation.Message
	Key   uuid.UUID
	Chars int
}

// notices are what a commit causes: the relay is woken, and hints are sent.
type notices struct {
	// events: there are new events in the outbox.
	events bool
	hints  []watch.Hint
}

// hintsOf are the hints of a change: one if it has no event, and one for the agents of the
// queue that the conversation left.
func hintsOf(done *Change, before, after conversation.Row) (list []watch.Hint) {
	if len(done.Events) == 0 {
		list = append(list, watch.Hint{Conversation: after.ID, Agents: before.Status == after.Status})
	}
	if before.Queue != after.Queue { // the event goes to those of the new one
		list = append(list, watch.Hint{Conversation: after.ID, Caisse: before.Caisse, Queue: before.Queue})
	}
	return list
}

// Current is a conversation as it is under its lock.
type Current struct {
	conversation.Row
	// Standing is what it is for an agent's change; zero for a member's.
	Standing conversation.Standing `db:"-"`
	// Replied: a message is stored under the request's key.
	Replied bool `db:"-"`
}

var currentColumns = postgres.Columns[Current]()

// ErrReplied is the refusal of a decision where a message is stored under the key.
var ErrReplied = errors.New("replied already")
