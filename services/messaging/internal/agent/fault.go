package agent

import (
	"context"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// CheckWhole registers the checks that the calls make themselves, to run also for a request that
// breaks rules of its .proto: the caller gets all faults at once.
func (s *Server) CheckWhole(to *rpc.Server) {
	s.Templates.CheckWhole(to)
	s.AgentDrafts.CheckWhole(to)
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.AgentServiceListConversationsRequest) []rpc.Violation {
		return rpc.FaultsOf(contradiction(req))
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.PostReplyRequest) []rpc.Violation {
		return append(text.OfAgent.Faults(req.GetText()), unreadFaults(req.GetLastMessageId())...)
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.CloseConversationRequest) []rpc.Violation {
		_, badText := closingText(req.GetText())
		return append(rpc.FaultsOf(badText), unreadFaults(req.GetLastMessageId())...)
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.AssignConversationRequest) []rpc.Violation {
		_, badNote := noteOf(req.GetNote())
		return rpc.FaultsOf(badNote)
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.TakeOverConversationRequest) []rpc.Violation {
		_, badNote := noteOf(req.GetNote())
		return rpc.FaultsOf(badNote)
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.FindConversationsRequest) []rpc.Violation {
		_, err := searchOf(req)
		return rpc.FaultsOf(err)
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.AddNoteRequest) []rpc.Violation {
		return text.OfNote.Faults(req.GetText())
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.HoldConversationRequest) []rpc.Violation {
		_, err := holdNote(req.GetNote())
		return rpc.FaultsOf(err)
	})
	rpc.AlsoCheck(to, func(ctx context.Context, req *messagingpb.TransferConversationRequest) []rpc.Violation {
		_, badNote := noteOf(req.GetNote())
		return append(rpc.FaultsOf(s.Taxonomy.CheckQueue(ctx, req.GetQueue()), badNote), unreadFaults(req.GetLastMessageId())...)
	})
	rpc.AlsoCheck(to, s.correctionFaults)
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.ListAuditEntriesRequest) []rpc.Violation {
		return rpc.FaultsOf(checkPeriod(req))
	})
}

// correctionFaults are those of a corrected selection, for the audience of its conversation.
// A caller who may not see the conversation learns nothing of its audience.
func (s *Server) correctionFaults(ctx context.Context, req *messagingpb.RecategoriseConversationRequest) []rpc.Violation {
	id, err := uuid.Parse(req.GetId())
	if err != nil {
		return s.themeFaults(ctx, req.GetTheme())
	}
	audience, err := s.audienceFor(ctx, conversation.ScopeOf(auth.FromContext(ctx)), id)
	if err != nil {
		return nil // the refusal does not depend on it
	}
	version, err := s.Taxonomy.Current(ctx)
	if err != nil {
		return nil
	}
	_, err = taxonomy.Choose(version, &messagingpb.SubmitMessageRequest{
		Audience: conversation.Audience(audience), Theme: req.GetTheme(), Topic: req.GetTopic(), Reason: req.GetReason(),
	})
	return rpc.FaultsOf(err)
}

// themeFaults are those of a theme that no audience has, where it is not known which one
// chooses.
func (s *Server) themeFaults(ctx context.Context, theme string) []rpc.Violation {
	version, err := s.Taxonomy.Current(ctx)
	if err != nil {
		return nil
	}
	return rpc.FaultsOf(taxonomy.CheckTheme(version, theme))
}
