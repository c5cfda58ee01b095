package agent

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
)

var errNotClaimed = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CLAIM_NOT_HELD, "nobody holds a claim on the conversation")

// ClaimConversation takes a conversation in charge, or renews the caller's lease on it.
func (s *Server) ClaimConversation(ctx context.Context, req *messagingpb.ClaimConversationRequest) (*messagingpb.ClaimConversationResponse, error) {
	row, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row conversation.Row) (*change.Change, error) {
		if err := mayAct(&row, id); err != nil {
			return nil, err
		}
		todo := &change.Change{
			Action: lifecycle.Claim,
			Set:    []string{`claimed_by = @agent`, `claimed_name = @name`, `claim_expires = now() + @lease`},
			Args:   pgx.NamedArgs{"agent": id.Subject, "name": id.Name, "lease": s.ClaimLease},
		}
		if row.ClaimHeld { // by the caller: a renewal is no event
			return todo, nil
		}
		if after := lifecycle.Claimed(row.Status); int16(after) != row.Status { //nolint:gosec // an enum of eight
			todo.Set = append(todo.Set, `status = @status`)
			todo.Args["status"] = int16(after) //nolint:gosec // an enum of eight
		}
		todo.Event = func(after conversation.Row) (outbox.Event, error) { return conversation.Claimed(ctx, after) }
		return todo, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.ClaimConversationResponse{Conversation: s.forAgent(&row, auth.FromContext(ctx))}, nil
}

// ReleaseConversation drops the caller's claim.
func (s *Server) ReleaseConversation(ctx context.Context, req *messagingpb.ReleaseConversationRequest) (*messagingpb.ReleaseConversationResponse, error) {
	row, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row conversation.Row) (*change.Change, error) {
		if !row.ClaimHeld {
			return nil, errNotClaimed
		}
		if !claimedBy(&row, id) {
			return nil, heldBy(&row)
		}
		todo := &change.Change{Action: lifecycle.Release, Set: dropClaim()}
		todo.Set = append(todo.Set, `status = @status`)
		todo.Args = pgx.NamedArgs{"status": released(&row)}
		return todo, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.ReleaseConversationResponse{Conversation: s.forAgent(&row, auth.FromContext(ctx))}, nil
}

// CloseConversation ends a conversation.
func (s *Server) CloseConversation(ctx context.Context, req *messagingpb.CloseConversationRequest) (*messagingpb.CloseConversationResponse, error) {
	row, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row conversation.Row) (*change.Change, error) {
		if row.Status == int16(messagingpb.Status_CLOSED) {
			return nil, nil //nolint:nilnil // nothing to do
		}
		if err := mayAct(&row, id); err != nil {
			return nil, err
		}
		return &change.Change{
			Action: lifecycle.Close,
			Set:    append(dropClaim(), `status = @status`),
			Args:   pgx.NamedArgs{"status": int16(messagingpb.Status_CLOSED)},
			Event:  func(after conversation.Row) (outbox.Event, error) { return conversation.Closed(ctx, after) },
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.CloseConversationResponse{Conversation: s.forAgent(&row, auth.FromContext(ctx))}, nil
}

// change runs one change of a conversation within the caller's scope.
func (s *Server) change(ctx context.Context, id string, decide func(*auth.Identity, conversation.Row) (*change.Change, error)) (conversation.Row, error) {
	agent := auth.FromContext(ctx)
	after, err := s.Changes.Submit(ctx, change.Request{
		Scope: conversation.ScopeOf(agent), Agent: agent.Subject, ID: uuid.MustParse(id),
		Decide: func(row change.Current) (*change.Change, error) {
			if err := conversation.Unchanged(ctx, &row.Row); err != nil {
				return nil, err
			}
			return decide(agent, row.Row)
		},
	})
	if err == nil {
		conversation.SetTag(ctx, &after.Row, nil)
	}
	return after.Row, err
}

// mayAct refuses what is erased, closed or in another agent's hands.
func mayAct(row *conversation.Row, id *auth.Identity) error {
	if row.ErasedAt != nil {
		return conversation.ErrErased
	}
	if row.Status == int16(messagingpb.Status_CLOSED) {
		return conversation.ErrClosed
	}
	if row.ClaimHeld && !claimedBy(row, id) {
		return heldBy(row)
	}
	return nil
}

func claimedBy(row *conversation.Row, id *auth.Identity) bool {
	return row.ClaimedBy != nil && *row.ClaimedBy == id.Subject
}

// heldBy is the refusal that names who holds the claim and until when, so that the caller can
// contact them.
func heldBy(row *conversation.Row) error {
	return rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CLAIM_HELD, "another agent holds the claim on this conversation",
		"agent", *row.ClaimedName, "until", row.ClaimExpires.UTC().Format(time.RFC3339))
}

// released is the status of a conversation that nobody holds any more.
func released(row *conversation.Row) int16 {
	return int16(lifecycle.Released(row.Status, row.LastReplyID != nil)) //nolint:gosec // an enum of eight
}

func dropClaim() []string {
	return []string{`claimed_by = NULL`, `claimed_name = NULL`, `claim_expires = NULL`}
}
