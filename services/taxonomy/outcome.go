package taxonomy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

const (
	// defaultDays is how far statistics go back unless asked for otherwise.
	defaultDays = 30
	// maxFigures is the most entries that are read, and the most of one page.
	maxFigures = 500
)

// outcome is what is counted, once for each key.
type outcome struct {
	call

	at      place
	service string
	what    taxonomypb.SuggestionOutcome
}

// RecordSuggestionOutcome counts what a member did with a proposal of the current
// version. An answer means that it is stored, once for each key within keyTerm. Without one
// it may be stored too, and a repeated call finds out.
func (s *server) RecordSuggestionOutcome(ctx context.Context, req *taxonomypb.RecordSuggestionOutcomeRequest) (*taxonomypb.RecordSuggestionOutcomeResponse, error) {
	at, err := s.offered(req)
	if err != nil {
		return nil, err
	}
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("digesting an outcome: %w", err)
	}
	fresh, err := s.store.count(ctx, outcome{
		at: at, service: req.GetService(), what: req.GetOutcome(),
		call: call{key: callKey(ctx), request: sha256.Sum256(content)},
	})
	if err != nil {
		return nil, err
	}
	if !fresh {
		rpc.Replayed(ctx)
		return &taxonomypb.RecordSuggestionOutcomeResponse{}, nil
	}
	s.outcomes.Add(ctx, 1, metric.WithAttributes(
		attribute.String("audience", req.GetAudience().String()), attribute.String("outcome", req.GetOutcome().String())))
	return &taxonomypb.RecordSuggestionOutcomeResponse{}, nil
}

// callKey is the digest of a caller and their idempotency key.
func callKey(ctx context.Context) [sha256.Size]byte {
	key := rpc.IdempotencyKey(ctx)
	return sha256.Sum256(append(key[:], auth.FromContext(ctx).Subject...))
}

// offered is where a service is proposed, or why it is not.
func (s *server) offered(req *taxonomypb.RecordSuggestionOutcomeRequest) (place, error) {
	at := place{req.GetAudience(), req.GetTheme(), req.GetTopic(), req.GetReason()}
	services, err := s.store.current.Load().suggest(at)
	if err != nil {
		return at, err
	}
	if !slices.ContainsFunc(services, func(o *taxonomypb.OnlineService) bool { return o.GetCode() == req.GetService() }) {
		return at, rpc.Invalid("service", errorpb.ErrorReason_SERVICE_NOT_OFFERED, fmt.Sprintf("%s is not offered service %q here", at.audience, req.GetService()))
	}
	return at, nil
}

// outcomeFaults returns the faults that only the taxonomy shows, to be reported together with
// those of the message's own rules.
func (s *server) outcomeFaults(_ context.Context, req *taxonomypb.RecordSuggestionOutcomeRequest) []rpc.Violation {
	if req.GetAudience() == taxonomypb.Audience_AUDIENCE_UNSPECIFIED || req.GetTheme() == "" || req.GetService() == "" {
		return nil
	}
	_, err := s.offered(req)
	return rpc.FaultsOf(err)
}

// GetSuggestionStatistics reports what became of proposals. See the .proto.
func (s *server) GetSuggestionStatistics(ctx context.Context, req *taxonomypb.GetSuggestionStatisticsRequest) (*taxonomypb.GetSuggestionStatisticsResponse, error) {
	after, err := figuresBefore(ctx, req)
	if err != nil {
		return nil, err
	}
	size := maxFigures
	if req.GetPageSize() > 0 {
		size = min(int(req.GetPageSize()), maxFigures)
	}
	days := cmp.Or(req.GetDays(), defaultDays)
	current := s.store.current.Load()
	q := report.Question{
		Caller: auth.FromContext(ctx).Subject, Key: fmt.Sprintf("%d %d", current.whole.GetVersion(), days), MaxAge: s.maxAge,
	}
	whole, err := report.Read(ctx, s.figures, q, func(ctx context.Context) ([]*taxonomypb.SuggestionFigures, error) {
		figures, err := s.apart.figures(ctx, days)
		if err != nil {
			return nil, err
		}
		for _, f := range figures {
			if service, ok := current.services[f.GetService().GetCode()]; ok {
				f.Service = service
			}
		}
		slices.SortFunc(figures, compareFigures)
		return figures, nil
	})
	if err != nil {
		return nil, err
	}
	resp := &taxonomypb.GetSuggestionStatisticsResponse{}
	for _, f := range whole {
		switch {
		case after != nil && compareFigures(f, after) <= 0:
		case len(resp.Figures) == size:
			resp.NextPageToken = rpc.PageToken(ctx, req, figuresKey(resp.Figures[size-1]))
			return resp, nil
		default:
			resp.Figures = append(resp.Figures, f)
		}
	}
	return resp, nil
}

// compareFigures is the order of the figures: most shown first.
func compareFigures(a, b *taxonomypb.SuggestionFigures) int {
	return cmp.Or(cmp.Compare(b.GetShown(), a.GetShown()), cmp.Compare(a.GetAudience(), b.GetAudience()), cmp.Compare(a.GetTheme(), b.GetTheme()),
		cmp.Compare(a.GetTopic(), b.GetTopic()), cmp.Compare(a.GetReason(), b.GetReason()), cmp.Compare(a.GetService().GetCode(), b.GetService().GetCode()))
}

// figuresKey is what compareFigures looks at.
func figuresKey(f *taxonomypb.SuggestionFigures) []byte {
	key, err := proto.MarshalOptions{Deterministic: true}.Marshal(&taxonomypb.SuggestionFigures{
		Shown: f.GetShown(), Audience: f.GetAudience(), Theme: f.GetTheme(), Topic: f.GetTopic(), Reason: f.GetReason(),
		Service: &taxonomypb.OnlineService{Code: f.GetService().GetCode()},
	})
	if err != nil {
		return fmt.Append(nil, err) // which is not a key
	}
	return key
}

// figuresBefore is the entry after which a page begins; nil for the first.
func figuresBefore(ctx context.Context, req rpc.ListRequest) (*taxonomypb.SuggestionFigures, error) {
	key, err := rpc.PageKey(ctx, req)
	if err != nil || key == nil {
		return nil, err
	}
	f := &taxonomypb.SuggestionFigures{}
	if proto.Unmarshal(key, f) != nil {
		return nil, rpc.ErrPageToken
	}
	return f, nil
}
