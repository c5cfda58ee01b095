package messaging

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/seeded"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reference"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// Refusals without a faulty field.
var (
	errConversationUnknown = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_CONVERSATION_NOT_FOUND, "no such conversation")
	errDraftUnknown        = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_DRAFT_NOT_FOUND, "no such draft; it may have been sent, or be older than seven days")
	errConversationClosed  = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CONVERSATION_CLOSED, "the conversation is closed")
	errNotClaimed          = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CLAIM_NOT_HELD, "nobody holds a claim on the conversation")
	errKeyReused           = rpc.Refuse(codes.AlreadyExists, errorpb.ErrorReason_IDEMPOTENCY_KEY_REUSED, "the caller has used this idempotency key before, with other content or for another conversation")
	errProfile             = rpc.Refuse(codes.PermissionDenied, errorpb.ErrorReason_AUDIENCE_NOT_YOURS, "the caller has no profile for this audience")
	errNoCaisse            = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CAISSE_UNKNOWN, "the caller's token names no caisse, or none that can be one")
	errUnavailable         = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_STORE_UNAVAILABLE, "the store cannot be used now; try again with the same idempotency key")
)

// server is the three gRPC services. It is the only place that makes status
// codes.
type server struct {
	messagingpb.UnimplementedMessagingServiceServer
	messagingpb.UnimplementedRecipientServiceServer

	store      *store
	reports    *reports
	vault      *vault.Vault
	members    *members
	catalogue  *taxonomy.Versions
	committer  *committer
	changes    *changes
	references *reference.Source
	counts     *instruments
	hub        *watch.Hub
	hints      *watch.Hints

	claimLease    time.Duration
	defaultCaisse string
}

// statusOf turns what the rest of the package returns into what a caller gets.
func statusOf(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNotFound):
		return errConversationUnknown
	case errors.Is(err, batch.ErrStopped), errors.Is(err, batch.ErrCrowded), postgres.IsUnreachable(err):
		return errUnavailable.Because(err)
	}
	return err
}

// SubmitMessage implements the guide's steps 4 and 5. See the .proto.
func (s *server) SubmitMessage(ctx context.Context, req *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error) {
	resp, outcome, err := s.submit(ctx, req)
	s.counts.submitted(ctx, req.GetAudience(), outcome)
	return resp, statusOf(err)
}

func (s *server) submit(ctx context.Context, req *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, string, error) {
	id := auth.FromContext(ctx)
	sub, err := s.prepare(ctx, id, req)
	if errors.Is(err, taxonomy.ErrOutdated) {
		// Perhaps the retry of what was stored before the new version came.
		resp, replayErr := s.replay(ctx, sub)
		if !errors.Is(replayErr, errNotFound) {
			return resp, "replayed", replayErr
		}
	}
	if err != nil {
		return nil, outcomeOf(err), err
	}
	at, err := s.committer.Submit(ctx, sub.submission)
	for try := 1; postgres.IsDuplicate(err) && try < drawTries && !seeded.On(seeded.DrawnOnce); try++ {
		if err = s.redraw(ctx, sub, err); err == nil {
			at, err = s.committer.Submit(ctx, sub.submission)
		}
	}
	if err != nil {
		return nil, "failed", err
	}
	if at.IsZero() {
		resp, err := s.replay(ctx, sub)
		return resp, "replayed", err
	}
	sub.stampedAt(at)
	return sub.answer(), "stored", nil
}

// drawTries is how often the values that we draw for one submission are drawn.
const drawTries = 4

// outcomeOf tells a submission that was refused from one that could not be decided.
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

// prepared is a submission with its text in clear.
type prepared struct {
	*submission
	body      string
	reference reference.Reference
	// compose makes the same submission with other values of those that we draw.
	compose func(context.Context) (*prepared, error)
}

func (p *prepared) stampedAt(at time.Time) {
	p.conversation.CreatedAt, p.conversation.UpdatedAt, p.message.CreatedAt = at, at, at
}

// answer is the stored recap. It depends on nothing that changes afterwards, so
// that a replay gives the same.
func (p *prepared) answer() *messagingpb.SubmitMessageResponse {
	recap := conversation.Proto(&p.conversation)
	recap.Messages = []*messagingpb.Message{conversation.MessageProto(&p.message, p.body)}
	return &messagingpb.SubmitMessageResponse{Conversation: recap, ExpectedDelay: delayOf(p.conversation.AnswerDays)}
}

// prepare checks a request and makes of it the rows to store. With errOutdated
// comes what replay needs.
func (s *server) prepare(ctx context.Context, id *auth.Identity, req *messagingpb.SubmitMessageRequest) (*prepared, error) {
	key := rpc.IdempotencyKey(ctx)
	if !slices.Contains(id.Profiles, req.GetAudience().String()) {
		return nil, errProfile
	}
	caisse, err := s.caisseOf(id)
	if err != nil {
		return nil, err
	}
	chosen, err := s.catalogue.Check(ctx, req)
	written, badText := s.catalogue.LimitsFor(req.GetTaxonomyVersion()).Normalise(req.GetText())
	if badText != nil {
		return nil, rpc.JoinFaults(err, badText)
	}
	if err != nil {
		return asked(id, key, written, req), err
	}
	if err := s.members.save(ctx, id); err != nil {
		return nil, err
	}
	compose := func(ctx context.Context) (*prepared, error) {
		return s.compose(ctx, id, key, caisse, chosen, written, req.GetAudience())
	}
	sub, err := compose(ctx)
	if err != nil {
		return nil, err
	}
	sub.compose = compose
	return sub, nil
}

// asked is a submission as far as its request alone tells.
func asked(id *auth.Identity, key uuid.UUID, written text.Text, req *messagingpb.SubmitMessageRequest) *prepared {
	return &prepared{submission: &submission{
		conversation: conversation.Row{Opened: conversation.Opened{
			MemberID: id.Subject, Audience: int16(req.GetAudience()), TaxonomyVersion: req.GetTaxonomyVersion(), //nolint:gosec // an enum of four
			Theme: req.GetTheme(), Topic: req.GetTopic(), Reason: req.GetReason(),
		}},
		idempotencyKey: key,
	}, body: written.Body}
}

func (s *server) compose(ctx context.Context, id *auth.Identity, key uuid.UUID, caisse string, chosen *taxonomy.Selection, written text.Text, audience taxonomypb.Audience) (*prepared, error) {
	ref, err := s.references.Take(ctx)
	if err != nil {
		return nil, err
	}
	conversationID, message, err := newIDs()
	if err != nil {
		return nil, err
	}
	dataKey, wrapped, err := s.vault.NewKey(conversationID)
	if err != nil {
		return nil, err
	}
	sealed, err := dataKey.SealMessage(message, int16(messagingpb.Author_MEMBER), written.Body)
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
			DataKey:    wrapped,
		}, Status: int16(messagingpb.Status_SENT), Version: 1},
		idempotencyKey: key,
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
	key, err := s.vault.Key(row.ID, row.DataKey)
	if err != nil {
		return nil, err
	}
	body, err := key.OpenMessage(message.ID, message.Author, message.Body)
	if err != nil {
		return nil, err
	}
	first := &row
	if body != again.body || first.Audience != again.conversation.Audience || first.TaxonomyVersion != again.conversation.TaxonomyVersion ||
		first.Theme != again.conversation.Theme || first.Topic != again.conversation.Topic || first.Reason != again.conversation.Reason {
		return nil, errKeyReused
	}
	original := &prepared{submission: &submission{conversation: row, message: message}, body: body}
	original.conversation.Status, original.conversation.Hidden, original.conversation.Unread = int16(messagingpb.Status_SENT), false, false
	original.stampedAt(row.CreatedAt)
	rpc.Replayed(ctx)
	return original.answer(), nil
}

// caisseOf is the caller's caisse, as one token of a subject of the broker. A token
// that names none that can be one has the default.
func (s *server) caisseOf(id *auth.Identity) (string, error) {
	switch {
	case validCaisse(id.Caisse):
		return id.Caisse, nil
	case s.defaultCaisse != "":
		return s.defaultCaisse, nil
	}
	return "", errNoCaisse
}

// validCaisse tells whether a caisse is lower-case letters, digits and hyphens,
// at most 64.
func validCaisse(caisse string) bool {
	return caisse != "" && len(caisse) <= 64 && strings.Trim(caisse, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// domainName is one or more labels of lower case (RFC 1123, 2.1).
var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

func validDomain(name string) bool { return len(name) <= 253 && domainName.MatchString(name) }

// ListConversations implements the guide's step 1, part 3.
func (s *server) ListConversations(ctx context.Context, req *messagingpb.ListConversationsRequest) (*messagingpb.ListConversationsResponse, error) {
	member := auth.FromContext(ctx).Subject
	after, err := pageOf(ctx, req)
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	rows, err := s.store.conversationsOf(ctx, member, req.GetHidden(), int16(req.GetAudience()), after, size+1) //nolint:gosec // an enum of four
	if err != nil {
		return nil, statusOf(err)
	}
	resp := &messagingpb.ListConversationsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = nextPage(ctx, req, rows[size-1].UpdatedAt, rows[size-1].ID)
	}
	resp.Conversations = conversation.Protos(rows)
	if resp.UnreadCount, err = conversation.Unread(ctx, s.store.pool, member); err != nil {
		return nil, statusOf(err)
	}
	return resp, nil
}

// GetConversation returns a conversation of the caller's with its messages.
func (s *server) GetConversation(ctx context.Context, req *messagingpb.GetConversationRequest) (*messagingpb.GetConversationResponse, error) {
	row, err := conversation.OfMember(ctx, s.store.pool, auth.FromContext(ctx).Subject, uuid.MustParse(req.GetId()))
	if err != nil {
		return nil, statusOf(err)
	}
	conversation, err := s.forMember(ctx, &row)
	if err != nil {
		return nil, statusOf(err)
	}
	tagConversation(ctx, &row, conversation)
	return &messagingpb.GetConversationResponse{Conversation: conversation}, nil
}

// HideConversation implements the guide's step 1, part 3.
func (s *server) HideConversation(ctx context.Context, req *messagingpb.HideConversationRequest) (*messagingpb.HideConversationResponse, error) {
	row, err := s.setHidden(ctx, req.GetId(), true)
	if err != nil {
		return nil, err
	}
	return &messagingpb.HideConversationResponse{Conversation: conversation.Proto(&row)}, nil
}

// ShowConversation undoes HideConversation.
func (s *server) ShowConversation(ctx context.Context, req *messagingpb.ShowConversationRequest) (*messagingpb.ShowConversationResponse, error) {
	row, err := s.setHidden(ctx, req.GetId(), false)
	if err != nil {
		return nil, err
	}
	return &messagingpb.ShowConversationResponse{Conversation: conversation.Proto(&row)}, nil
}

func (s *server) setHidden(ctx context.Context, id string, hidden bool) (conversation.Row, error) {
	row, changed, err := s.store.setHidden(ctx, auth.FromContext(ctx).Subject, uuid.MustParse(id), hidden)
	if changed {
		s.hints.Tell(watch.Hint{Conversation: row.ID})
	}
	return row, statusOf(err)
}

// MarkConversationRead takes the unread mark off.
func (s *server) MarkConversationRead(ctx context.Context, req *messagingpb.MarkConversationReadRequest) (*messagingpb.MarkConversationReadResponse, error) {
	var upTo *uuid.UUID
	if req.GetMessageId() != "" {
		message := uuid.MustParse(req.GetMessageId())
		upTo = &message
	}
	row, changed, err := s.store.markRead(ctx, auth.FromContext(ctx).Subject, uuid.MustParse(req.GetId()), upTo)
	if err != nil {
		return nil, statusOf(err)
	}
	if changed { // a client that reads whenever it is told must come to an end
		s.hints.Tell(watch.Hint{Conversation: row.ID})
	}
	return &messagingpb.MarkConversationReadResponse{Conversation: conversation.Proto(&row)}, nil
}

// withMessages opens the texts of a conversation; those of an erased one are empty.
func (s *server) withMessages(row *conversation.Row, messages []conversation.Message) (*messagingpb.Conversation, error) {
	if row.ErasedAt != nil {
		full := conversation.Proto(row)
		for i := range messages {
			full.Messages = append(full.Messages, conversation.MessageProto(&messages[i], ""))
		}
		return full, nil
	}
	key, err := s.vault.Key(row.ID, row.DataKey)
	if err != nil {
		return nil, err
	}
	full := conversation.Proto(row)
	for i := range messages {
		m := &messages[i]
		body, err := key.OpenMessage(m.ID, m.Author, m.Body)
		if err != nil {
			return nil, err
		}
		full.Messages = append(full.Messages, conversation.MessageProto(m, body))
	}
	return full, nil
}

func delayOf(days int16) *messagingpb.ExpectedDelay {
	if days == 0 {
		return nil
	}
	return &messagingpb.ExpectedDelay{WorkingDays: int32(days)}
}

const (
	defaultPageSize = 20
	maxPageSize     = 100
)

// pageSize is how many entries a page has: as many as were asked for, within bounds.
func pageSize(asked int32) int {
	if asked == 0 {
		return defaultPageSize
	}
	return int(min(asked, maxPageSize))
}

// cut is the page of a whole list that begins with its first entry behind a place, and
// whether there are more. Asked for nothing, it has most entries, and never more.
func cut[T any](list []T, asked int32, most int, behind func(T) bool) (page []T, more bool) {
	from := slices.IndexFunc(list, behind)
	if from < 0 {
		return nil, false
	}
	size := most
	if asked > 0 {
		size = min(int(asked), most)
	}
	if rest := list[from:]; len(rest) > size {
		return rest[:size], true
	}
	return list[from:], false
}

const (
	// pageTokenBytes is a time and an id.
	pageTokenBytes = 8 + 16
	// maxYear bounds the time in a page token that somebody made up.
	maxYear = 9999
)

// nextPage is the token of the page behind an entry.
func nextPage(ctx context.Context, req rpc.ListRequest, at time.Time, id uuid.UUID) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMicro()))
	return rpc.PageToken(ctx, req, append(raw, id[:]...))
}

// pageOf is where a page begins; nil for the first.
func pageOf(ctx context.Context, req rpc.ListRequest) (*pageKey, error) {
	raw, err := rpc.PageKey(ctx, req)
	if err != nil || raw == nil {
		return nil, err
	}
	if len(raw) != pageTokenBytes {
		return nil, rpc.ErrPageToken
	}
	at := time.UnixMicro(int64(binary.BigEndian.Uint64(raw))) //nolint:gosec // checked below
	if at.Before(time.Unix(0, 0)) || at.Year() > maxYear {
		// PostgreSQL would refuse such a time.
		return nil, rpc.ErrPageToken
	}
	return &pageKey{at, uuid.UUID(raw[8:])}, nil
}
