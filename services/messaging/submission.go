package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/member"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reference"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// submission is a conversation with its first message, ready to be stored.
type submission struct {
	conversation   conversation.Row
	idempotencyKey uuid.UUID
	message        conversation.Message
	chars          int
	event          outbox.Event
}

// prepared is a submission with its text in clear.
type prepared struct {
	*submission
	body      string
	reference reference.Reference
	// compose makes the same submission with other values of those that we draw.
	compose func(context.Context) (*prepared, error)
}

// SubmitMessage implements the guide's steps 4 and 5. See the .proto.
func (s *server) SubmitMessage(ctx context.Context, req *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error) {
	resp, outcome, err := s.submit(ctx, req)
	s.counts.submitted(ctx, req.GetAudience(), outcome)
	return resp, err
}

func (s *server) submit(ctx context.Context, req *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, string, error) {
	id := auth.FromContext(ctx)
	sub, err := s.prepare(ctx, id, req)
	if sub != nil && errors.Is(err, taxonomy.ErrOutdated) {
		// Perhaps the retry of what was stored before the new version came.
		resp, replayErr := s.replay(ctx, sub)
		if !errors.Is(replayErr, pgx.ErrNoRows) {
			return resp, "replayed", replayErr
		}
	}
	if err != nil {
		return nil, outcomeOf(err), err
	}
	at, err := s.commit(ctx, sub)
	if err != nil {
		return nil, "failed", err
	}
	if at.IsZero() {
		resp, err := s.replay(ctx, sub)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, "failed", vault.ErrRetiring // until a moment ago
		}
		return resp, "replayed", err
	}
	sub.stampedAt(at)
	return sub.answer(), "stored", nil
}

// commit stores a submission and returns when that was; zero if its idempotency key was there.
// Of those values that we draw, one may be in use, or the member's key was erased since it
// sealed the text: they are drawn again.
func (s *server) commit(ctx context.Context, sub *prepared) (time.Time, error) {
	at, err := s.commitOnce(ctx, sub)
	for try := 1; (postgres.IsDuplicate(err) || errors.Is(err, vault.ErrErased)) && try < drawTries; try++ {
		if err = s.redraw(ctx, sub, err); err == nil {
			at, err = s.commitOnce(ctx, sub)
		}
	}
	return at, err
}

func (s *server) commitOnce(ctx context.Context, sub *prepared) (time.Time, error) {
	at, err := s.committer.Submit(ctx, sub.submission)
	if err == nil && at.IsZero() { // it was there, or may not be
		err = s.vault.CheckErased(ctx, s.store.pool, sub.conversation.KeyID)
	}
	return at, err
}

// drawTries is how often the values that we draw for one submission are drawn.
const drawTries = 4

// outcomeOf distinguishes a submission that was refused from one that could not be decided.
func outcomeOf(err error) string {
	var refusal *rpc.Error
	if errors.As(err, &refusal) && refusal.Code != codes.Unavailable {
		return "refused"
	}
	return "failed"
}

// redraw draws the values of a submission again of which one is in use: cause says
// which. What the member gave is the same.
func (s *server) redraw(ctx context.Context, sub *prepared, cause error) error {
	if key, _ := postgres.DuplicateOf(cause); key == reference.Key {
		s.references.Refuse(sub.reference)
	}
	slog.WarnContext(ctx, "drawing the values of a submission again", "error", cause)
	again, err := sub.compose(ctx)
	if err == nil {
		sub.submission, sub.reference = again.submission, again.reference
	}
	return err
}

func (p *prepared) stampedAt(at time.Time) {
	p.conversation.CreatedAt, p.conversation.UpdatedAt, p.message.CreatedAt = at, at, at
}

// answer is the stored recap. It depends on nothing that changes afterwards, so
// that a replay gives the same.
func (p *prepared) answer() *messagingpb.SubmitMessageResponse {
	recap := conversation.Proto(&p.conversation)
	recap.Messages = []*messagingpb.Message{conversation.View{}.Message(&p.conversation, &p.message, p.body)}
	return &messagingpb.SubmitMessageResponse{Conversation: recap, ExpectedDelay: conversation.ExpectedDelay(&p.conversation)}
}

// prepare checks a request and makes of it the rows to store. With [taxonomy.ErrOutdated]
// comes what replay needs.
func (s *server) prepare(ctx context.Context, id *auth.Identity, req *messagingpb.SubmitMessageRequest) (*prepared, error) {
	key := rpc.IdempotencyKey(ctx)
	if !slices.Contains(id.Profiles, req.GetAudience().String()) {
		return nil, errProfile
	}
	caisse, err := conversation.CaisseOf(id, s.defaultCaisse)
	if err != nil {
		return nil, err
	}
	chosen, err := s.taxonomy.Check(ctx, req)
	written, badText := s.taxonomy.LimitsFor(req.GetTaxonomyVersion()).Normalise(req.GetText())
	if badText != nil {
		return nil, rpc.JoinFaults(err, badText)
	}
	if err != nil {
		return ofRequest(id, key, written, req), err
	}
	compose := func(ctx context.Context) (*prepared, error) {
		if err := s.SaveAccount(ctx, id); err != nil {
			return nil, err
		}
		return s.compose(ctx, id, key, caisse, chosen, written, req.GetAudience())
	}
	sub, err := compose(ctx)
	if err != nil {
		return nil, err
	}
	sub.compose = compose
	return sub, nil
}

// ofRequest is a submission with what its request alone has, which is what replay compares.
func ofRequest(id *auth.Identity, key uuid.UUID, written text.Text, req *messagingpb.SubmitMessageRequest) *prepared {
	return &prepared{submission: &submission{
		conversation: conversation.Row{Opened: conversation.Opened{
			MemberID: id.Subject, Audience: int16(req.GetAudience()), TaxonomyVersion: req.GetTaxonomyVersion(), //nolint:gosec // an enum of four
			Theme: req.GetTheme(), Topic: req.GetTopic(), Reason: req.GetReason(),
		}},
		idempotencyKey: key,
	}, body: written.Body}
}

func (s *server) compose(ctx context.Context, id *auth.Identity, idempotencyKey uuid.UUID, caisse string, chosen *taxonomy.Selection, written text.Text, audience taxonomypb.Audience) (*prepared, error) {
	ref, err := s.references.Take(ctx)
	if err != nil {
		return nil, err
	}
	conversationID, message, err := newIDs()
	if err != nil {
		return nil, err
	}
	key, err := s.vault.Of(ctx, id.Subject)
	if err != nil {
		return nil, err
	}
	texts, err := key.Texts(conversationID)
	if err != nil {
		return nil, err
	}
	sealed, err := texts.SealMessage(message, int16(messagingpb.Author_MEMBER), written.Body)
	if err != nil {
		return nil, err
	}
	sub := &submission{
		conversation: conversation.Row{Opened: conversation.Opened{
			ID: conversationID, MemberID: id.Subject, Reference: ref.Text, Caisse: caisse,
			Audience: int16(audience), TaxonomyVersion: chosen.Version, //nolint:gosec // an enum of four
			Theme: chosen.Theme.GetCode(), ThemeLabel: chosen.Theme.GetLabel(),
			Topic: chosen.Topic.GetCode(), TopicLabel: chosen.Topic.GetLabel(),
			Reason: chosen.Reason.GetCode(), ReasonLabel: chosen.Reason.GetLabel(),
			Queue: chosen.Queue.GetCode(), QueueLabel: chosen.Queue.GetLabel(),
			AnswerDays: int16(chosen.Queue.GetAnswerDays()), //nolint:gosec // checked by the taxonomy
			KeyID:      key.ID, RetentionYears: chosen.Years, NewestMessageID: &message,
		}, Status: int16(messagingpb.Status_SENT), Version: 1},
		idempotencyKey: idempotencyKey,
		message:        conversation.Message{ID: message, ConversationID: conversationID, Author: int16(messagingpb.Author_MEMBER), Body: sealed},
		chars:          written.Chars,
	}
	sub.event, err = conversation.Submitted(ctx, sub.conversation, message)
	return &prepared{submission: sub, body: written.Body, reference: ref}, err
}

func newIDs() (conversation, message uuid.UUID, err error) {
	if conversation, err = uuid.NewV7(); err == nil {
		message, err = uuid.NewV7()
	}
	if err != nil {
		return conversation, message, fmt.Errorf("drawing ids: %w", err)
	}
	return conversation, message, nil
}

// replay answers a submission whose key is stored: with the first answer when
// the content is the same, else with a refusal. The comparison opens the stored
// text, so that no digest of a short text has to lie in the database.
func (s *server) replay(ctx context.Context, again *prepared) (*messagingpb.SubmitMessageResponse, error) {
	row, message, err := s.store.submitted(ctx, again.conversation.MemberID, again.idempotencyKey)
	if err != nil {
		return nil, err
	}
	if err := s.store.asSubmitted(ctx, &row); err != nil {
		return nil, err
	}
	texts, err := conversation.TextsOf(ctx, s.vault, &row)
	if err != nil {
		return nil, err
	}
	body, err := texts.OpenMessage(message.ID, message.Author, message.Body)
	if err != nil {
		return nil, err
	}
	first := &row
	if body != again.body || first.Audience != again.conversation.Audience || first.TaxonomyVersion != again.conversation.TaxonomyVersion ||
		first.Theme != again.conversation.Theme || first.Topic != again.conversation.Topic || first.Reason != again.conversation.Reason {
		return nil, conversation.ErrKeyReused
	}
	original := &prepared{submission: &submission{conversation: row, message: message}, body: body}
	original.conversation.Status, original.conversation.Hidden, original.conversation.Unread = int16(messagingpb.Status_SENT), false, false
	original.stampedAt(row.CreatedAt)
	rpc.Replayed(ctx)
	return original.answer(), nil
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

var submittedRows = postgres.RowsOf[submittedRow]()

func (s *submission) row() submissionRow {
	return submissionRow{
		submittedRow: submittedRow{Opened: s.conversation.Opened, IdempotencyKey: s.idempotencyKey},
		MessageID:    s.message.ID, Body: s.message.Body, BodyChars: int16(s.chars), //nolint:gosec // at most 750
		EventID: s.event.ID, EventType: s.event.Type, Payload: s.event.Payload, Trace: s.event.Trace,
	}
}

var submissionRows = postgres.RowsOf[submissionRow]()

// insertSubmissions stores many submissions in one transaction and one round trip:
// conversation, message, event log and outbox, or nothing. It returns when each
// was created; one that is missing from the map had a (member, key) that is
// already stored. If one repeats what was erased while it waited, none is stored: the error is
// a duplicate, and the next time that one is missing.
func (s *store) insertSubmissions(ctx context.Context, subs []*submission) (map[uuid.UUID]time.Time, error) {
	given := make([]submissionRow, len(subs))
	for i, sub := range subs {
		given[i] = sub.row()
	}
	stored := make(map[uuid.UUID]time.Time, len(subs))
	batch := &pgx.Batch{} // sent as one: a transaction without BEGIN and COMMIT
	begun := time.Now()
	known := s.kinds.known(subs, begun)
	batch.Queue(insertSubmissionsSQL, append([]any{known}, submissionRows.Args(given)...)...).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		var at time.Time
		_, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error { stored[id] = at; return nil })
		return err
	})
	batch.Queue(failErasedSQL, column(subs, func(sub *submission) uuid.UUID { return sub.conversation.ID }))
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("storing %d submissions: %w", len(subs), err)
	}
	if !known && len(stored) == len(subs) {
		s.kinds.stored(subs, begun)
	}
	return stored, nil
}

// failErasedSQL fails on the primary key of erased_key if a conversation that was just
// inserted has an erased key. Only a statement after the insertion sees an erasure for whose
// end that has waited, which it did at the old conversation's unique key.
//
// Each conversation is looked up by itself: a plan for all of them, made while the table was
// young and kept until its statistics change, would read all of it for each batch.
const failErasedSQL = `
INSERT INTO erased_key (digest)
SELECT erased_key.digest FROM unnest($1::uuid[]) AS stored (id)
CROSS JOIN LATERAL (SELECT member_id, idempotency_key FROM conversation WHERE conversation.id = stored.id LIMIT 1) AS inserted
JOIN erased_key ON erased_key.digest = ` + member.KeyDigest

// One statement, however many submissions. Rows that lose a conflict write nothing at all,
// because every other insert joins the conversations that were inserted.
var insertSubmissionsSQL = `
WITH input AS (
	SELECT * FROM ` + submissionRows.From("given", 2) + `
), told AS MATERIALIZED ( -- the trigger kind_opened
	SELECT set_config('messaging.kinds', CASE WHEN $1 THEN 'known' ELSE '' END, true)
), opened AS (
	INSERT INTO conversation (` + submittedRows.Columns() + `)
	SELECT ` + submittedRows.Columns() + `
	FROM input WHERE NOT EXISTS (SELECT FROM erased_key WHERE digest = ` + member.KeyDigest + `) AND ` + vault.NotErased("key_id") + `
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
SELECT id, created_at FROM opened, told`

// column collects one field of every row for an array.
func column[R, T any](batch []R, field func(R) T) []T {
	values := make([]T, len(batch))
	for i, row := range batch {
		values[i] = field(row)
	}
	return values
}

// submitted returns what is stored under a member's idempotency key: the
// conversation and its first message.
func (s *store) submitted(ctx context.Context, owner string, key uuid.UUID) (conversation.Row, conversation.Message, error) {
	row, err := postgres.One[conversation.Row](ctx, s.pool, "reading a conversation", `SELECT `+conversation.Columns+` FROM conversation WHERE member_id = $1 AND idempotency_key = $2`, owner, key)
	if errors.Is(err, pgx.ErrNoRows) {
		err = member.CheckErased(ctx, s.pool, owner, key)
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

// asSubmitted puts what the member sent back into a row that an agent has
// corrected since, so that a submission that is tried again gets its first answer.
func (s *store) asSubmitted(ctx context.Context, row *conversation.Row) error {
	var kept []byte
	err := s.pool.QueryRow(ctx, `SELECT first_selection FROM conversation WHERE id = $1`, row.ID).Scan(&kept)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && kept == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the first selection of %s: %w", row.ID, err)
	}
	first := struct {
		Version                                                   int32
		Theme, ThemeLabel, Topic, TopicLabel, Reason, ReasonLabel string
		Queue, QueueLabel                                         string
	}{}
	if err := json.Unmarshal(kept, &first); err != nil {
		return fmt.Errorf("decoding the first selection of %s: %w", row.ID, err)
	}
	row.TaxonomyVersion = first.Version
	row.Theme, row.ThemeLabel, row.Topic, row.TopicLabel = first.Theme, first.ThemeLabel, first.Topic, first.TopicLabel
	row.Reason, row.ReasonLabel, row.Queue, row.QueueLabel = first.Reason, first.ReasonLabel, first.Queue, first.QueueLabel
	return nil
}
