package messaging

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
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

// change is what an agent does to a conversation, inside changeMany's transaction.
type change struct {
	// set are the assignments of the update, with their arguments.
	set  []string
	args pgx.NamedArgs
	// reply is inserted when not nil.
	reply *reply
	// event is published when not nil; the row's version is then counted up.
	event func(conversation.Row) (outbox.Event, error)
	// action goes into the audit.
	action lifecycle.Action
}

type reply struct {
	row   conversation.Message
	key   uuid.UUID
	chars int
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

// changeMany locks conversations, has each request decide what to do with its own,
// and does it with its events in one transaction. It returns what became of each,
// and of what others must be told. The requests must be for different
// conversations.
func (c *changes) changeMany(ctx context.Context, requests []request) (done []batch.Result[conversation.Full], untold news, err error) {
	err = pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		done, untold = make([]batch.Result[conversation.Full], len(requests)), news{}
		rows, replied, err := lockMany(ctx, tx, requests)
		if err != nil {
			return err
		}
		todo := make(map[int]*change)
		for i, r := range requests {
			row, ok := rows[r.id]
			if !ok || !r.scope.Covers(&row.Row) {
				done[i].Err = errNotFound
				continue
			}
			row.Replied = replied[replyKey{r.agent, r.scope.Member, r.key}]
			change, err := r.decide(row)
			done[i] = batch.Result[conversation.Full]{Value: conversation.Full{Row: row.Row}, Err: err}
			if err == nil && change != nil {
				todo[i] = change
			}
		}
		if len(todo) == 0 {
			return nil
		}
		if err := applyMany(ctx, tx, requests, todo, done); err != nil {
			return err
		}
		for i := range todo {
			untold.hints = append(untold.hints, hintsOf(todo[i], rows[requests[i].id].Row, done[i].Value.Row)...)
		}
		untold.published, err = recordMany(ctx, tx, requests, todo, done)
		return err
	})
	if err != nil {
		untold = news{}
	}
	return done, untold, err
}

// news is what is told of changes after their commit.
type news struct {
	// published: there are events in the outbox.
	published bool
	hints     []watch.Hint
}

// hintsOf is what the event of a change, if it has one, leaves untold.
func hintsOf(done *change, before, after conversation.Row) (list []watch.Hint) {
	if done.event == nil {
		list = append(list, watch.Hint{Conversation: after.ID, Agents: before.Status == after.Status})
	}
	if before.Queue != after.Queue { // the event goes to those of the new one
		list = append(list, watch.Hint{Conversation: after.ID, Caisse: before.Caisse, Queue: before.Queue})
	}
	return list
}

// replyKey is what a message is told apart by, whatever its conversation: who wrote it, and
// their key.
type replyKey struct {
	AgentID        string    `db:"agent_id"`
	MemberID       string    `db:"member_id"`
	IdempotencyKey uuid.UUID `db:"idempotency_key"`
}

// current is a conversation as it is under its lock.
type current struct {
	conversation.Row
	// SMSOnReply: its member wishes an SMS about replies.
	SMSOnReply bool `db:"sms_on_reply" sql:"coalesce((SELECT m.sms_on_reply FROM member AS m WHERE m.id = conversation.member_id), false)"`
	// Replied: a message is stored under the request's key.
	Replied bool `db:"-"`
}

var currentColumns = postgres.Columns[current]()

// lockMany locks conversations in the order of their ids and finds out which of the
// messages' keys are taken, in one round trip.
func lockMany(ctx context.Context, tx pgx.Tx, requests []request) (map[uuid.UUID]current, map[replyKey]bool, error) {
	var ids, keys, memberKeys []uuid.UUID
	var agents, members []string
	for _, r := range requests {
		ids = append(ids, r.id)
		switch {
		case r.key == uuid.Nil:
		case r.agent != "":
			keys, agents = append(keys, r.key), append(agents, r.agent)
		default:
			memberKeys, members = append(memberKeys, r.key), append(members, r.scope.Member)
		}
	}
	batch := &pgx.Batch{}
	if len(memberKeys) > 0 {
		queueKeyLocks(batch, members, memberKeys)
	}
	rows, replied := make(map[uuid.UUID]current, len(ids)), make(map[replyKey]bool)
	batch.Queue(`SELECT `+currentColumns+` FROM conversation WHERE id = ANY($1) ORDER BY id FOR UPDATE`, ids).Query(func(found pgx.Rows) error {
		locked, err := pgx.CollectRows(found, pgx.RowToStructByName[current])
		for _, row := range locked {
			rows[row.ID] = row
		}
		return err
	})
	if len(keys)+len(memberKeys) > 0 {
		queueTaken(batch, agents, keys, members, memberKeys, replied)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, nil, fmt.Errorf("locking %d conversations: %w", len(ids), err)
	}
	return rows, replied, nil
}

// queueTaken queues what finds the keys under which messages are stored. It comes after the
// locks: whoever had them before has committed its message.
func queueTaken(batch *pgx.Batch, agents []string, keys []uuid.UUID, members []string, memberKeys []uuid.UUID, replied map[replyKey]bool) {
	batch.Queue(`
		SELECT agent_id, '' AS member_id, idempotency_key FROM message
		WHERE (agent_id, idempotency_key) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))
		UNION ALL
		SELECT '', c.member_id, m.idempotency_key
		FROM unnest($3::text[], $4::uuid[]) AS asked (member_id, key)
		JOIN message m ON m.author = 1 AND m.idempotency_key = asked.key AND m.idempotency_key IS NOT NULL
		JOIN conversation c ON c.id = m.conversation_id AND c.member_id = asked.member_id`, agents, keys, members, memberKeys).Query(func(found pgx.Rows) error {
		taken, err := pgx.CollectRows(found, pgx.RowToStructByName[replyKey])
		for _, key := range taken {
			replied[key] = true
		}
		return err
	})
}

// queueKeyLocks has the same key of the same member, in two conversations at once, wait for
// each other. No unique index could: a message does not have its member. All take these locks
// before those of conversations, and in one order.
func queueKeyLocks(batch *pgx.Batch, members []string, keys []uuid.UUID) {
	batch.Queue(`SELECT pg_advisory_xact_lock(lock) FROM (
		SELECT DISTINCT hashtextextended(member_id || ' ' || key, 0) AS lock
		FROM unnest($1::text[], $2::uuid[]) AS asked (member_id, key) ORDER BY lock) AS locks`, members, keys)
}

// applyMany inserts the replies and updates the conversations, in one round trip,
// and puts the rows as they are then into done.
func applyMany(ctx context.Context, tx pgx.Tx, requests []request, todo map[int]*change, done []batch.Result[conversation.Full]) error {
	batch := &pgx.Batch{}
	for _, i := range slices.Sorted(maps.Keys(todo)) {
		change := todo[i]
		if change.reply != nil {
			queueReply(batch, change.reply)
		}
		set := change.set
		if change.event != nil {
			set = append(set, `version = version + 1`, `updated_at = clock_timestamp()`)
		}
		args := pgx.NamedArgs{"id": requests[i].id}
		maps.Copy(args, change.args)
		batch.Queue(`UPDATE conversation SET `+strings.Join(set, ", ")+` WHERE id = @id RETURNING `+conversation.Columns, args).
			Query(func(rows pgx.Rows) (err error) {
				done[i].Value.Row, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[conversation.Row])
				return err
			})
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("changing %d conversations: %w", len(todo), err)
	}
	return nil
}

// queueReply stores a reply under the lock on its conversation. Its time is that
// of now, not of the transaction's beginning: of two replies at once, the one that
// got the lock last must be the last, or the member could not mark it as read.
func queueReply(batch *pgx.Batch, r *reply) {
	batch.Queue(`
		INSERT INTO message (id, conversation_id, author, agent_id, idempotency_key, final, body, body_chars, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())`,
		r.row.ID, r.row.ConversationID, r.row.Author, r.row.AgentID, r.key, r.row.Final, r.row.Body, r.chars)
}

// recordMany writes the events of changes to the log and the outbox, and the
// audit, in the transaction of what they tell.
func recordMany(ctx context.Context, tx pgx.Tx, requests []request, todo map[int]*change, done []batch.Result[conversation.Full]) (published bool, err error) {
	var audited []conversation.Audited
	var events []outbox.Event
	batch := &pgx.Batch{}
	for _, i := range slices.Sorted(maps.Keys(todo)) {
		if requests[i].agent != "" { // what a member does is no act of the fund's
			audited = append(audited, conversation.Audited{AgentID: requests[i].agent, Action: todo[i].action, ConversationID: requests[i].id})
		}
		if requests[i].full {
			conversation.QueueRead(batch, requests[i].id, &done[i].Value)
		}
		if todo[i].event == nil {
			continue
		}
		happened, err := todo[i].event(done[i].Value.Row)
		if err != nil {
			return false, err
		}
		events = append(events, happened)
	}
	if len(audited) > 0 {
		conversation.QueueAudit(batch, audited)
	}
	if len(events) > 0 {
		outbox.Append(batch, events)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return false, fmt.Errorf("storing %d events: %w", len(events), err)
	}
	return len(events) > 0, nil
}
