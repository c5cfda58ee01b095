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
	written, err := text.OfFollowUp.Normalise(req.GetText())
	if err != nil {
		return nil, err
	}
	after, err := s.followUp(ctx, auth.FromContext(ctx).Subject, uuid.MustParse(req.GetId()), rpc.IdempotencyKey(ctx), written)
	if err != nil {
		return nil, err
	}
	full, err := conversation.WithSteps(ctx, s.store.pool, s.vault, s.view, &after.Row, after.Messages)
	if err != nil {
		return nil, err
	}
	conversation.SetTag(ctx, &after.Row, full)
	return &messagingpb.PostFollowUpResponse{Conversation: full}, nil
}

// followUp stores a message unless the same is stored under this key, and reads the
// conversation in the same transaction.
func (s *server) followUp(ctx context.Context, member string, id, key uuid.UUID, written text.Text) (conversation.Full, error) {
	after, err := s.changes.Submit(ctx, change.Request{
		Scope: conversation.Scope{Member: member}, ID: id, Key: key, Full: true,
		Decide: func(row change.Current) (*change.Change, error) {
			if row.Replied {
				return nil, change.ErrReplied
			}
			if err := conversation.Unchanged(ctx, &row.Row); err != nil {
				return nil, err
			}
			after, ok := lifecycle.FollowedUp(row.Status, row.ClaimHeld)
			if !ok {
				return nil, conversation.ErrClosed
			}
			// Here, so that what was stored under wider limits is found again.
			if err := s.taxonomy.LimitsForFollowUp().Check(written); err != nil {
				return nil, err
			}
			return s.followUpChange(ctx, &row.Row, after, key, written)
		},
	})
	if errors.Is(err, change.ErrReplied) || postgres.IsDuplicate(err) {
		return s.replayFollowUp(ctx, member, id, key, written)
	}
	return after, err
}

// replayFollowUp returns the conversation when this very message is stored under the key, and
// refuses a key that the member has used for another, be it in another conversation.
func (s *server) replayFollowUp(ctx context.Context, member string, id, key uuid.UUID, written text.Text) (found conversation.Full, err error) {
	if found.Row, err = conversation.OfMember(ctx, s.store.pool, member, id); err != nil {
		return found, err
	}
	stored, err := s.store.followedUp(ctx, member, key)
	if err != nil {
		return found, err
	}
	if stored.ConversationID != id {
		return found, conversation.ErrKeyReused
	}
	texts, err := conversation.TextsOf(ctx, s.vault, &found.Row)
	if err != nil {
		return found, err
	}
	body, err := texts.OpenMessage(stored.ID, stored.Author, stored.Body)
	switch {
	case err != nil:
		return found, err
	case body != written.Body:
		return found, conversation.ErrKeyReused
	}
	rpc.Replayed(ctx)
	found.Messages, err = conversation.Messages(ctx, s.store.pool, id)
	return found, err
}

// followUpChange seals a further message and says what it does: what was answered
// waits for the fund again.
func (s *server) followUpChange(ctx context.Context, row *conversation.Row, after lifecycle.Status, key uuid.UUID, written text.Text) (*change.Change, error) {
	message, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	texts, err := conversation.HeldTextsOf(s.vault, row)
	if err != nil {
		return nil, err
	}
	sealed, err := texts.SealMessage(message, int16(messagingpb.Author_MEMBER), written.Body)
	if err != nil {
		return nil, err
	}
	added := conversation.Message{ID: message, ConversationID: row.ID, Author: int16(messagingpb.Author_MEMBER), Body: sealed}
	todo := &change.Change{
		Reply: &change.Reply{Row: added, Key: key, Chars: written.Chars},
		Set:   []string{`hidden = false`},
		Args:  pgx.NamedArgs{},
		Events: []func(conversation.Row) (outbox.Event, error){
			func(row conversation.Row) (outbox.Event, error) { return conversation.FollowedUp(ctx, row, message) },
		},
	}
	if int16(after) != row.Status { //nolint:gosec // an enum of eight
		todo.Set = append(todo.Set, `status = @status`)
		todo.Args["status"] = int16(after) //nolint:gosec // an enum of eight
	}
	if !lifecycle.Waiting(row.Status) { // and does from now on
		todo.Set = append(todo.Set, lifecycle.WaitsAgain)
	}
	return todo, nil
}

// followedUp returns the message that a member has stored under a key. Older versions
// may have stored one in each conversation.
func (s *store) followedUp(ctx context.Context, member string, key uuid.UUID) (conversation.Message, error) {
	return postgres.One[conversation.Message](ctx, s.pool, "reading a message", `
		SELECT `+conversation.MessageColumns+` FROM message
		WHERE author = 1 AND idempotency_key = $2 AND idempotency_key IS NOT NULL
		  AND conversation_id IN (SELECT id FROM conversation WHERE member_id = $1)
		ORDER BY created_at, id LIMIT 1`, member, key)
}
