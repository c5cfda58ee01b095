package agent

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

// PostReply answers the member: the guide's step 7.
func (s *Server) PostReply(ctx context.Context, req *messagingpb.PostReplyRequest) (*messagingpb.PostReplyResponse, error) {
	id := auth.FromContext(ctx)
	key := rpc.IdempotencyKey(ctx)
	written, err := text.OfAgent.Normalise(req.GetText())
	if err != nil {
		return nil, err
	}
	after, err := s.reply(ctx, id, req, key, written)
	if err != nil {
		return nil, err
	}
	full, err := s.inFull(ctx, after, id)
	if err != nil {
		return nil, err
	}
	return &messagingpb.PostReplyResponse{Conversation: full}, nil
}

// reply stores a reply unless the same is stored under this key, and reads the conversation
// in the same transaction: five round trips, one row of the audit.
func (s *Server) reply(ctx context.Context, id *auth.Identity, req *messagingpb.PostReplyRequest, key uuid.UUID, written text.Text) (conversation.Full, error) {
	after, err := s.Changes.Submit(ctx, change.Request{
		Scope: conversation.ScopeOf(id), Agent: id.Subject, ID: uuid.MustParse(req.GetId()), Key: key, Full: true,
		Decide: func(row change.Current) (*change.Change, error) {
			if row.Replied {
				// Checked before the claim: a retry gets its first answer again.
				return nil, change.ErrReplied
			}
			if err := conversation.Unchanged(ctx, &row.Row); err != nil {
				return nil, err
			}
			if err := mayAct(&row.Row, id); err != nil {
				return nil, err
			}
			return s.replyChange(ctx, id, &row.Row, req.GetFinal(), key, written)
		},
	})
	if errors.Is(err, change.ErrReplied) || postgres.IsDuplicate(err) {
		return s.replayReply(ctx, id, req, key, written)
	}
	return after, err
}

// replayReply returns the conversation when this very reply is stored under the key, and
// refuses a key that was used for something else.
func (s *Server) replayReply(ctx context.Context, id *auth.Identity, req *messagingpb.PostReplyRequest, key uuid.UUID, written text.Text) (found conversation.Full, err error) {
	stored, err := s.replied(ctx, id.Subject, key)
	if err != nil {
		return found, err
	}
	if stored.ConversationID.String() != req.GetId() || stored.Final != req.GetFinal() {
		return found, conversation.ErrKeyReused
	}
	found, err = s.readForAgent(ctx, conversation.ScopeOf(id), id.Subject, stored.ConversationID)
	if err != nil {
		return found, err
	}
	texts, err := conversation.TextsOf(ctx, s.Vault, &found.Row)
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
	return found, nil
}

// replyChange seals a reply and says what it does to the conversation: it is
// answered in whole or in part, unread, and no longer hidden.
func (s *Server) replyChange(ctx context.Context, id *auth.Identity, row *conversation.Row, final bool, key uuid.UUID, written text.Text) (*change.Change, error) {
	message, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	texts, err := conversation.HeldTextsOf(s.Vault, row)
	if err != nil {
		return nil, err
	}
	sealed, err := texts.SealMessage(message, int16(messagingpb.Author_AGENT), written.Body)
	if err != nil {
		return nil, err
	}
	answer := conversation.Message{ID: message, ConversationID: row.ID, Author: int16(messagingpb.Author_AGENT), AgentID: &id.Subject, Final: final, Body: sealed}
	todo := &change.Change{
		Action: lifecycle.Reply,
		Reply:  &change.Reply{Row: answer, Key: key, Chars: written.Chars},
		Set: []string{
			`status = @status`, `last_reply_id = @reply`, `hidden = false`,
			// This reply is stored by now; an older version may have stored an earlier one without setting the column.
			`first_reply_at = coalesce(first_reply_at, (SELECT min(created_at) FROM message WHERE conversation_id = conversation.id AND author = 2))`,
		},
		Args: pgx.NamedArgs{"status": int16(lifecycle.Replied(final)), "reply": message}, //nolint:gosec // an enum of eight
		Event: func(after conversation.Row) (outbox.Event, error) {
			return conversation.Replied(ctx, after, answer)
		},
	}
	if final {
		todo.Set = append(todo.Set, dropClaim()...)
	}
	return todo, nil
}

// replied returns the reply stored under an agent's idempotency key.
func (s *Server) replied(ctx context.Context, agent string, key uuid.UUID) (conversation.Message, error) {
	return postgres.One[conversation.Message](ctx, s.DB, "reading a message", `SELECT `+conversation.MessageColumns+` FROM message WHERE agent_id = $1 AND idempotency_key = $2`, agent, key)
}
