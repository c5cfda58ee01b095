package messaging

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// maxChanges bounds one transaction of agents' changes, whose conversations stay
// locked until it commits.
const maxChanges = 128

// request is what an agent wants done to a conversation.
type request struct {
	scope conversation.Scope
	agent string
	id    uuid.UUID
	// key is a reply's idempotency key; zero for other changes.
	key uuid.UUID
	// full: what was written in the conversation is to be read in the same transaction.
	full bool
	// decide says what to do with the conversation as it is, under its lock;
	// nothing is nil.
	decide func(now current) (*change, error)
}

// changes is the group commit of what agents do: claims, replies, ends.
//
// What is promised: Submit returns the conversation as it is after the commit of
// the transaction that changed it, with its event and its audit. A change that is
// refused, by its decision or by the database, fails alone. Of two changes of one
// conversation, the second decides on what the first has left.
//
// How: a batch locks its conversations with one statement in the order of their
// ids, so that two processes never wait for each other, decides each, and writes
// all in two further round trips. A second change of the same conversation, or
// under the same key, waits for the next transaction. When the database refuses a
// batch's data, the halves are tried apart, down to single changes.
//
// When it breaks: a connection lost during the commit leaves the outcome unknown,
// and every caller of the batch gets the error. A reply is then tried again with
// its key, which finds what was stored; a claim is renewed; an end is found ended.
type changes struct {
	*batch.Group[request, conversation.Full]
	pool *pgxpool.Pool
	// committed is called after each commit that published something, and hints gets what
	// is not published.
	committed func()
	hints     *watch.Hints
}

func newChanges(pool *pgxpool.Pool, committed func(), told *watch.Hints, sizes metric.Int64Histogram) *changes {
	c := &changes{pool: pool, committed: committed, hints: told}
	c.Group = batch.New(batch.Config[request, conversation.Full]{
		Do: c.apply, Most: maxChanges, Divide: postgres.IsBadRow, Conflict: collides, Sizes: sizes,
	})
	return c
}

func collides(a, b request) bool {
	return a.id == b.id || a.key != uuid.Nil && a.key == b.key && a.agent == b.agent && a.scope.Member == b.scope.Member
}

// apply does changes of different conversations in one transaction.
func (c *changes) apply(ctx context.Context, requests []request) (done []batch.Result[conversation.Full], err error) {
	var untold news
	err = postgres.Again(ctx, func() (err error) { done, untold, err = c.changeMany(ctx, requests); return err })
	if err != nil {
		return nil, err
	}
	if untold.published {
		c.committed()
	}
	c.hints.Tell(untold.hints...)
	return done, nil
}
