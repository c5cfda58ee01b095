package taxonomy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// server implements the gRPC services. All but the counts of proposals and searches is
// answered from memory.
type server struct {
	taxonomypb.UnimplementedTaxonomyServiceServer
	taxonomypb.UnimplementedCatalogueServiceServer
	taxonomypb.UnimplementedOperatorServiceServer

	store *store
	// apart reads the counts through connections of its own, by turns (figures).
	apart   *store
	figures *report.Limiter
	maxAge  time.Duration

	suggestions metric.Int64Counter
	outcomes    metric.Int64Counter
	searches    metric.Int64Counter
	skipped     metric.Int64Counter
}

// maxAge is how long a browser may reuse an answer without asking, in seconds. A
// submission from a version that was replaced meanwhile is refused.
const maxAge = 60

// GetTaxonomy answers the guide's step 2.
func (s *server) GetTaxonomy(ctx context.Context, req *taxonomypb.GetTaxonomyRequest) (*taxonomypb.GetTaxonomyResponse, error) {
	answer := s.store.current.Load().answers[req.GetAudience()]
	if answer == nil {
		return nil, notServed(req.GetAudience())
	}
	etag := fmt.Sprintf(`"v%d-%s"`, answer.GetVersion(), strings.ToLower(req.GetAudience().String()))
	header := metadata.Pairs("etag", etag, "cache-control", "public, max-age="+strconv.Itoa(maxAge))
	if err := grpc.SetHeader(ctx, header); err != nil {
		return nil, fmt.Errorf("setting headers: %w", err)
	}
	return answer, nil
}

// ResolveSuggestion answers the guide's step 3.
func (s *server) ResolveSuggestion(ctx context.Context, req *taxonomypb.ResolveSuggestionRequest) (*taxonomypb.ResolveSuggestionResponse, error) {
	services, err := s.store.current.Load().suggest(place{req.GetAudience(), req.GetTheme(), req.GetTopic(), req.GetReason()})
	if err != nil {
		return nil, err
	}
	s.suggestions.Add(ctx, 1, metric.WithAttributes(
		attribute.String("audience", req.GetAudience().String()), attribute.Bool("found", len(services) > 0)))
	return &taxonomypb.ResolveSuggestionResponse{Services: services}, nil
}

// SearchReasons finds selections and services by words. See the .proto.
//
// Anybody may call it, and as often as the gateway lets them: whatever is asked, it takes about as
// long as the call around it (words.Index).
func (s *server) SearchReasons(_ context.Context, req *taxonomypb.SearchReasonsRequest) (*taxonomypb.SearchReasonsResponse, error) {
	finder := s.store.current.Load().finder
	if _, ok := finder.views[req.GetAudience()]; !ok {
		return nil, notServed(req.GetAudience())
	}
	return finder.search(req.GetAudience(), req.GetQ()), nil
}

func notServed(audience taxonomypb.Audience) error {
	return rpc.Invalid("audience", errorpb.ErrorReason_AUDIENCE_NOT_SERVED, fmt.Sprintf("the taxonomy has nothing for %s", audience))
}

// GetCatalogue gives this system's own processes a version, whole.
func (s *server) GetCatalogue(ctx context.Context, req *taxonomypb.GetCatalogueRequest) (*taxonomypb.GetCatalogueResponse, error) {
	wanted := s.store.current.Load()
	current := wanted.whole.GetVersion()
	resp := &taxonomypb.GetCatalogueResponse{CurrentVersion: current}
	switch {
	case req.GetVersion() == 0 && req.GetKnownVersion() == current:
		resp.Unchanged = true
		return resp, nil
	case req.GetVersion() != 0 && req.GetVersion() != current:
		var err error
		wanted, err = s.store.version(ctx, int(req.GetVersion()))
		if errors.Is(err, errNoVersion) {
			return nil, rpc.Refuse(codes.NotFound, errorpb.ErrorReason_TAXONOMY_VERSION_UNKNOWN, "no such version of the taxonomy",
				"given", strconv.Itoa(int(req.GetVersion())), "current", strconv.Itoa(int(current)))
		}
		if err != nil {
			return nil, err
		}
	}
	resp.Catalogue = wanted.whole
	return resp, nil
}
