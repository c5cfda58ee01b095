package change

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
)

// changeMany locks conversations, has each request decide what to do with its own,
// and does it with its events in one transaction. It returns the result of each,
// and the notices that are due. The requests must be for different conversations.
func (c *Changes) changeMany(ctx context.Context, requests []Request) (done []batch.Result[conversation.Full], due notices, err error) {
	err = pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		done, due = make([]batch.Result[conversation.Full], len(requests)), notices{}
		rows, replied, err := lockMany(ctx, tx, requests)
		if err != nil {
			return err
		}
		todo := make(map[int]*Change)
		for i, r := range requests {
			row, ok := rows[r.ID]
			if !ok || !r.Scope.Covers(&row.Row) {
				done[i].Err = pgx.ErrNoRows
				continue
			}
			row.Replied = replied[r.key()]
			change, err := r.Decide(row)
			done[i] = batch.Result[conversation.Full]{Value: conversation.Full{Row: row.Row, Standing: row.Standing}, Err: err}
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
			due.hints = append(due.hints, hintsOf(todo[i], rows[requests[i].ID].Row, done[i].Value.Row)...)
		}
		due.events, err = recordMany(ctx, tx, requests, rows, todo, done)
		return err
	})
	if err != nil {
		due = notices{}
	}
	return done, due, err
}

// agent is the id of the calling agent; empty for a member.
func (r *Request) agent() string {
	if r.Agent == nil {
		return ""
	}
	return r.Agent.Subject
}

func (r *Request) key() messageKey { return messageKey{r.agent(), r.Scope.Member, r.Key} }

// messageKey identifies a message across conversations: who wrote it, and their idempotency
// key.
type messageKey struct {
	AgentID        string    `db:"agent_id"`
	MemberID       string    `db:"member_id"`
	IdempotencyKey uuid.UUID `db:"idempotency_key"`
}

// lockMany locks conversations in the order of their ids and finds out which of the
// messages' keys are taken, in one round trip.
func lockMany(ctx context.Context, tx pgx.Tx, requests []Request) (map[uuid.UUID]Current, map[messageKey]bool, error) {
	var ids, worked, keys, memberKeys []uuid.UUID
	var agents, members []string
	for _, r := range requests {
		ids = append(ids, r.ID)
		if r.Agent != nil {
			worked = append(worked, r.ID)
		}
		switch {
		case r.Key == uuid.Nil:
		case r.Agent != nil:
			keys, agents = append(keys, r.Key), append(agents, r.Agent.Subject)
		default:
			memberKeys, members = append(memberKeys, r.Key), append(members, r.Scope.Member)
		}
	}
	batch := &pgx.Batch{}
	if len(memberKeys) > 0 {
		queueKeyLocks(batch, members, memberKeys)
	}
	rows, replied := make(map[uuid.UUID]Current, len(ids)), make(map[messageKey]bool)
	batch.Queue(`SELECT `+currentColumns+` FROM conversation WHERE id = ANY($1) ORDER BY id FOR UPDATE`, ids).Query(func(found pgx.Rows) error {
		locked, err := pgx.CollectRows(found, pgx.RowToStructByName[Current])
		for _, row := range locked {
			rows[row.ID] = row
		}
		return err
	})
	if len(keys)+len(memberKeys) > 0 {
		queueTaken(batch, agents, keys, members, memberKeys, replied)
	}
	if len(worked) > 0 {
		queueStandings(batch, worked, rows)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, nil, fmt.Errorf("locking %d conversations: %w", len(ids), err)
	}
	return rows, replied, nil
}

// queueStandings queues what finds the last messages of conversations. It comes after the
// locks, as queueTaken does, and reads no more than what was written since the member's last
// message.
func queueStandings(batch *pgx.Batch, ids []uuid.UUID, rows map[uuid.UUID]Current) {
	batch.Queue(`
		SELECT asked.id, newest.id AS last_message_id, EXISTS (
			SELECT FROM message WHERE conversation_id = asked.id AND (created_at, id) > (members.created_at, members.id) AND author = 2 AND final
		) AS answered
		FROM unnest($1::uuid[]) AS asked (id),
		LATERAL (SELECT id FROM message WHERE conversation_id = asked.id ORDER BY created_at DESC, id DESC LIMIT 1) AS newest,
		LATERAL (SELECT created_at, id FROM message WHERE conversation_id = asked.id AND author = 1 ORDER BY created_at DESC, id DESC LIMIT 1) AS members`,
		ids).Query(func(found pgx.Rows) error {
		standings, err := pgx.CollectRows(found, pgx.RowToStructByName[struct {
			ID uuid.UUID `db:"id"`
			conversation.Standing
		}])
		for _, standing := range standings {
			row := rows[standing.ID]
			row.Standing = standing.Standing
			rows[standing.ID] = row
		}
		return err
	})
}

// queueTaken queues what finds the keys under which messages are stored. It comes after the
// locks: whoever had them before has committed its message.
func queueTaken(batch *pgx.Batch, agents []string, keys []uuid.UUID, members []string, memberKeys []uuid.UUID, replied map[messageKey]bool) {
	batch.Queue(`
		SELECT agent_id, '' AS member_id, idempotency_key FROM message
		WHERE (agent_id, idempotency_key) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))
		UNION ALL
		SELECT '', c.member_id, m.idempotency_key
		FROM unnest($3::text[], $4::uuid[]) AS given (member_id, key)
		JOIN message m ON m.author = 1 AND m.idempotency_key = given.key AND m.idempotency_key IS NOT NULL
		JOIN conversation c ON c.id = m.conversation_id AND c.member_id = given.member_id`, agents, keys, members, memberKeys).Query(func(found pgx.Rows) error {
		taken, err := pgx.CollectRows(found, pgx.RowToStructByName[messageKey])
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
		FROM unnest($1::text[], $2::uuid[]) AS given (member_id, key) ORDER BY lock) AS locks`, members, keys)
}

// applyMany inserts the replies and updates the conversations, in one round trip,
// and puts the rows as they are then into done.
func applyMany(ctx context.Context, tx pgx.Tx, requests []Request, todo map[int]*Change, done []batch.Result[conversation.Full]) error {
	batch := &pgx.Batch{}
	for _, i := range slices.Sorted(maps.Keys(todo)) {
		change := todo[i]
		if change.Reply != nil {
			queueReply(batch, change.Reply)
			done[i].Value.Standing = done[i].Value.After(&change.Reply.Row)
		}
		if change.Note != nil {
			conversation.QueueNote(batch, *change.Note, new(bool))
		}
		set, args := change.Set, pgx.NamedArgs{"id": requests[i].ID}
		maps.Copy(args, change.Args)
		if change.Reply != nil {
			set = append(set, `newest_message_id = @newest`)
			args["newest"] = change.Reply.Row.ID
		}
		if n := len(change.Events); n > 0 {
			set = append(set, `version = version + @events`, `updated_at = clock_timestamp()`)
			args["events"] = n
		}
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

// storedMessage is what is given of a row of the table message.
type storedMessage struct {
	ID             uuid.UUID `db:"id"`
	ConversationID uuid.UUID `db:"conversation_id"`
	Author         int16     `db:"author"`
	AgentID        *string   `db:"agent_id"`
	AgentName      *string   `db:"agent_name"`
	Machine        *bool     `db:"machine"`
	Service        *string   `db:"service"`
	IdempotencyKey uuid.UUID `db:"idempotency_key"`
	Final          bool      `db:"final"`
	Body           []byte    `db:"body"`
	BodyChars      int16     `db:"body_chars"`
}

var (
	storedMessages = postgres.RowsOf[storedMessage]()

	storeSQL = `INSERT INTO message (` + storedMessages.Columns() + `, created_at)
		SELECT ` + storedMessages.Columns() + `, greatest(clock_timestamp(), (
			SELECT created_at + interval '1 microsecond' FROM message
			WHERE conversation_id = given.conversation_id ORDER BY created_at DESC, id DESC LIMIT 1))
		FROM ` + storedMessages.From("given", 1)
)

// queueReply stores a reply under the lock on its conversation. Its time is that of now, not
// of the transaction's beginning, and behind that of every message before it, also after the
// clock went back: the one that got the lock last must be the last, or the member could not
// mark it as read, and an agent could answer what they have not seen.
func queueReply(batch *pgx.Batch, r *Reply) {
	batch.Queue(storeSQL, storedMessages.Args([]storedMessage{{
		ID: r.Row.ID, ConversationID: r.Row.ConversationID, Author: r.Row.Author, AgentID: r.Row.AgentID, IdempotencyKey: r.Key,
		AgentName: r.Row.AgentName, Machine: r.Row.Machine, Service: r.Row.Service, Final: r.Row.Final, Body: r.Row.Body, BodyChars: int16(r.Chars), //nolint:gosec // at most 5,000
	}})...)
}

// recordMany writes the events of changes to the log and the outbox, and the
// audit, in the transaction of the changes themselves.
func recordMany(ctx context.Context, tx pgx.Tx, requests []Request, rows map[uuid.UUID]Current, todo map[int]*Change, done []batch.Result[conversation.Full]) (published bool, err error) {
	var audited []conversation.Audited
	var events []outbox.Event
	batch := &pgx.Batch{}
	for _, i := range slices.Sorted(maps.Keys(todo)) {
		if requests[i].Agent != nil { // a member's change is not audited
			before := rows[requests[i].ID] // its service was in charge
			for _, action := range todo[i].Actions {
				act := conversation.By(requests[i].Agent, action, &before.Row)
				act.Target = todo[i].Target
				audited = append(audited, act)
			}
		}
		if requests[i].Full {
			conversation.QueueRead(batch, requests[i].ID, &done[i].Value)
			if requests[i].Agent != nil {
				conversation.QueueAccount(batch, done[i].Value.MemberID, &done[i].Value)
			}
		}
		for n, event := range todo[i].Events {
			after := done[i].Value.Row
			after.Version -= int32(len(todo[i].Events) - 1 - n) //nolint:gosec // of a few
			happened, err := event(after)
			if err != nil {
				return false, err
			}
			events = append(events, happened)
		}
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

func collides(a, b Request) bool {
	return a.ID == b.ID || a.Key != uuid.Nil && a.key() == b.key()
}

// apply does changes of different conversations in one transaction.
func (c *Changes) apply(ctx context.Context, requests []Request) (done []batch.Result[conversation.Full], err error) {
	var due notices
	err = postgres.Again(ctx, func() (err error) { done, due, err = c.changeMany(ctx, requests); return err })
	if err != nil {
		return nil, err
	}
	if due.events {
		c.committed()
	}
	c.hints.Send(due.hints...)
	return done, nil
}
