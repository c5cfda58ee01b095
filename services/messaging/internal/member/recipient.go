package member

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// BatchGetRecipients implements RecipientService.
func (m *Members) BatchGetRecipients(ctx context.Context, req *messagingpb.BatchGetRecipientsRequest) (*messagingpb.BatchGetRecipientsResponse, error) {
	ids := make([]uuid.UUID, len(req.GetConversationIds()))
	for i, id := range req.GetConversationIds() {
		ids[i] = uuid.MustParse(id)
	}
	rows, err := m.recipients(ctx, ids)
	if err != nil {
		return nil, err
	}
	members := make([]string, len(rows))
	for i := range rows {
		members[i] = rows[i].MemberID
	}
	if err := m.Vault.Load(ctx, members); err != nil {
		return nil, err
	}
	resp := &messagingpb.BatchGetRecipientsResponse{}
	for i := range rows {
		recipient, err := m.recipientOf(ctx, &rows[i])
		if errors.Is(err, vault.ErrErased) {
			continue // as if the rows were gone already
		}
		if errors.Is(err, vault.ErrLost) || errors.Is(err, vault.ErrUnopened) { // which must not hold up the others
			slog.ErrorContext(ctx, "nobody knows how the member of a conversation is reached", "conversation", rows[i].ID, "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		resp.Recipients = append(resp.Recipients, recipient)
	}
	return resp, nil
}

func (m *Members) recipientOf(ctx context.Context, row *recipientRow) (*messagingpb.Recipient, error) {
	key, err := m.Vault.Key(ctx, row.MemberID, row.KeyID)
	if err != nil {
		return nil, err
	}
	account, err := key.OpenContact(vault.FromAccount, row.Contact)
	if err != nil {
		return nil, err
	}
	chosen, err := key.OpenContact(vault.FromMember, row.Chosen)
	if err != nil {
		return nil, err
	}
	reachedBy, locale := chosen.Or(account), row.Locale
	if row.ChosenLocale != nil {
		locale = *row.ChosenLocale
	}
	queue, err := m.Taxonomy.QueueOf(ctx, row.TaxonomyVersion, row.Queue)
	if err != nil {
		return nil, err
	}
	if queue == nil {
		// Transferred to a queue that is younger than the selection.
		queue = taxonomy.Queue(m.Taxonomy.Held(m.Taxonomy.Number()), row.Queue)
	}
	if queue == nil {
		queue = &taxonomypb.Queue{Code: row.Queue, Label: row.QueueLabel, AnswerDays: int32(row.AnswerDays)}
	}
	return &messagingpb.Recipient{
		ConversationId: row.ID.String(), Email: reachedBy.Email, Phone: reachedBy.Phone, Locale: locale,
		Reference: row.Reference, ReceiveTime: timestamppb.New(row.CreatedAt), Queue: queue,
		NoSmsOnAcknowledgement: row.NoSMSOnAcknowledgement, SmsOnReply: row.SMSOnReply,
	}, nil
}

// CheckReader implements RecipientService.
func (m *Members) CheckReader(ctx context.Context, req *messagingpb.CheckReaderRequest) (*messagingpb.CheckReaderResponse, error) {
	id := uuid.MustParse(req.GetConversationId())
	var err error
	if agent := req.GetAgent(); agent != nil {
		err = m.withinScope(ctx, conversation.Scope{Caisse: agent.GetCaisse(), Queues: agent.GetQueues(), AllQueues: slices.Contains(agent.GetQueues(), auth.AllQueues)}, id)
	} else {
		_, err = conversation.OfMember(ctx, m.DB, req.GetMember(), id)
	}
	return &messagingpb.CheckReaderResponse{}, err
}

// recipientRow is a conversation with how its member is reached.
type recipientRow struct {
	ID              uuid.UUID `db:"id"`
	MemberID        string    `db:"member_id"`
	Reference       string    `db:"reference"`
	Queue           string    `db:"queue"`
	QueueLabel      string    `db:"queue_label"`
	AnswerDays      int16     `db:"answer_days"`
	TaxonomyVersion int32     `db:"taxonomy_version"`
	CreatedAt       time.Time `db:"created_at"`
	Contact         []byte    `db:"contact"`
	Locale          string    `db:"locale"`
	preferenceRow
}

// recipients returns the conversations with their members' sealed contact points.
func (m *Members) recipients(ctx context.Context, ids []uuid.UUID) ([]recipientRow, error) {
	return postgres.Many[recipientRow](ctx, m.DB, "reading recipients", `
		SELECT c.id, c.member_id, c.reference, c.queue, c.queue_label, c.answer_days, c.taxonomy_version, c.created_at, m.contact, m.locale,
		       m.key_id, m.chosen, m.chosen_locale, m.no_sms_on_acknowledgement, m.sms_on_reply
		FROM conversation c JOIN member m ON m.id = c.member_id
		WHERE c.id = ANY($1)`, ids)
}

// withinScope is [pgx.ErrNoRows] when an agent may not see the conversation.
func (m *Members) withinScope(ctx context.Context, sc conversation.Scope, id uuid.UUID) error {
	args := sc.Args()
	args["id"] = id
	_, err := postgres.One[uuid.UUID](ctx, m.DB, "looking for a conversation", `SELECT id FROM conversation WHERE id = @id AND `+conversation.WithinScope, args)
	return err
}
