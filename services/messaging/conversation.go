package messaging

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// GetConversation returns a conversation of the caller's with its messages.
func (s *server) GetConversation(ctx context.Context, req *messagingpb.GetConversationRequest) (*messagingpb.GetConversationResponse, error) {
	row, err := conversation.OfMember(ctx, s.store.pool, auth.FromContext(ctx).Subject, uuid.MustParse(req.GetId()))
	if err != nil {
		return nil, err
	}
	full, err := conversation.ForMember(ctx, s.store.pool, s.vault, s.view, &row)
	if err != nil {
		return nil, err
	}
	conversation.SetTag(ctx, &row, full)
	return &messagingpb.GetConversationResponse{Conversation: full}, nil
}

// HideConversation implements the guide's step 1, part 3.
func (s *server) HideConversation(ctx context.Context, req *messagingpb.HideConversationRequest) (*messagingpb.HideConversationResponse, error) {
	row, err := s.setHidden(ctx, req.GetId(), true)
	if err != nil {
		return nil, err
	}
	return &messagingpb.HideConversationResponse{Conversation: s.view.Proto(&row)}, nil
}

// ShowConversation undoes HideConversation.
func (s *server) ShowConversation(ctx context.Context, req *messagingpb.ShowConversationRequest) (*messagingpb.ShowConversationResponse, error) {
	row, err := s.setHidden(ctx, req.GetId(), false)
	if err != nil {
		return nil, err
	}
	return &messagingpb.ShowConversationResponse{Conversation: s.view.Proto(&row)}, nil
}

func (s *server) setHidden(ctx context.Context, id string, hidden bool) (conversation.Row, error) {
	row, changed, err := s.store.setHidden(ctx, auth.FromContext(ctx).Subject, uuid.MustParse(id), hidden)
	if changed {
		s.hints.Send(watch.Hint{Conversation: row.ID})
	}
	return row, err
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
		return nil, err
	}
	if changed { // a client that marks as read after every hint must not cause the next one
		s.hints.Send(watch.Hint{Conversation: row.ID})
	}
	return &messagingpb.MarkConversationReadResponse{Conversation: s.view.Proto(&row)}, nil
}

// setHidden hides or shows a conversation of this member's, and reports whether that
// changed it.
func (s *store) setHidden(ctx context.Context, member string, id uuid.UUID, hidden bool) (row conversation.Row, changed bool, err error) {
	row, err = postgres.One[conversation.Row](ctx, s.pool, "reading a conversation", `UPDATE conversation SET hidden = $3 WHERE id = $1 AND member_id = $2 AND hidden <> $3 RETURNING `+conversation.Columns, id, member, hidden)
	if !errors.Is(err, pgx.ErrNoRows) {
		return row, err == nil, err
	}
	row, err = conversation.OfMember(ctx, s.pool, member, id)
	return row, false, err
}

// markRead takes the unread mark off, as far as the last reply that is not later
// than the message upTo (nil: all of them), and reports whether that changed anything. A
// message of another conversation is pgx.ErrNoRows.
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
	if !errors.Is(err, pgx.ErrNoRows) {
		return row, err == nil, err
	}
	row, err = postgres.One[conversation.Row](ctx, s.pool, "reading a conversation", `
		SELECT `+conversation.Columns+` FROM conversation c
		WHERE c.id = $1 AND c.member_id = $2
		  AND ($3::uuid IS NULL OR EXISTS (SELECT FROM message WHERE id = $3 AND conversation_id = c.id))`, id, member, upTo)
	return row, false, err
}
