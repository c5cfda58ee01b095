package messaging

import (
	"context"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
)

// checkWhole registers the checks that the calls make themselves, to run also for a request that
// breaks rules of its .proto: the caller gets all faults at once.
func (s *server) checkWhole(to *rpc.Server) {
	rpc.AlsoCheck(to, s.submissionFaults)
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.PostFollowUpRequest) []rpc.Violation {
		return s.taxonomy.LimitsForFollowUp().Faults(req.GetText())
	})
}

// submissionFaults are those of the selection, of which only the version can be checked
// without a known audience, and of the text.
func (s *server) submissionFaults(ctx context.Context, req *messagingpb.SubmitMessageRequest) []rpc.Violation {
	version, err := s.taxonomy.CheckCurrent(ctx, req.GetTaxonomyVersion())
	if _, ok := taxonomypb.Audience_name[int32(req.GetAudience())]; err == nil && ok && req.GetAudience() != 0 {
		_, err = taxonomy.Choose(version, req)
	}
	return append(rpc.FaultsOf(err), s.taxonomy.LimitsFor(req.GetTaxonomyVersion()).Faults(req.GetText())...)
}
