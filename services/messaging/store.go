package messaging

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// errNotFound is what a store method returns for a row that is not there or not
// within what the caller may see; the two are told apart nowhere.
var errNotFound = pgx.ErrNoRows

// store is all the SQL of the service. An exported-looking verb opens its own
// transaction; functions that take a pgx.Tx share their caller's. Times are the
// database's.
type store struct {
	pool *pgxpool.Pool
}

// submission is a conversation with its first message, ready to be stored.
type submission struct {
	conversation   conversation.Row
	idempotencyKey uuid.UUID
	message        conversation.Message
	chars          int
	event          outbox.Event
}

// submittedRow is the conversation of a submission as it is inserted.
type submittedRow struct {
	conversation.Opened
	IdempotencyKey uuid.UUID `db:"idempotency_key"`
}

// submissionRow is a submission as the statement gets it.
type submissionRow struct {
	submittedRow
	MessageID uuid.UUID `db:"message_id"`
	Body      []byte    `db:"body"`
	BodyChars int16     `db:"body_chars"`
	EventID   uuid.UUID `db:"event_id"`
	EventType string    `db:"event_type"`
	Payload   []byte    `db:"payload"`
	Trace     string    `db:"trace"`
}

var (
	submittedRows  = postgres.RowsOf[submittedRow]()
	submissionRows = postgres.RowsOf[submissionRow]()
)

func (s *submission) row() submissionRow {
	return submissionRow{
		submittedRow: submittedRow{Opened: s.conversation.Opened, IdempotencyKey: s.idempotencyKey},
		MessageID:    s.message.ID, Body: s.message.Body, BodyChars: int16(s.chars), //nolint:gosec // at most 750
		EventID: s.event.ID, EventType: s.event.Type, Payload: s.event.Payload, Trace: s.event.Trace,
	}
}

// insertSubmissions stores many submissions in one transaction and one round trip:
// conversation, message, event log and outbox, or nothing. It returns when each
// was created; one that is missing from the map had a (member, key) that is
// already stored. If one repeats what was erased while it waited, none is stored: the error is
// a duplicate, and the next time that one is missing.
func (s *store) insertSubmissions(ctx context.Context, subs []*submission) (map[uuid.UUID]time.Time, error) {
	given, ids := make([]submissionRow, len(subs)), make([]uuid.UUID, len(subs))
	for i, sub := range subs {
		given[i], ids[i] = sub.row(), sub.conversation.ID
	}
	stored := make(map[uuid.UUID]time.Time, len(subs))
	batch := &pgx.Batch{} // sent as one: a transaction without BEGIN and COMMIT
	batch.Queue(insertSubmissionsSQL, submissionRows.Args(given)...).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		var at time.Time
		_, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error { stored[id] = at; return nil })
		return err
	})
	batch.Queue(failErasedSQL, ids)
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("storing %d submissions: %w", len(subs), err)
	}
	return stored, nil
}

// failErasedSQL fails on the primary key of erased_key if a conversation that was just
// inserted has an erased key. Only a statement after the insertion sees an erasure for whose
// end that has waited, which it did at the old conversation's unique key.
const failErasedSQL = `
INSERT INTO erased_key (digest)
SELECT erased_key.digest FROM conversation JOIN erased_key ON erased_key.digest = ` + keyDigest + ` WHERE conversation.id = ANY($1)`

// One statement, however many submissions. Rows that lose a conflict write nothing at all,
// because every other insert joins the conversations that were inserted.
var insertSubmissionsSQL = `
WITH input AS (
	SELECT * FROM ` + submissionRows.From("given", 1) + `
), opened AS (
	INSERT INTO conversation (` + submittedRows.Columns() + `)
	SELECT ` + submittedRows.Columns() + `
	FROM input WHERE NOT EXISTS (SELECT FROM erased_key WHERE digest = ` + keyDigest + `)
	ON CONFLICT (member_id, idempotency_key) DO NOTHING
	RETURNING id, created_at
), written AS (
	INSERT INTO message (id, conversation_id, author, body, body_chars)
	SELECT message_id, id, 1, body, body_chars FROM input JOIN opened USING (id)
), logged AS (
	INSERT INTO event_log (id, type, caisse, conversation_id, payload)
	SELECT event_id, event_type, caisse, id, payload FROM input JOIN opened USING (id)
), sent AS (
	INSERT INTO outbox (id, type, caisse, conversation_id, payload, trace)
	SELECT event_id, event_type, caisse, id, payload, trace FROM input JOIN opened USING (id)
)
SELECT id, created_at FROM opened`

// submitted returns what is stored under a member's idempotency key: the
// conversation and its first message.
func (s *store) submitted(ctx context.Context, member string, key uuid.UUID) (conversation.Row, conversation.Message, error) {
	row, err := postgres.One[conversation.Row](ctx, s.pool, "reading a conversation", `SELECT `+conversation.Columns+` FROM conversation WHERE member_id = $1 AND idempotency_key = $2`, member, key)
	if errors.Is(err, errNotFound) {
		err = s.checkErased(ctx, member, key)
	}
	if err != nil {
		return row, conversation.Message{}, fmt.Errorf("looking up an idempotency key: %w", err)
	}
	first, err := postgres.One[conversation.Message](ctx, s.pool, "reading a message", `SELECT `+conversation.MessageColumns+` FROM message WHERE conversation_id = $1 ORDER BY created_at, id LIMIT 1`, row.ID)
	if err != nil {
		return row, first, fmt.Errorf("reading the first message of %s: %w", row.ID, err)
	}
	return row, first, nil
}

// pageKey is where a page begins: after the row with these values.
type pageKey struct {
	at time.Time
	id uuid.UUID
}

// conversationsOf returns a member's conversations, most recent activity first.
// The page reads one row more than asked for, which tells whether there is
// another page.
func (s *store) conversationsOf(ctx context.Context, member string, hidden bool, audience int16, after *pageKey, limit int) ([]conversation.Row, error) {
	args := pgx.NamedArgs{"member": member, "hidden": hidden, "audience": audience, "limit": limit}
	from := ``
	if after != nil {
		from = ` AND (updated_at, id) < (@at, @id)`
		args["at"], args["id"] = after.at, after.id
	}
	if audience != 0 {
		from += ` AND audience = @audience`
	}
	return postgres.Many[conversation.Row](ctx, s.pool, "listing conversations", `
		SELECT `+conversation.Columns+` FROM conversation
		WHERE member_id = @member AND hidden = @hidden`+from+`
		ORDER BY updated_at DESC, id DESC LIMIT @limit`, args)
}

// setHidden hides or shows a conversation of this member's, and reports whether that
// changed it.
func (s *store) setHidden(ctx context.Context, member string, id uuid.UUID, hidden bool) (row conversation.Row, changed bool, err error) {
	row, err = postgres.One[conversation.Row](ctx, s.pool, "reading a conversation", `UPDATE conversation SET hidden = $3 WHERE id = $1 AND member_id = $2 AND hidden <> $3 RETURNING `+conversation.Columns, id, member, hidden)
	if !errors.Is(err, errNotFound) {
		return row, err == nil, err
	}
	row, err = conversation.OfMember(ctx, s.pool, member, id)
	return row, false, err
}

// markRead takes the unread mark off, as far as the last reply that is not later
// than the message upTo (nil: all of them), and reports whether that changed anything. A
// message of another conversation is errNotFound.
func (s *store) markRead(ctx context.Context, member string, id uuid.UUID, upTo *uuid.UUID) (row conversation.Row, changed bool, err error) {
	row, err = postgres.One[conversation.Row](ctx, s.pool, "reading a conversation", `
		UPDATE conversation c SET read_reply_id = (
			SELECT m.id FROM message m
			WHERE m.conversation_id = c.id AND m.author = 2
			  AND ($3::uuid IS NULL OR (m.created_at, m.id) <= (SELECT created_at, id FROM message WHERE id = $3))
			ORDER BY m.created_at DESC, m.id DESC LIMIT 1)
		WHERE c.id = $1 AND c.member_id = $2
		  AND ($3::uuid IS NULL OR EXISTS (SELECT FROM message WHERE id = $3 AND conversation_id = c.id))
		  -- Reading an older message again does not unread a newer one.
		  AND EXISTS (
			SELECT FROM message m
			WHERE m.conversation_id = c.id AND m.author = 2
			  AND ($3::uuid IS NULL OR (m.created_at, m.id) <= (SELECT created_at, id FROM message WHERE id = $3))
			  AND (c.read_reply_id IS NULL OR (m.created_at, m.id) > (SELECT created_at, id FROM message WHERE id = c.read_reply_id)))
		RETURNING `+conversation.Columns, id, member, upTo)
	if !errors.Is(err, errNotFound) {
		return row, err == nil, err
	}
	row, err = postgres.One[conversation.Row](ctx, s.pool, "reading a conversation", `
		SELECT `+conversation.Columns+` FROM conversation c
		WHERE c.id = $1 AND c.member_id = $2
		  AND ($3::uuid IS NULL OR EXISTS (SELECT FROM message WHERE id = $3 AND conversation_id = c.id))`, id, member, upTo)
	return row, false, err
}

// memberRow is how a member is reached by their account.
type memberRow struct {
	ID      string `db:"id"`
	Contact []byte `db:"contact"`
	Locale  string `db:"locale"`
	// Fresh: stored or confirmed within the last day.
	Fresh bool `db:"fresh"`
}

// membersNamed returns those of the members that have ever written.
func (s *store) membersNamed(ctx context.Context, ids []string) (map[string]memberRow, error) {
	rows, err := postgres.Many[memberRow](ctx, s.pool, "reading members", `SELECT id, contact, locale, updated_at > now() - interval '1 day' AS fresh FROM member WHERE id = ANY($1)`, ids)
	found := make(map[string]memberRow, len(rows))
	for _, row := range rows {
		found[row.ID] = row
	}
	return found, err
}

// saveMember stores how a member is reached.
func (s *store) saveMember(ctx context.Context, member string, sealed []byte, locale string) error {
	_, err := s.pool.Exec(ctx, `
		INSERT INTO member (id, contact, locale) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET contact = excluded.contact, locale = excluded.locale, updated_at = now()`,
		member, sealed, locale)
	if err != nil {
		return fmt.Errorf("storing a member: %w", err)
	}
	return nil
}

// preferenceRow is what a member chose, in the table member.
type preferenceRow struct {
	Chosen                 []byte  `db:"chosen"`
	ChosenLocale           *string `db:"chosen_locale"`
	NoSMSOnAcknowledgement bool    `db:"no_sms_on_acknowledgement"`
	SMSOnReply             bool    `db:"sms_on_reply"`
}

var preferenceColumns = postgres.Columns[preferenceRow]()

// preferences returns what a member chose; errNotFound when there is no such member.
func (s *store) preferences(ctx context.Context, member string) (preferenceRow, error) {
	row, err := postgres.One[preferenceRow](ctx, s.pool, "reading preferences", `SELECT `+preferenceColumns+` FROM member WHERE id = $1`, member)
	if err != nil {
		return row, fmt.Errorf("reading preferences: %w", err)
	}
	return row, nil
}

// changePreferences changes what a member chose, with their row locked: two changes of
// different choices both hold. The member must be stored.
func (s *store) changePreferences(ctx context.Context, member string, change func(*preferenceRow) error) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		row, err := postgres.One[preferenceRow](ctx, tx, "reading preferences", `SELECT `+preferenceColumns+` FROM member WHERE id = $1 FOR UPDATE`, member)
		if err != nil {
			return err
		}
		if err := change(&row); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE member SET chosen = $2, chosen_locale = $3, no_sms_on_acknowledgement = $4, sms_on_reply = $5, updated_at = now()
			WHERE id = $1`, member, row.Chosen, row.ChosenLocale, row.NoSMSOnAcknowledgement, row.SMSOnReply)
		return err
	})
	if err != nil {
		return fmt.Errorf("storing preferences: %w", err)
	}
	return nil
}

// queueFilter narrows what waits.
type queueFilter struct {
	queue, theme, topic string
	statuses            []int16
	after               *pageKey
	limit               int
}

// light reports whether a page costs little more than what it has. Of a theme or topic, the
// kinds of conversation that a caisse has are looked up first: an agent who asks for it in a
// loop must not do so at members' expense.
func (f queueFilter) light() bool { return f.theme == "" && f.topic == "" && len(f.statuses) <= 4 }

// kindsOfCaisse are the queues, themes and topics of which a caisse has conversations, found
// by going from each to the next in the index conversation_topic.
const kindsOfCaisse = `RECURSIVE kind AS (
	(SELECT queue, theme, topic FROM conversation WHERE caisse = @caisse ORDER BY queue, theme, topic LIMIT 1)
	UNION ALL
	SELECT next.* FROM kind, LATERAL (
		SELECT queue, theme, topic FROM conversation WHERE caisse = @caisse AND (queue, theme, topic) > (kind.queue, kind.theme, kind.topic)
		ORDER BY queue, theme, topic LIMIT 1) AS next
)`

// waiting returns conversations within an agent's scope, oldest first: what waits for an
// agent unless the filter says otherwise.
//
// An index gives those of each status, and of each queue or topic where the list is narrowed
// by one, in the order of the list; as many of each as the page has are merged.
func (s *store) waiting(ctx context.Context, sc conversation.Scope, f queueFilter) ([]conversation.Row, error) {
	// Each once, or their rows would stand on the page twice.
	statuses := slices.Compact(slices.Sorted(slices.Values(f.statuses)))
	if len(statuses) == 0 {
		for _, status := range lifecycle.WaitingStatuses {
			statuses = append(statuses, int16(status)) //nolint:gosec // an enum of eight
		}
	}
	args := pgx.NamedArgs{"caisse": sc.Caisse, "statuses": statuses, "limit": f.limit}
	with, from, where := ``, `unnest(@statuses::smallint[]) AS of_status`, `caisse = @caisse AND status = of_status`
	queues := slices.Compact(slices.Sorted(slices.Values(sc.Queues)))
	if f.queue != "" {
		if !sc.AllQueues && !slices.Contains(queues, f.queue) {
			return nil, nil
		}
		queues = []string{f.queue}
	}
	someQueues := !sc.AllQueues || f.queue != ""
	switch {
	case f.theme != "" || f.topic != "":
		with = kindsOfCaisse + `, `
		from += `, (SELECT * FROM kind WHERE (@someQueues IS FALSE OR queue = ANY (@queues)) AND theme = COALESCE(NULLIF(@theme, ''), theme) AND topic = COALESCE(NULLIF(@topic, ''), topic)) AS of`
		where += ` AND queue = of.queue AND theme = of.theme AND topic = of.topic`
		args["someQueues"], args["queues"], args["theme"], args["topic"] = someQueues, queues, f.theme, f.topic
	case someQueues:
		from += `, unnest(@queues::text[]) AS of_queue`
		where += ` AND queue = of_queue`
		args["queues"] = queues
	}
	if f.after != nil {
		where += ` AND (created_at, id) > (@at, @id)`
		args["at"], args["id"] = f.after.at, f.after.id
	}
	return postgres.Many[conversation.Row](ctx, s.pool, "listing the queue", `
		WITH `+with+`page AS MATERIALIZED (
			SELECT page.* FROM `+from+`, LATERAL (
				SELECT created_at, id FROM conversation WHERE `+where+` ORDER BY created_at, id LIMIT @limit) AS page
			ORDER BY created_at, id LIMIT @limit)
		SELECT `+conversation.Columns+` FROM conversation WHERE id IN (SELECT id FROM page) ORDER BY created_at, id`, args)
}

// readForAgent reads a conversation within an agent's scope and notes who did.
func (s *store) readForAgent(ctx context.Context, sc conversation.Scope, agent string, id uuid.UUID) (found conversation.Full, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		args := sc.Args()
		args["id"] = id
		found.Row, err = postgres.One[conversation.Row](ctx, tx, "reading a conversation",
			`SELECT `+conversation.Columns+` FROM conversation WHERE id = @id AND `+conversation.WithinScope, args)
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		conversation.QueueRead(batch, id, &found)
		conversation.QueueAudit(batch, []conversation.Audited{{AgentID: agent, Action: lifecycle.Read, ConversationID: id}})
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("reading what was written: %w", err)
		}
		return nil
	})
	return found, err
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

// replied returns the reply stored under an agent's idempotency key.
func (s *store) replied(ctx context.Context, agent string, key uuid.UUID) (conversation.Message, error) {
	return postgres.One[conversation.Message](ctx, s.pool, "reading a message", `SELECT `+conversation.MessageColumns+` FROM message WHERE agent_id = $1 AND idempotency_key = $2`, agent, key)
}

// audienceFor is the audience of a conversation that an agent may see; errNotFound for
// another.
func (s *store) audienceFor(ctx context.Context, sc conversation.Scope, id uuid.UUID) (audience int16, err error) {
	args := sc.Args()
	args["id"] = id
	err = s.pool.QueryRow(ctx, `SELECT audience FROM conversation WHERE id = @id AND `+conversation.WithinScope, args).Scan(&audience)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, errNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("reading the audience of conversation %s: %w", id, err)
	}
	return audience, nil
}
