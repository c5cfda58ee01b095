package gateway

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// arrival is one call as a service saw it.
type arrival struct {
	method   string
	metadata metadata.MD
	left     time.Duration // until its deadline; 0 for none
	request  proto.Message
	partial  bool // marked as the part of it that could be read
}

// backend is both services behind the gateway, on the server that real services
// use. It answers what it has no handler for with an empty message.
type backend struct {
	messagingpb.UnimplementedMessagingServiceServer
	messagingpb.UnimplementedRecipientServiceServer
	taxonomypb.UnimplementedTaxonomyServiceServer
	taxonomypb.UnimplementedCatalogueServiceServer

	addr   string
	submit func(context.Context, *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error)
	// watch answers watches; nil: with one empty answer.
	watch func(ctx context.Context, send func(*messagingpb.WatchConversationsResponse) error) error
	// export answers exports, likewise.
	export func(send func(*messagingpb.ExportMyDataResponse) error) error
	// fail is the answer to every call; nil: none is failed.
	fail atomic.Pointer[rpc.Error]
	// label is in GetTaxonomy's answer, to make it large.
	label string

	mu       sync.Mutex
	arrivals []arrival
}

func (b *backend) SubmitMessage(ctx context.Context, req *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error) {
	if b.submit == nil {
		return &messagingpb.SubmitMessageResponse{}, nil
	}
	return b.submit(ctx, req)
}

func (b *backend) GetTaxonomy(ctx context.Context, _ *taxonomypb.GetTaxonomyRequest) (*taxonomypb.GetTaxonomyResponse, error) {
	err := grpc.SetHeader(ctx, metadata.Pairs("etag", `"v1-particulier"`, "cache-control", "public, max-age=60", "x-internal", "pod-7"))
	resp := &taxonomypb.GetTaxonomyResponse{Version: 1}
	if b.label != "" {
		resp.Themes = []*taxonomypb.Theme{{Code: "long", Label: b.label}}
	}
	return resp, err
}

func (b *backend) WatchConversations(_ *messagingpb.WatchConversationsRequest, stream grpc.ServerStreamingServer[messagingpb.WatchConversationsResponse]) error {
	return b.watch(stream.Context(), stream.Send)
}

func (b *backend) ExportMyData(_ *messagingpb.ExportMyDataRequest, stream grpc.ServerStreamingServer[messagingpb.ExportMyDataResponse]) error {
	return b.export(stream.Send)
}

// record is outside the server's own admission, to see what the gateway sent.
func (b *backend) record(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if strings.HasPrefix(info.FullMethod, "/grpc.") {
		return next(ctx, req)
	}
	seen := arrival{method: info.FullMethod, request: req.(proto.Message)}
	seen.metadata, _ = metadata.FromIncomingContext(ctx)
	seen.partial = len(seen.request.ProtoReflect().GetUnknown()) > 0
	if deadline, ok := ctx.Deadline(); ok {
		seen.left = time.Until(deadline)
	}
	b.mu.Lock()
	b.arrivals = append(b.arrivals, seen)
	b.mu.Unlock()
	if fault := b.fail.Load(); fault != nil {
		return nil, fault
	}
	resp, err := next(ctx, req)
	if status.Code(err) == codes.Unimplemented {
		method, _ := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(info.FullMethod[1:], "/", ".")))
		output, err := protoregistry.GlobalTypes.FindMessageByName(method.(protoreflect.MethodDescriptor).Output().FullName())
		return output.New().Interface(), err
	}
	return resp, err
}

// recordStream is record for methods with many answers: it gives one.
func (b *backend) recordStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if strings.HasPrefix(info.FullMethod, "/grpc.") {
		return next(srv, stream)
	}
	b.mu.Lock()
	seen := arrival{method: info.FullMethod}
	seen.metadata, _ = metadata.FromIncomingContext(stream.Context())
	b.arrivals = append(b.arrivals, seen)
	b.mu.Unlock()
	if fault := b.fail.Load(); fault != nil {
		return fault
	}
	if b.watch != nil && info.FullMethod == messagingpb.MessagingService_WatchConversations_FullMethodName ||
		b.export != nil && info.FullMethod == messagingpb.MessagingService_ExportMyData_FullMethodName {
		return next(srv, stream)
	}
	method, _ := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(info.FullMethod[1:], "/", ".")))
	output, err := protoregistry.GlobalTypes.FindMessageByName(method.(protoreflect.MethodDescriptor).Output().FullName())
	if err != nil {
		return err
	}
	return stream.SendMsg(output.New().Interface())
}

// take returns what has arrived since the last time.
func (b *backend) take() []arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	arrivals := b.arrivals
	b.arrivals = nil
	return arrivals
}

func (b *backend) last(t *testing.T) arrival {
	t.Helper()
	arrivals := b.take()
	if len(arrivals) != 1 {
		t.Fatalf("%d calls arrived, want 1", len(arrivals))
	}
	return arrivals[0]
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	var config net.ListenConfig
	lis, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

// background runs until the end of the test, or until stop is called.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ending: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// stack is a gateway with its surroundings.
type stack struct {
	*backend
	hooks  hooks
	grpc   *grpc.ClientConn
	url    string
	tokens map[string]string
	// stop ends the gateway and waits for it.
	stop func()
}

// scopes are all that any method wants.
func scopes(t *testing.T) (list []string) {
	t.Helper()
	routes, err := readRoutes(forwarded, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range routes {
		list = append(list, rt.Scope)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// start runs a gateway on the loopback, changed as wished.
func start(t *testing.T, changes ...func(*Config)) *stack {
	t.Helper()
	members, agents, machines := testenv.NewIssuer(t, auth.RealmMember), testenv.NewIssuer(t, auth.RealmAgent), testenv.NewIssuer(t, auth.RealmMachine)
	claims := func(name string, value any) map[string]any { return map[string]any{"sub": "somebody", name: value} }
	roles := func(list ...string) map[string]any { return claims("roles", list) }
	s := &stack{backend: &backend{}, tokens: map[string]string{
		"nobody":         "",
		"member":         members.Token(t, roles()),
		"agent":          agents.Token(t, roles("agent")),
		"supervisor":     agents.Token(t, roles("supervisor")),
		"operator":       agents.Token(t, roles("operator")),
		"tool":           machines.Token(t, map[string]any{"sub": "tool", "roles": []string{"agent"}, "scope": "queue.read"}),
		"crm":            machines.Token(t, map[string]any{"sub": "crm", "roles": []string{"agent"}, "scope": strings.Join(scopes(t), " ")}),
		"service":        machines.Token(t, roles("service")),
		"false agent":    members.Token(t, roles("agent", "supervisor", "service")),
		"garbage":        "not.a.token",
		"wrong audience": members.Token(t, claims("aud", "other")),
		"lapsed":         members.Token(t, claims("exp", time.Now().Add(-time.Hour).Unix())),
	}}
	issuers := auth.Config{Issuers: auth.Issuers{members.Issuer, agents.Issuer, machines.Issuer}}
	s.serveBackend(t, issuers)

	grpcListener, httpListener := listen(t), listen(t)
	cfg := Config{Config: issuers, HTTPListener: httpListener, TaxonomyAddr: s.addr, MessagingAddr: s.addr, NotifierAddr: s.addr, CallTimeout: 10 * time.Second, ReadyPatience: 30 * time.Second}
	cfg.Listener, cfg.DrainTimeout, cfg.AccessLog = grpcListener, 10*time.Second, true
	for _, change := range changes {
		change(&cfg)
	}
	s.stop = background(t, func(ctx context.Context) error { return Run(ctx, cfg) })
	s.url = "http://" + httpListener.Addr().String()
	s.grpc = dial(t, grpcListener.Addr().String())
	return s
}

func (s *stack) serveBackend(t *testing.T, issuers auth.Config) {
	t.Helper()
	lis := listen(t)
	s.addr = lis.Addr().String()
	server, err := rpc.NewServer(rpc.ServerConfig{Listener: lis}, auth.NewVerifier(issuers), grpc.ChainUnaryInterceptor(s.record), grpc.ChainStreamInterceptor(s.recordStream), grpc.MaxRecvMsgSize(2<<20))
	if err != nil {
		t.Fatal(err)
	}
	// Any ticket but one is somebody's.
	server.Redeem(func(_ context.Context, ticket string) (*auth.Identity, error) {
		if ticket == "spent" {
			return nil, rpc.ErrTicket
		}
		return &auth.Identity{Subject: "member:" + ticket, Realm: auth.RealmMember}, nil
	})
	messagingpb.RegisterMessagingServiceServer(server, s.backend)
	messagingpb.RegisterAgentServiceServer(server, messagingpb.UnimplementedAgentServiceServer{})
	messagingpb.RegisterOperatorServiceServer(server, messagingpb.UnimplementedOperatorServiceServer{})
	messagingpb.RegisterRecipientServiceServer(server, s.backend)
	messagingpb.RegisterEventLogServiceServer(server, messagingpb.UnimplementedEventLogServiceServer{})
	notifierpb.RegisterNotifierServiceServer(server, notifierpb.UnimplementedNotifierServiceServer{})
	notifierpb.RegisterAgentServiceServer(server, notifierpb.UnimplementedAgentServiceServer{})
	notifierpb.RegisterOperatorServiceServer(server, notifierpb.UnimplementedOperatorServiceServer{})
	notifierpb.RegisterWebhookServiceServer(server, &s.hooks)
	taxonomypb.RegisterTaxonomyServiceServer(server, s.backend)
	taxonomypb.RegisterOperatorServiceServer(server, taxonomypb.UnimplementedOperatorServiceServer{})
	taxonomypb.RegisterCatalogueServiceServer(server, s.backend)
	background(t, func(ctx context.Context) error { return server.Serve(ctx, time.Second) })
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// as returns a context for gRPC calls by a caller.
func (s *stack) as(t *testing.T, caller string, pairs ...string) context.Context {
	t.Helper()
	if s.tokens[caller] != "" {
		pairs = append(pairs, "authorization", "Bearer "+s.tokens[caller])
	}
	if !slices.Contains(pairs, rpc.IdempotencyKeyName) {
		pairs = append(pairs, rpc.IdempotencyKeyName, someKey)
	}
	return metadata.AppendToOutgoingContext(t.Context(), pairs...)
}

// someKey is the idempotency key of calls that do not care.
const someKey = "6f1c1f6e-8f3b-4d0a-9d53-0d5c1b0f4c11"

// reply is an answer of REST, read to its end.
type reply struct {
	code   int
	header http.Header
	body   string
}

// status reads the body as the error that it should be.
func (r reply) status(t *testing.T) *status.Status {
	t.Helper()
	var st spb.Status
	if err := protojson.Unmarshal([]byte(r.body), &st); err != nil {
		t.Fatalf("%d %q is not a google.rpc.Status: %v", r.code, r.body, err)
	}
	return status.FromProto(&st)
}

// rest calls by REST; pairs are headers. A body is announced as JSON unless a
// header says otherwise.
func (s *stack) rest(t *testing.T, caller, verb, path, body string, pairs ...string) reply {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = bytes.NewBufferString(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), verb, s.url+path, content)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.tokens[caller] != "" {
		req.Header.Set("Authorization", "Bearer "+s.tokens[caller])
	}
	req.Header.Set("Idempotency-Key", someKey)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == "Host" {
			req.Host = pairs[i+1]
		}
		req.Header.Set(pairs[i], pairs[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}
