package messaging

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
)

// agentServer is AgentService. It is a type of its own because both services
// have a GetConversation.
type agentServer struct {
	messagingpb.UnimplementedAgentServiceServer
	*server
}

// scopeOf is what the calling agent may see.
func scopeOf(id *auth.Identity) conversation.Scope {
	return conversation.Scope{Caisse: id.Caisse, Queues: id.Queues, AllQueues: slices.Contains(id.Queues, auth.AllQueues)}
}

// GetConversation returns a conversation with its messages and writes down who
// read it.
func (s *agentServer) GetConversation(ctx context.Context, req *messagingpb.AgentServiceGetConversationRequest) (*messagingpb.AgentServiceGetConversationResponse, error) {
	id := auth.FromContext(ctx)
	found, err := s.store.readForAgent(ctx, scopeOf(id), id.Subject, uuid.MustParse(req.GetId()))
	if err != nil {
		return nil, statusOf(err)
	}
	full, err := s.inFull(ctx, found, id)
	if err != nil {
		return nil, err
	}
	return &messagingpb.AgentServiceGetConversationResponse{Conversation: full}, nil
}

// forAgent is a row as an agent sees it: with who has it in hand.
func forAgent(row *conversation.Row, id *auth.Identity) *messagingpb.Conversation {
	conversation := conversation.Proto(row)
	if row.ClaimHeld {
		conversation.Claim = &messagingpb.ClaimInfo{
			Agent: *row.ClaimedName, Mine: claimedBy(row, id), ExpireTime: timestamppb.New(*row.ClaimExpires),
		}
	}
	return conversation
}

// inFull is a conversation with all that was written in it, as an agent sees it, and tells
// its tag.
func (s *agentServer) inFull(ctx context.Context, found conversation.Full, id *auth.Identity) (*messagingpb.Conversation, error) {
	full, err := s.withMessages(&found.Row, found.Messages)
	if err != nil {
		return nil, err
	}
	full.Claim = forAgent(&found.Row, id).GetClaim()
	if len(found.DataKey) > 0 && len(found.Notes) > 0 { // none opens once its key is gone
		if full.Notes, err = s.openNotes(found.ID, found.DataKey, found.Notes); err != nil {
			return nil, statusOf(err)
		}
	}
	tagConversation(ctx, &found.Row, full)
	return full, nil
}

// readForAgent reads a conversation within an agent's scope and notes who did.
func (s *store) readForAgent(ctx context.Context, sc conversation.Scope, agent string, id uuid.UUID) (found conversation.Full, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		args := sc.Args()
		args["id"] = id
		found.Row, err = postgres.One[conversation.Row](ctx, tx, "reading a conversation",
			`SELECT `+conversation.Columns+` FROM conversation WHERE id = @id AND `+conversation.WithinScope, args)
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		conversation.QueueRead(batch, id, &found)
		conversation.QueueAudit(batch, []conversation.Audited{{AgentID: agent, Action: lifecycle.Read, ConversationID: id}})
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("reading what was written: %w", err)
		}
		return nil
	})
	return found, err
}
