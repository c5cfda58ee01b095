package messaging

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// PostFollowUp implements MessagingService. See the .proto.
func (s *server) PostFollowUp(ctx context.Context, req *messagingpb.PostFollowUpRequest) (*messagingpb.PostFollowUpResponse, error) {
	member := auth.FromContext(ctx).Subject
	key := rpc.IdempotencyKey(ctx)
	written, err := text.OfMember.Normalise(req.GetText())
	if err != nil {
		return nil, err
	}
	id := uuid.MustParse(req.GetId())
	if err := s.followUpOnce(ctx, member, id, key, written); err != nil {
		return nil, statusOf(err)
	}
	row, err := conversation.OfMember(ctx, s.store.pool, member, id)
	if err != nil {
		return nil, statusOf(err)
	}
	conversation, err := s.forMember(ctx, &row)
	if err != nil {
		return nil, statusOf(err)
	}
	tagConversation(ctx, &row, conversation)
	return &messagingpb.PostFollowUpResponse{Conversation: conversation}, nil
}

// followUpOnce stores a message unless the same is stored under this key.
func (s *server) followUpOnce(ctx context.Context, member string, id, key uuid.UUID, written text.Text) error {
	_, err := s.changes.Submit(ctx, change.Request{
		Scope: conversation.Scope{Member: member}, ID: id, Key: key,
		Decide: func(row change.Current) (*change.Change, error) {
			if row.Replied {
				return nil, change.ErrReplied
			}
			if err := unchanged(ctx, &row.Row); err != nil {
				return nil, err
			}
			after, ok := lifecycle.FollowedUp(row.Status, row.ClaimHeld)
			if !ok {
				return nil, errConversationClosed
			}
			// Here, so that what was stored under wider limits is found again.
			if err := s.catalogue.LimitsFor(s.catalogue.Number()).Check(written); err != nil {
				return nil, err
			}
			return s.followUpChange(ctx, &row.Row, after, key, written)
		},
	})
	if !errors.Is(err, change.ErrReplied) && !postgres.IsDuplicate(err) {
		return err
	}
	return s.checkFollowUp(ctx, member, id, key, written)
}

// checkFollowUp is nil when this very message is stored under the key, and a refusal when the
// member has used that for another, be it in another conversation.
func (s *server) checkFollowUp(ctx context.Context, member string, id, key uuid.UUID, written text.Text) error {
	row, err := conversation.OfMember(ctx, s.store.pool, member, id)
	if err != nil {
		return err
	}
	stored, err := s.store.followedUp(ctx, member, key)
	if err != nil {
		return err
	}
	if stored.ConversationID != id {
		return errKeyReused
	}
	dataKey, err := s.vault.Key(id, row.DataKey)
	if err != nil {
		return err
	}
	body, err := dataKey.OpenMessage(stored.ID, stored.Author, stored.Body)
	if err == nil && body != written.Body {
		return errKeyReused
	}
	if err == nil {
		rpc.Replayed(ctx)
	}
	return err
}

// followUpChange seals a further message and says what it does: what was answered
// waits for the body again.
func (s *server) followUpChange(ctx context.Context, row *conversation.Row, after lifecycle.Status, key uuid.UUID, written text.Text) (*change.Change, error) {
	message, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	dataKey, err := s.vault.Key(row.ID, row.DataKey)
	if err != nil {
		return nil, err
	}
	sealed, err := dataKey.SealMessage(message, int16(messagingpb.Author_MEMBER), written.Body)
	if err != nil {
		return nil, err
	}
	added := conversation.Message{ID: message, ConversationID: row.ID, Author: int16(messagingpb.Author_MEMBER), Body: sealed}
	todo := &change.Change{
		Reply: &change.Reply{Row: added, Key: key, Chars: written.Chars},
		Set:   []string{`hidden = false`},
		Args:  pgx.NamedArgs{},
		Event: func(row conversation.Row) (outbox.Event, error) { return conversation.FollowedUp(ctx, row, message) },
	}
	if int16(after) != row.Status { //nolint:gosec // an enum of eight
		todo.Set = append(todo.Set, `status = @status`)
		todo.Args["status"] = int16(after) //nolint:gosec // an enum of eight
	}
	return todo, nil
}

// followedUp returns the message that a member has stored under a key. Of a version before
// there may be one in each conversation.
func (s *store) followedUp(ctx context.Context, member string, key uuid.UUID) (conversation.Message, error) {
	return postgres.One[conversation.Message](ctx, s.pool, "reading a message", `
		SELECT m.id, m.conversation_id, m.author, m.agent_id, m.final, m.body, m.created_at
		FROM message m JOIN conversation c ON c.id = m.conversation_id
		WHERE m.author = 1 AND m.idempotency_key = $2 AND m.idempotency_key IS NOT NULL AND c.member_id = $1
		ORDER BY m.created_at, m.id LIMIT 1`, member, key)
}
