package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// ServerConfig is the gRPC side of a configuration. Embed it.
type ServerConfig struct {
	// Addr is where gRPC is served.
	Addr string `env:"GRPC_ADDR" envDefault:":9090"`
	// Reflection lets tools list the services (gRPC server reflection).
	Reflection bool `env:"GRPC_REFLECTION" envDefault:"false"`
	// MTLS secures calls between services: *_MTLS_*. The gateway, whose own port is open to
	// all, uses it only to call the services.
	MTLS MutualTLS `envPrefix:"MTLS_"`
	// Listener is used instead of Addr when set.
	Listener net.Listener
}

// StreamLife is the longest that a stream of answers may last. A connection past its age
// takes no new calls and waits that long for its streams, which would otherwise fail.
const StreamLife = 15 * time.Minute

const (
	// maxRequestBytes is above a message of 5000 four-byte characters.
	maxRequestBytes = 64 << 10
	// maxStreams bounds the calls of one connection, which is one process of
	// ours or one gateway.
	maxStreams = 1024
	// maxHeaderBytes bounds the header list of a call: a token of 8 KiB, and the rest.
	// gRPC's own bound is 16 MiB for each call.
	maxHeaderBytes = 16 << 10
	// deadlineShave is taken off a caller's deadline, see the package doc.
	deadlineShave = 20 * time.Millisecond
)

// Server is a gRPC server with health, policy and drain. Register services on
// it, then call Serve.
//
// Its health (grpc.health.v1) is NOT_SERVING until Serve is called and all that was
// given to HoldUntil has come, SERVING from then on, and NOT_SERVING again during the
// drain. Clients made by [Dial] call no server whose health is NOT_SERVING.
type Server struct {
	*grpc.Server
	cfg    ServerConfig
	guard  *Guard
	input  *input
	health *health.Server
	holds  []<-chan struct{}
	// translate is nil where errors are what they are.
	translate func(error) error
	// redeem is nil if the server takes no tickets.
	redeem func(ctx context.Context, ticket string) (*auth.Identity, error)
}

// AlsoCheck adds a check for a message type that runs if the message's own rules find faults,
// so that the caller gets all faults at once. The check sees only invalid messages; a valid
// one goes to the handler, which checks for itself. Call it before Serve.
func AlsoCheck[M proto.Message](s *Server, check func(context.Context, M) []Violation) {
	var typ M
	s.input.checks[typ.ProtoReflect().Descriptor().FullName()] = func(ctx context.Context, msg proto.Message) []Violation {
		typed, ok := msg.(M)
		if !ok {
			return nil
		}
		return check(ctx, typed)
	}
}

// NewServer returns a server whose callers are verified by v.
func NewServer(cfg ServerConfig, v *auth.Verifier, opts ...grpc.ServerOption) (*Server, error) {
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("opening the validator: %w", err)
	}
	creds, err := cfg.MTLS.server()
	if err != nil {
		return nil, err
	}
	if creds != nil {
		opts = append(opts, grpc.Creds(creds))
	}
	requests := &input{validator: validator, checks: make(map[protoreflect.FullName]func(context.Context, proto.Message) []Violation)}
	s := &Server{cfg: cfg, guard: &Guard{Verifier: v}, input: requests, health: health.NewServer()}
	panics := recovery.WithRecoveryHandlerContext(recovered)
	opts = append(BaseOptions(),
		append(opts,
			grpc.ForceServerCodecV2(newCodec()),
			grpc.ChainUnaryInterceptor(recovery.UnaryServerInterceptor(panics), s.reportUnary, shave, s.admitUnary, s.keyed, requests.unary),
			grpc.ChainStreamInterceptor(recovery.StreamServerInterceptor(panics), s.reportStream, s.admitStream, requests.stream))...)
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	s.Server = grpc.NewServer(opts...)
	healthpb.RegisterHealthServer(s.Server, s.health)
	if cfg.Reflection {
		reflection.Register(s.Server)
	}
	return s, nil
}

// BaseOptions are the limits and the telemetry that every gRPC server of the
// system has. An otelgrpc.WithFilter given here replaces the one that leaves out
// health checks.
func BaseOptions(telemetry ...otelgrpc.Option) []grpc.ServerOption {
	telemetry = append([]otelgrpc.Option{otelgrpc.WithFilter(filters.Not(filters.HealthCheck()))}, telemetry...)
	return []grpc.ServerOption{
		grpc.StatsHandler(otelgrpc.NewServerHandler(telemetry...)),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      10 * time.Minute,
			MaxConnectionAgeGrace: StreamLife + time.Minute,
			Time:                  time.Minute,
			Timeout:               20 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
}

// HoldUntil keeps the server's health at NOT_SERVING until a channel is closed, which the
// service does when it has what it cannot answer without. Calls that come earlier are not
// refused here. Call it before Serve, once for each condition. It is for the start alone:
// a service that loses a condition later and goes on with what it has stays SERVING.
func (s *Server) HoldUntil(ready <-chan struct{}) { s.holds = append(s.holds, ready) }

// Translate has the errors of handlers turned into others before they are reported: here a
// service says once what its callers get for a row that is not there, or a database that is
// away. It is called with no nil error. Call Translate before Serve.
func (s *Server) Translate(translate func(error) error) { s.translate = translate }

// open sets the health to SERVING when all conditions of HoldUntil are met, at once if there
// are none. A drain that has begun meanwhile wins: after it, the health does not change. Call
// end when the server has ended.
func (s *Server) open(ctx context.Context) (end func()) {
	if len(s.holds) == 0 {
		s.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for _, ready := range s.holds {
			select {
			case <-ready:
			case <-ctx.Done():
				return
			}
		}
		s.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	})
	return func() {
		cancel()
		waiting.Wait()
	}
}

// Serve answers until ctx is done, then stops taking calls and waits for those
// under way, for at most drain. It refuses to start if a method has no policy.
func (s *Server) Serve(ctx context.Context, drain time.Duration) error {
	policy, err := policyOfServer(s.GetServiceInfo())
	if err != nil {
		return fmt.Errorf("reading the access policy: %w", err)
	}
	s.guard.Policy = policy
	lis := s.cfg.Listener
	if lis == nil {
		if lis, err = chassis.Listen(ctx, s.cfg.Addr, "GRPC_ADDR"); err != nil {
			return err
		}
	}
	defer s.open(ctx)()
	return ServeGRPC(ctx, s.Server, s.health, lis, drain)
}

// ServeGRPC serves until ctx is done and then drains, for at most the time
// given; calls still running are then cut.
func ServeGRPC(ctx context.Context, server *grpc.Server, hs *health.Server, lis net.Listener, drain time.Duration) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		hs.Shutdown()
		cut := time.AfterFunc(drain, server.Stop)
		defer cut.Stop()
		server.GracefulStop()
	})
	err := server.Serve(lis)
	if stop() {
		// Serve ended by itself, not by the context.
		return fmt.Errorf("serving gRPC on %s: %w", lis.Addr(), err)
	}
	<-stopped
	return nil
}

// recovered logs a panic by its type alone: its value may hold a request.
func recovered(ctx context.Context, fault any) error {
	method, _ := grpc.Method(ctx)
	slog.ErrorContext(ctx, "panic", "method", method, "type", fmt.Sprintf("%T", fault), "stack", string(debug.Stack()))
	st, _ := StatusOf(ctx, errors.New("panic"))
	return st.Err()
}

func (s *Server) reportUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	err = Report(ctx, info.FullMethod, s.translated(err))
	// The gateway logs each call at level info; this says which process it went to.
	slog.DebugContext(ctx, "call", "method", info.FullMethod, "code", status.Code(err).String())
	return resp, err
}

func (s *Server) reportStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return Report(stream.Context(), info.FullMethod, s.translated(next(srv, stream)))
}

func (s *Server) translated(err error) error {
	if err == nil || s.translate == nil {
		return err
	}
	return s.translate(err)
}

// Report logs what the caller must not see and returns what the caller may see.
func Report(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	st, hidden := StatusOf(ctx, err)
	var refusal *Error
	switch {
	case hidden:
		slog.ErrorContext(ctx, "internal error", "method", method, "error", err)
	case errors.As(err, &refusal) && refusal.Cause != nil:
		slog.WarnContext(ctx, "refused", "method", method, "code", st.Code().String(), "reason", refusal.Reason.String(), "error", refusal.Cause)
	}
	return st.Err()
}

func shave(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return next(ctx, req)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-deadlineShave))
	defer cancel()
	return next(ctx, req)
}

func (s *Server) admitUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if isInfrastructure(info.FullMethod) {
		return next(ctx, req)
	}
	ctx, err := s.guard.Admit(ctx, info.FullMethod, Authorization(ctx))
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) admitStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if isInfrastructure(info.FullMethod) {
		return next(srv, stream)
	}
	ctx, err := stream.Context(), error(nil)
	authorization, ticket := Authorization(ctx), ticketOf(ctx)
	if s.redeem != nil && s.guard.Ticketed(info.FullMethod, authorization, ticket) {
		ctx, err = s.admitTicket(ctx, info.FullMethod, ticket)
	} else {
		ctx, err = s.guard.Admit(ctx, info.FullMethod, authorization)
	}
	if err != nil {
		return err
	}
	return next(srv, &admittedStream{stream, ctx})
}

type admittedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // how gRPC hands a context to a stream's handler
}

func (s *admittedStream) Context() context.Context { return s.ctx }

func isInfrastructure(fullMethod string) bool {
	service, _, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	return infrastructure[service]
}
