package messaging

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// checkWhole has what the handlers check for themselves looked at too where a request
// breaks rules of its .proto, so that whoever fills in a form is told all of it at once.
func (s *server) checkWhole(to *rpc.Server) {
	agents := &agentServer{server: s}
	rpc.AlsoCheck(to, s.submissionFaults)
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.PostFollowUpRequest) []rpc.Violation {
		return textFaults(req.GetText(), s.catalogue.LimitsFor(s.catalogue.Number()))
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.PostReplyRequest) []rpc.Violation {
		return textFaults(req.GetText(), text.OfAgent)
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.AddNoteRequest) []rpc.Violation {
		return textFaults(req.GetText(), text.OfNote)
	})
	rpc.AlsoCheck(to, func(ctx context.Context, req *messagingpb.SaveTemplateRequest) []rpc.Violation {
		_, badTitle := titleOf(req.GetTitle())
		return append(rpc.FaultsOf(badTitle, agents.checkQueue(ctx, req.GetQueue())), textFaults(req.GetText(), text.OfAgent)...)
	})
	rpc.AlsoCheck(to, func(ctx context.Context, req *messagingpb.TransferConversationRequest) []rpc.Violation {
		return rpc.FaultsOf(agents.checkQueue(ctx, req.GetQueue()))
	})
	rpc.AlsoCheck(to, agents.correctionFaults)
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.RequeueRefusedEventsRequest) []rpc.Violation {
		return rpc.FaultsOf(checkRequeue(req))
	})
	choices := func(given *messagingpb.Preferences) []rpc.Violation {
		if given == nil {
			return nil // which the rules say
		}
		_, err := checkChoices(given, []protoreflect.Name{"email", "phone"})
		return rpc.FaultsOf(err)
	}
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.ReplacePreferencesRequest) []rpc.Violation {
		return choices(req.GetPreferences())
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.UpdatePreferencesRequest) []rpc.Violation {
		_, badMask := chosenPaths(req)
		return append(choices(req.GetPreferences()), rpc.FaultsOf(badMask)...)
	})
}

func textFaults(raw string, within text.Limits) []rpc.Violation {
	_, err := within.Normalise(raw)
	return rpc.FaultsOf(err)
}

// submissionFaults are those of the selection, of which nobody can judge more than the
// version without the audience, and of the text.
func (s *server) submissionFaults(ctx context.Context, req *messagingpb.SubmitMessageRequest) []rpc.Violation {
	version, err := s.catalogue.CheckCurrent(ctx, req.GetTaxonomyVersion())
	if _, ok := taxonomypb.Audience_name[int32(req.GetAudience())]; err == nil && ok && req.GetAudience() != 0 {
		_, err = taxonomy.Choose(version, req)
	}
	return append(rpc.FaultsOf(err), textFaults(req.GetText(), s.catalogue.LimitsFor(req.GetTaxonomyVersion()))...)
}

// correctionFaults are those of a corrected selection, for the audience of its conversation.
// Who may not see that is not told more than that the request is wrong.
func (s *agentServer) correctionFaults(ctx context.Context, req *messagingpb.RecategoriseConversationRequest) []rpc.Violation {
	id, err := uuid.Parse(req.GetId())
	if err != nil {
		return s.themeFaults(ctx, req.GetTheme())
	}
	audience, err := s.store.audienceFor(ctx, scopeOf(auth.FromContext(ctx)), id)
	if err != nil {
		return nil // the refusal does not depend on it
	}
	version, err := s.catalogue.Current(ctx)
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
func (s *server) themeFaults(ctx context.Context, theme string) []rpc.Violation {
	version, err := s.catalogue.Current(ctx)
	if err != nil {
		return nil
	}
	return rpc.FaultsOf(taxonomy.CheckTheme(version, theme))
}
