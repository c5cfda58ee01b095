package taxonomy

import (
	"context"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

const (
	// defaultDays is how far statistics go back unless asked for otherwise.
	defaultDays = 30
	// maxFigures is the most entries of one answer.
	maxFigures = 500
)

// RecordSuggestionOutcome counts what a member did with a proposal of the current
// version. An answer means that it is stored. Without one it may be stored too, and
// a repeated call then counts twice: these are figures, no accounts.
func (s *server) RecordSuggestionOutcome(ctx context.Context, req *taxonomypb.RecordSuggestionOutcomeRequest) (*taxonomypb.RecordSuggestionOutcomeResponse, error) {
	at := place{req.GetAudience(), req.GetTheme(), req.GetTopic(), req.GetReason()}
	offered, err := s.store.current.Load().suggest(at)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(offered, func(o *taxonomypb.OnlineService) bool { return o.GetCode() == req.GetService() }) {
		return nil, rpc.Invalid("service", errorpb.ErrorReason_SERVICE_NOT_OFFERED, fmt.Sprintf("%s is not offered service %q here", at.audience, req.GetService()))
	}
	if err := s.store.count(ctx, at, req.GetService(), req.GetOutcome()); err != nil {
		return nil, err
	}
	s.outcomes.Add(ctx, 1, metric.WithAttributes(
		attribute.String("audience", req.GetAudience().String()), attribute.String("outcome", req.GetOutcome().String())))
	return &taxonomypb.RecordSuggestionOutcomeResponse{}, nil
}

// GetSuggestionStatistics reports what became of proposals. See the .proto.
func (s *server) GetSuggestionStatistics(ctx context.Context, req *taxonomypb.GetSuggestionStatisticsRequest) (*taxonomypb.GetSuggestionStatisticsResponse, error) {
	days := req.GetDays()
	if days == 0 {
		days = defaultDays
	}
	current := s.store.current.Load()
	q := report.Question{
		Caller: auth.FromContext(ctx).Subject, Key: fmt.Sprintf("%d %d", current.whole.GetVersion(), days), MaxAge: s.maxAge,
	}
	return report.Read(ctx, s.figures, q, func(ctx context.Context) (*taxonomypb.GetSuggestionStatisticsResponse, error) {
		figures, err := s.apart.figures(ctx, days)
		if err != nil {
			return nil, err
		}
		for _, f := range figures {
			if service, ok := current.services[f.GetService().GetCode()]; ok {
				f.Service = service
			}
		}
		return &taxonomypb.GetSuggestionStatisticsResponse{Figures: figures}, nil
	})
}
