// Package agent is AgentService: what agents of the fund do with conversations within their
// scope. A noun is a file, with its calls, its rule and its statements.
//
// Reading or changing a conversation is recorded in the audit, in the same transaction; lists
// are not. Changes of one conversation go one after another (see package change), and one
// whose If-Match names another state, or that another agent has claimed, is refused. Notes
// and holds are the exception: they need no claim.
package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/draft"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/statistics"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/template"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// Server is AgentService.
type Server struct {
	unimplemented
	*template.Templates
	*statistics.Statistics
	*draft.AgentDrafts

	DB       *pgxpool.Pool
	Reports  *reports.Reports
	Vault    *vault.Vault
	Taxonomy *taxonomy.Versions
	Changes  *change.Changes
	Hub      *watch.Hub
	Hints    *watch.Hints
	// ClaimLease is how long an agent holds a conversation without renewing.
	ClaimLease time.Duration
	View       conversation.View

	roll roll
}

// unimplemented is embedded one level deeper than the methods that implement calls, which
// therefore take precedence.
type unimplemented struct {
	messagingpb.UnimplementedAgentServiceServer
}

// WatchConversations implements AgentService. See the .proto.
func (s *Server) WatchConversations(_ *messagingpb.AgentServiceWatchConversationsRequest, stream grpc.ServerStreamingServer[messagingpb.AgentServiceWatchConversationsResponse]) error {
	ctx := stream.Context()
	id := auth.FromContext(ctx)
	return s.Hub.Watch(ctx, id.Subject, conversation.ScopeOf(id), func(happened watch.Happening) error {
		return stream.Send(&messagingpb.AgentServiceWatchConversationsResponse{ConversationId: happened.ID(), Opened: happened.Opened})
	})
}

// GetConversation returns a conversation with its messages and records the
// reading in the audit.
func (s *Server) GetConversation(ctx context.Context, req *messagingpb.AgentServiceGetConversationRequest) (*messagingpb.AgentServiceGetConversationResponse, error) {
	id := auth.FromContext(ctx)
	s.see(ctx, id)
	found, err := s.readForAgent(ctx, id, uuid.MustParse(req.GetId()))
	if err != nil {
		return nil, err
	}
	full, err := s.inFull(ctx, found, id)
	if err != nil {
		return nil, err
	}
	return &messagingpb.AgentServiceGetConversationResponse{Conversation: full}, nil
}

// forAgent is a row as an agent sees it: with its last message, with who has it in hand, since
// when it waits, and whether it is on hold.
func (s *Server) forAgent(row *conversation.Row, last uuid.UUID, id *auth.Identity) *messagingpb.Conversation {
	conversation := s.View.Proto(row)
	conversation.LastMessageId = last.String()
	if row.ClaimHeld {
		conversation.Claim = &messagingpb.ClaimInfo{
			Agent: *row.ClaimedName, AgentId: *row.ClaimedBy, Mine: claimedBy(row, id), ExpireTime: timestamppb.New(*row.ClaimExpires),
		}
	}
	if lifecycle.Waiting(row.Status) {
		conversation.WaitTime = timestamppb.New(row.WaitsSince)
	}
	if row.HeldAt != nil {
		conversation.Hold = &messagingpb.Hold{CreateTime: timestamppb.New(*row.HeldAt)}
	}
	return conversation
}

// inFull is a conversation with all that was written in it and who has written it, as an agent
// sees it, and sets its tag.
func (s *Server) inFull(ctx context.Context, found conversation.Full, id *auth.Identity) (*messagingpb.Conversation, error) {
	full, err := conversation.WithMessages(ctx, s.Vault, s.View, &found.Row, found.Messages)
	if err != nil {
		return nil, err
	}
	for i := range found.Messages {
		if agent := found.Messages[i].AgentID; agent != nil {
			full.Messages[i].Writer.AgentId = *agent
		}
	}
	brief := s.forAgent(&found.Row, found.LastMessageID, id)
	full.Claim, full.Hold, full.LastMessageId = brief.GetClaim(), brief.GetHold(), brief.GetLastMessageId()
	full.WaitTime, full.Answered = brief.GetWaitTime(), found.Answered
	if !full.GetErased() && len(found.Notes) > 0 { // none opens once its key is gone
		if full.Notes, err = s.openNotes(ctx, &found.Row, found.Notes); err != nil {
			return nil, err
		}
	}
	if !full.GetErased() {
		if full.Member, err = s.memberOf(ctx, &found); err != nil {
			return nil, err
		}
	}
	if !full.GetErased() && full.GetHold() != nil {
		if full.Hold.Note, err = s.openHold(ctx, &found.Row); err != nil {
			return nil, err
		}
	}
	conversation.SetTag(ctx, &found.Row, full)
	return full, nil
}

// readForAgent reads a conversation within an agent's scope and records that in the audit.
func (s *Server) readForAgent(ctx context.Context, agent *auth.Identity, id uuid.UUID) (found conversation.Full, err error) {
	err = pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		args := conversation.ScopeOf(agent).Args()
		args["id"] = id
		found.Row, err = postgres.One[conversation.Row](ctx, tx, "reading a conversation",
			`SELECT `+conversation.Columns+` FROM conversation WHERE id = @id AND `+conversation.WithinScope, args)
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		conversation.QueueRead(batch, id, &found)
		conversation.QueueAccount(batch, found.MemberID, &found)
		conversation.QueueAudit(batch, []conversation.Audited{conversation.By(agent, lifecycle.Read, &found.Row)})
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("reading what was written: %w", err)
		}
		return nil
	})
	return found, err
}
