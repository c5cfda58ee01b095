package taxonomy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// service answers with a version, under a header, or refuses.
type service struct {
	taxonomypb.TaxonomyServiceClient

	header  string
	version atomic.Int32
	refusal atomic.Pointer[status.Status]
	asked   atomic.Int32
	token   atomic.Bool
	wait    time.Duration
}

func (s *service) GetTaxonomy(ctx context.Context, req *taxonomypb.GetTaxonomyRequest, opts ...grpc.CallOption) (*taxonomypb.GetTaxonomyResponse, error) {
	s.asked.Add(1)
	if sent, _ := metadata.FromOutgoingContext(ctx); len(sent.Get("authorization")) > 0 {
		s.token.Store(true)
	}
	select {
	case <-time.After(s.wait):
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if refusal := s.refusal.Load(); refusal != nil {
		return nil, refusal.Err()
	}
	for _, opt := range opts {
		if header, ok := opt.(grpc.HeaderCallOption); ok && s.header != "" {
			*header.HeaderAddr = metadata.Pairs("cache-control", s.header)
		}
	}
	return &taxonomypb.GetTaxonomyResponse{Version: s.version.Load(), Audience: req.GetAudience()}, nil
}

const member = taxonomypb.Audience_PARTICULIER

func version(t *testing.T, trees *Trees) int32 {
	t.Helper()
	tree, err := trees.Tree(t.Context(), member)
	if err != nil {
		t.Fatal(err)
	}
	return tree.GetVersion()
}

func TestTree_IsKeptAsLongAsItSays(t *testing.T) {
	t.Parallel()
	for header, kept := range map[string]time.Duration{
		"public, max-age=60": time.Minute, "max-age=0": 0, "": 0, "no-store": 0, "max-age=x": 0, "Max-Age=30": 30 * time.Second, "max-age=86400": keptMost,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &service{header: header}
			s.version.Store(1)
			trees := NewTrees(s)
			version(t, trees)
			s.version.Store(2)
			if kept > 0 {
				time.Sleep(kept - time.Second) //nolint:forbidigo // of the bubble's clock
				if got := version(t, trees); got != 1 || s.asked.Load() != 1 {
					t.Errorf("%q: version %d after %d questions", header, got, s.asked.Load())
				}
			}
			time.Sleep(time.Second) //nolint:forbidigo // as above
			if got := version(t, trees); got != 2 {
				t.Errorf("%q: version %d after its time", header, got)
			}
			// Each audience has its own.
			if tree, err := trees.Tree(t.Context(), taxonomypb.Audience_EMPLOYEUR); err != nil || tree.GetAudience() != taxonomypb.Audience_EMPLOYEUR {
				t.Errorf("%q: %v, %v", header, tree, err)
			}
		})
	}
}

func TestTree_WhileTheGatewayIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &service{header: "max-age=60"}
		s.version.Store(1)
		trees := NewTrees(s)
		version(t, trees)
		s.refusal.Store(status.New(codes.Unavailable, ""))
		time.Sleep(2 * time.Minute) //nolint:forbidigo // of the bubble's clock
		for range 3 {
			if got := version(t, trees); got != 1 {
				t.Errorf("version %d", got)
			}
		}
		if n := s.asked.Load(); n != 2 {
			t.Errorf("asked %d times within the pause", n)
		}
		time.Sleep(pause) //nolint:forbidigo // as above
		version(t, trees)
		if n := s.asked.Load(); n != 3 {
			t.Errorf("asked %d times after the pause", n)
		}
		time.Sleep(keptMost) //nolint:forbidigo // as above
		if _, err := trees.Tree(t.Context(), member); status.Code(err) != codes.Unavailable {
			t.Errorf("after all its time: %v", err)
		}
		s.refusal.Store(nil)
		version(t, trees)
		// A refusal is no absence.
		time.Sleep(time.Minute) //nolint:forbidigo // as above
		s.refusal.Store(status.New(codes.PermissionDenied, ""))
		if _, err := trees.Tree(t.Context(), member); status.Code(err) != codes.PermissionDenied {
			t.Errorf("refused: %v", err)
		}
	})
}

func TestTree_IsAskedForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &service{header: "max-age=60", wait: time.Second}
		trees := NewTrees(s)
		// The one that asks leaves; the others are answered, without its token.
		ctx, leave := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer secret"))
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := trees.Tree(ctx, member); status.Code(err) != codes.Canceled {
				t.Errorf("who has left: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			all.Go(func() { version(t, trees) })
		}
		synctest.Wait()
		leave()
		all.Wait()
		if s.asked.Load() != 1 || s.token.Load() {
			t.Errorf("asked %d times, with a token: %t", s.asked.Load(), s.token.Load())
		}
	})
}

func TestTree_IsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		trees := NewTrees(&service{wait: time.Hour})
		begun := time.Now()
		if _, err := trees.Tree(t.Context(), member); status.Code(err) != codes.DeadlineExceeded || time.Since(begun) != askTimeout {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
	})
}

func TestForget(t *testing.T) {
	t.Parallel()
	s := &service{header: "max-age=60"}
	s.version.Store(1)
	trees := NewTrees(s)
	version(t, trees)
	s.version.Store(2)
	trees.Forget(member, 7) // another version than the one kept
	trees.Forget(taxonomypb.Audience_EMPLOYEUR, 1)
	if got := version(t, trees); got != 1 {
		t.Errorf("version %d", got)
	}
	trees.Forget(member, 1)
	if got := version(t, trees); got != 2 {
		t.Errorf("version %d after it was forgotten", got)
	}
}

// served has the header that a server sends.
type served struct {
	taxonomypb.UnimplementedTaxonomyServiceServer
	asked atomic.Int32
}

func (s *served) GetTaxonomy(ctx context.Context, _ *taxonomypb.GetTaxonomyRequest) (*taxonomypb.GetTaxonomyResponse, error) {
	s.asked.Add(1)
	return &taxonomypb.GetTaxonomyResponse{}, grpc.SetHeader(ctx, metadata.Pairs("cache-control", "public, max-age=60"))
}

func TestTree_OverTheWire(t *testing.T) {
	t.Parallel()
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, server := &served{}, grpc.NewServer()
	taxonomypb.RegisterTaxonomyServiceServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	t.Cleanup(func() { server.Stop(); <-done })
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	trees := NewTrees(taxonomypb.NewTaxonomyServiceClient(conn))
	for range 3 {
		version(t, trees)
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
