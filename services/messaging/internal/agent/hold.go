package agent

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// HoldConversation keeps a conversation beyond its term. It changes nothing that the member
// could see, not even when the conversation was last changed, from which its term counts.
func (s *Server) HoldConversation(ctx context.Context, req *messagingpb.HoldConversationRequest) (*messagingpb.HoldConversationResponse, error) {
	note, err := holdNote(req.GetNote())
	if err != nil {
		return nil, err
	}
	after, err := s.change(ctx, req.GetId(), func(_ *auth.Identity, row *change.Current) (*change.Change, error) {
		texts, err := conversation.HeldTextsOf(s.Vault, &row.Row)
		if err != nil {
			return nil, err
		}
		if row.HeldAt != nil {
			kept, err := texts.OpenHold(row.HoldNote)
			if err != nil || kept == note {
				return nil, err
			}
		}
		sealed, err := texts.SealHold(note)
		if err != nil {
			return nil, err
		}
		return &change.Change{
			Actions: []lifecycle.Action{lifecycle.Hold},
			Set:     []string{`held_at = coalesce(held_at, clock_timestamp())`, `hold_note = @note`},
			Args:    pgx.NamedArgs{"note": sealed},
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.HoldConversationResponse{Conversation: s.forAgent(&after.Row, after.LastMessageID, auth.FromContext(ctx))}, nil
}

// UnholdConversation lifts a hold.
func (s *Server) UnholdConversation(ctx context.Context, req *messagingpb.UnholdConversationRequest) (*messagingpb.UnholdConversationResponse, error) {
	after, err := s.change(ctx, req.GetId(), func(_ *auth.Identity, row *change.Current) (*change.Change, error) {
		if row.HeldAt == nil {
			return nil, nil //nolint:nilnil // there is none
		}
		return &change.Change{Actions: []lifecycle.Action{lifecycle.Unhold}, Set: []string{`held_at = NULL`, `hold_note = NULL`}}, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.UnholdConversationResponse{Conversation: s.forAgent(&after.Row, after.LastMessageID, auth.FromContext(ctx))}, nil
}

// holdNote is a note in the form in which it is stored; one without anything visible is none.
func holdNote(raw string) (string, error) {
	written, err := text.OfHold.Normalise(raw)
	var refusal *rpc.Error
	if errors.As(err, &refusal) {
		return "", rpc.Invalid("note", errorpb.ErrorReason_REQUIRED, "a hold has a reason, of 1 to 200 visible characters")
	}
	return written.Body, err
}

func (s *Server) openHold(ctx context.Context, row *conversation.Row) (string, error) {
	texts, err := conversation.TextsOf(ctx, s.Vault, row)
	if err != nil {
		return "", err
	}
	return texts.OpenHold(row.HoldNote)
}
