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

var (
	errNotClaimed   = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CLAIM_NOT_HELD, "nobody holds a claim on the conversation")
	errAgentUnknown = rpc.Invalid("agentId", errorpb.ErrorReason_AGENT_UNKNOWN, "is none of ListAgents who may see the conversation")
)

// ClaimConversation takes a conversation in charge, or renews the caller's lease on it.
func (s *Server) ClaimConversation(ctx context.Context, req *messagingpb.ClaimConversationRequest) (*messagingpb.ClaimConversationResponse, error) {
	after, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row *change.Current) (*change.Change, error) {
		if err := mayAct(&row.Row, id); err != nil {
			return nil, err
		}
		return s.giveTo(ctx, &row.Row, id.Subject, conversation.AgentName(id), lifecycle.Claim), nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.ClaimConversationResponse{Conversation: s.forAgent(&after.Row, after.LastMessageID, auth.FromContext(ctx))}, nil
}

// giveTo puts a conversation into an agent's hands for the length of a lease. For whoever
// holds it already, the lease is renewed, which is no event.
func (s *Server) giveTo(ctx context.Context, row *conversation.Row, agent, name string, action lifecycle.Action) *change.Change {
	todo := &change.Change{
		Actions: []lifecycle.Action{action},
		Set:     []string{`claimed_by = @agent`, `claimed_name = @name`, `claim_expires = now() + @lease`},
		Args:    pgx.NamedArgs{"agent": agent, "name": name, "lease": s.ClaimLease},
	}
	if row.ClaimHeld && *row.ClaimedBy == agent {
		return todo
	}
	if after := lifecycle.Claimed(row.Status); int16(after) != row.Status { //nolint:gosec // an enum of eight
		todo.Set = append(todo.Set, `status = @status`)
		todo.Args["status"] = int16(after) //nolint:gosec // an enum of eight
	}
	todo.Events = append(todo.Events, claimed(ctx))
	if !row.ClaimHeld && action != lifecycle.Claim { // a step that its member sees
		todo.Actions = append(todo.Actions, lifecycle.Claim)
	}
	return todo
}

func claimed(ctx context.Context) func(conversation.Row) (outbox.Event, error) {
	return func(after conversation.Row) (outbox.Event, error) { return conversation.Claimed(ctx, after) }
}

// AssignConversation puts a conversation into a colleague's hands.
func (s *Server) AssignConversation(ctx context.Context, req *messagingpb.AssignConversationRequest) (*messagingpb.AssignConversationResponse, error) {
	note, err := noteOf(req.GetNote())
	if err != nil {
		return nil, err
	}
	colleague, err := s.colleague(ctx, auth.FromContext(ctx).Caisse, req.GetAgentId())
	if err != nil {
		return nil, err
	}
	stored := false
	after, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row *change.Current) (*change.Change, error) {
		if err := mayAssign(&row.Row, id); err != nil {
			return nil, err
		}
		if !colleague.sees(row.Queue) {
			return nil, errAgentUnknown
		}
		todo := s.giveTo(ctx, &row.Row, colleague.ID, colleague.Name, lifecycle.Assign)
		todo.Target = colleague.ID
		if len(todo.Events) == 0 {
			return todo, nil // a repeat, perhaps with another note
		}
		todo.Note, err = s.noteFor(&row.Row, id, note)
		stored = true
		return todo, err
	})
	if err == nil && !stored {
		err = s.keepNote(ctx, &after.Row, note)
	}
	if err != nil {
		return nil, err
	}
	return &messagingpb.AssignConversationResponse{Conversation: s.forAgent(&after.Row, after.LastMessageID, auth.FromContext(ctx))}, nil
}

// mayAssign refuses to give away what is erased, closed, or, but for supervisors, not in the
// caller's own hands.
func mayAssign(row *conversation.Row, id *auth.Identity) error {
	if id.Realm != auth.RealmAgent || !id.HasRole(auth.RoleSupervisor) {
		if err := mayAct(row, id); err != nil {
			return err
		}
		if !row.ClaimHeld {
			return errNotClaimed
		}
	}
	return mayChange(row)
}

// TakeOverConversation claims a conversation, whoever holds it.
func (s *Server) TakeOverConversation(ctx context.Context, req *messagingpb.TakeOverConversationRequest) (*messagingpb.TakeOverConversationResponse, error) {
	note, err := noteOf(req.GetNote())
	if err != nil {
		return nil, err
	}
	stored := false
	after, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row *change.Current) (*change.Change, error) {
		if err := mayChange(&row.Row); err != nil {
			return nil, err
		}
		todo := s.giveTo(ctx, &row.Row, id.Subject, conversation.AgentName(id), lifecycle.TakeOver)
		if len(todo.Events) == 0 {
			return todo, nil // a repeat, perhaps with another note
		}
		stored = true
		if row.ClaimHeld {
			todo.Target = *row.ClaimedBy
		}
		todo.Note, err = s.noteFor(&row.Row, id, note)
		return todo, err
	})
	if err == nil && !stored {
		err = s.keepNote(ctx, &after.Row, note)
	}
	if err != nil {
		return nil, err
	}
	return &messagingpb.TakeOverConversationResponse{Conversation: s.forAgent(&after.Row, after.LastMessageID, auth.FromContext(ctx))}, nil
}

// ReleaseConversation drops the caller's claim.
func (s *Server) ReleaseConversation(ctx context.Context, req *messagingpb.ReleaseConversationRequest) (*messagingpb.ReleaseConversationResponse, error) {
	after, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row *change.Current) (*change.Change, error) {
		if !row.ClaimHeld {
			return nil, errNotClaimed
		}
		if !claimedBy(&row.Row, id) {
			return nil, heldBy(&row.Row)
		}
		return &change.Change{
			Actions: []lifecycle.Action{lifecycle.Release},
			Set:     append(dropClaim(), `status = @status`),
			Args:    pgx.NamedArgs{"status": released(&row.Row)},
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.ReleaseConversationResponse{Conversation: s.forAgent(&after.Row, after.LastMessageID, auth.FromContext(ctx))}, nil
}

// change runs one change of a conversation within the caller's scope.
func (s *Server) change(ctx context.Context, id string, decide func(*auth.Identity, *change.Current) (*change.Change, error)) (conversation.Full, error) {
	agent := auth.FromContext(ctx)
	s.see(ctx, agent)
	after, err := s.Changes.Submit(ctx, change.Request{
		Scope: conversation.ScopeOf(agent), Agent: agent, ID: uuid.MustParse(id),
		Decide: func(row change.Current) (*change.Change, error) {
			if err := conversation.Unchanged(ctx, &row.Row); err != nil {
				return nil, err
			}
			return decide(agent, &row)
		},
	})
	if err == nil {
		conversation.SetTag(ctx, &after.Row, nil)
	}
	return after, err
}

// mayChange refuses what is erased or closed.
func mayChange(row *conversation.Row) error {
	if row.ErasedAt != nil {
		return conversation.ErrErased
	}
	if row.Status == int16(messagingpb.Status_CLOSED) {
		return conversation.ErrClosed
	}
	return nil
}

// mayAct refuses what is erased, closed or in another agent's hands.
func mayAct(row *conversation.Row, id *auth.Identity) error {
	if err := mayChange(row); err != nil {
		return err
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
