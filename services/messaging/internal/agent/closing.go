package agent

import (
	"context"
	"errors"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

var errClosingText = rpc.Invalid("text", errorpb.ErrorReason_CLOSING_TEXT_REQUIRED, "the member's last message has no final answer: write them why the conversation is closed")

// CloseConversation ends a conversation. With a sentence for its member, that is the last
// message.
func (s *Server) CloseConversation(ctx context.Context, req *messagingpb.CloseConversationRequest) (*messagingpb.CloseConversationResponse, error) {
	last, badLast := lastMessage(req.GetLastMessageId())
	written, badText := closingText(req.GetText())
	if err := rpc.JoinFaults(badLast, badText); err != nil {
		return nil, err
	}
	after, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row *change.Current) (*change.Change, error) {
		if row.Status == int16(messagingpb.Status_CLOSED) && row.ErasedAt == nil {
			if written.Chars > 0 {
				return nil, errClosedAlready
			}
			return nil, nil //nolint:nilnil // nothing to do
		}
		if err := mayAct(&row.Row, id); err != nil {
			return nil, err
		}
		if err := seen(row, last); err != nil {
			return nil, err
		}
		if written.Chars == 0 && !row.Standing.Answered {
			return nil, errClosingText
		}
		return s.closingChange(ctx, id, row, written)
	})
	if errors.Is(err, errClosedAlready) {
		after, err = s.closedBySame(ctx, req.GetId(), written)
	}
	if err != nil {
		return nil, s.withUnread(ctx, err, req.GetId(), last)
	}
	return &messagingpb.CloseConversationResponse{Conversation: s.forAgent(&after.Row, after.LastMessageID, auth.FromContext(ctx))}, nil
}

// errClosedAlready: there is a sentence for the member, and the conversation is closed.
var errClosedAlready = errors.New("closed already")

// closedBySame returns a closed conversation whose last message is this very sentence of the
// caller's: their repeat. Another sentence would be lost, and is refused.
func (s *Server) closedBySame(ctx context.Context, id string, written text.Text) (conversation.Full, error) {
	caller := auth.FromContext(ctx)
	found, err := s.readForAgent(ctx, caller, uuid.MustParse(id))
	if err != nil {
		return found, err
	}
	if len(found.Messages) == 0 { // deleted meanwhile
		return found, conversation.ErrClosed
	}
	last := &found.Messages[len(found.Messages)-1]
	texts, err := conversation.TextsOf(ctx, s.Vault, &found.Row)
	if err != nil {
		return found, err
	}
	body, err := texts.OpenMessage(last.ID, last.Author, last.Body)
	if err == nil && (last.AgentID == nil || *last.AgentID != caller.Subject || body != written.Body) {
		err = conversation.ErrClosed
	}
	return found, err
}

// closingText is what a member reads; none where nothing is written.
func closingText(raw string) (text.Text, error) {
	if strings.TrimSpace(raw) == "" {
		return text.Text{}, nil
	}
	return text.OfClosing.Normalise(raw)
}

// closingChange is what closing does to a conversation. A sentence in place of an answer is no
// final one: if the conversation is reopened, that may follow. Behind an answer, it is a further
// one, and announced like it.
func (s *Server) closingChange(ctx context.Context, id *auth.Identity, row *change.Current, written text.Text) (*change.Change, error) {
	todo := &change.Change{Args: pgx.NamedArgs{}}
	if written.Chars > 0 {
		// A repeat finds the conversation closed: the key is for the table alone.
		answer, err := s.written(id, &row.Row, uuid.New(), row.Standing.Answered, written)
		if err != nil {
			return nil, err
		}
		todo = replied(ctx, answer, !row.Standing.Answered)
	}
	todo.Actions = append(todo.Actions, lifecycle.Close)
	todo.Set = append(append(todo.Set, dropClaim()...), `status = @status`)
	todo.Args["status"] = int16(messagingpb.Status_CLOSED)
	todo.Events = append(todo.Events, func(after conversation.Row) (outbox.Event, error) { return conversation.Closed(ctx, after) })
	return todo, nil
}
