package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// service answers one method by whatever a test puts into it.
type service struct {
	messagingpb.UnimplementedMessagingServiceServer
	messagingpb.UnimplementedRecipientServiceServer
	taxonomypb.UnimplementedTaxonomyServiceServer
	answer func(context.Context) error
}

func (s *service) ListConversations(ctx context.Context, _ *messagingpb.ListConversationsRequest) (*messagingpb.ListConversationsResponse, error) {
	return &messagingpb.ListConversationsResponse{}, s.answer(ctx)
}

func (s *service) SubmitMessage(ctx context.Context, _ *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error) {
	return &messagingpb.SubmitMessageResponse{}, s.answer(ctx)
}

func (s *service) WatchConversations(_ *messagingpb.WatchConversationsRequest, stream grpc.ServerStreamingServer[messagingpb.WatchConversationsResponse]) error {
	return s.answer(stream.Context())
}

// agentService is apart because both have methods of the same names.
type agentService struct {
	messagingpb.UnimplementedAgentServiceServer
	*service
}

func (s *agentService) ListConversations(ctx context.Context, _ *messagingpb.AgentServiceListConversationsRequest) (*messagingpb.AgentServiceListConversationsResponse, error) {
	return &messagingpb.AgentServiceListConversationsResponse{}, s.answer(ctx)
}

func (s *agentService) FindConversations(ctx context.Context, _ *messagingpb.FindConversationsRequest) (*messagingpb.FindConversationsResponse, error) {
	return &messagingpb.FindConversationsResponse{}, s.answer(ctx)
}

func (s *agentService) WatchConversations(_ *messagingpb.AgentServiceWatchConversationsRequest, stream grpc.ServerStreamingServer[messagingpb.AgentServiceWatchConversationsResponse]) error {
	return s.answer(stream.Context())
}

func (s *service) BatchGetRecipients(ctx context.Context, _ *messagingpb.BatchGetRecipientsRequest) (*messagingpb.BatchGetRecipientsResponse, error) {
	return &messagingpb.BatchGetRecipientsResponse{}, s.answer(ctx)
}

func (s *service) GetTaxonomy(ctx context.Context, _ *taxonomypb.GetTaxonomyRequest) (*taxonomypb.GetTaxonomyResponse, error) {
	return &taxonomypb.GetTaxonomyResponse{}, s.answer(ctx)
}

// server is a running server with one issuer for each realm.
type server struct {
	conn                     *grpc.ClientConn
	members, agents, machine *testenv.Issuer
	stop                     context.CancelFunc
	stopped                  chan error
}

func start(t *testing.T, answer func(context.Context) error, configure ...func(*rpc.Server)) *server {
	t.Helper()
	s := &server{
		members: testenv.NewIssuer(t, auth.RealmMember), agents: testenv.NewIssuer(t, auth.RealmAgent),
		machine: testenv.NewIssuer(t, auth.RealmMachine), stopped: make(chan error, 1),
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	verifier := auth.NewVerifier(auth.Config{Issuers: auth.Issuers{s.members.Issuer, s.agents.Issuer, s.machine.Issuer}})
	srv, err := rpc.NewServer(rpc.ServerConfig{Listener: lis}, verifier)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range configure {
		set(srv)
	}
	impl := &service{answer: answer}
	messagingpb.RegisterMessagingServiceServer(srv, impl)
	messagingpb.RegisterAgentServiceServer(srv, &agentService{service: impl})
	messagingpb.RegisterRecipientServiceServer(srv, impl)
	taxonomypb.RegisterTaxonomyServiceServer(srv, impl)
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() { s.stopped <- srv.Serve(ctx, 10*time.Second) }()
	if s.conn, err = rpc.Dial(lis.Addr().String(), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close(); stop() })
	return s
}

func withToken(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func fine(context.Context) error { return nil }

func TestAccess(t *testing.T) {
	t.Parallel()
	s := start(t, fine)
	tokens := map[string]string{
		"nobody":                  "",
		"garbage":                 "x.y.z",
		"member":                  s.members.Token(t, map[string]any{"sub": "m", "roles": []string{"agent", "supervisor", "operator", "service", "member.read"}, "scope": "member.read"}),
		"agent":                   s.agents.Token(t, map[string]any{"sub": "a", "roles": []string{"agent"}}),
		"supervisor":              s.agents.Token(t, map[string]any{"sub": "s", "roles": []string{"supervisor"}}),
		"agent who may find":      s.agents.Token(t, map[string]any{"sub": "f", "roles": []string{"agent", "member.read"}}),
		"agent with the scope":    s.agents.Token(t, map[string]any{"sub": "f", "roles": []string{"agent"}, "scope": "openid member.read"}),
		"agent with another":      s.agents.Token(t, map[string]any{"sub": "f", "roles": []string{"agent", "queue.read"}, "scope": "queue.read"}),
		"no agent who may find":   s.agents.Token(t, map[string]any{"sub": "f", "roles": []string{"member.read"}, "scope": "member.read"}),
		"operator":                s.agents.Token(t, map[string]any{"sub": "o", "roles": []string{"operator", "member.read"}}),
		"crm that may find":       s.machine.Token(t, map[string]any{"sub": "c", "roles": []string{"agent"}, "scope": "member.read"}),
		"crm with the role":       s.machine.Token(t, map[string]any{"sub": "c", "roles": []string{"agent", "supervisor", "member.read"}, "scope": "queue.write"}),
		"roleless":                s.agents.Token(t, map[string]any{"sub": "r"}),
		"crm":                     s.machine.Token(t, map[string]any{"sub": "c", "roles": []string{"agent"}, "scope": "replies.write queue.read"}),
		"scopeless":               s.machine.Token(t, map[string]any{"sub": "c", "roles": []string{"agent"}}),
		"other scope":             s.machine.Token(t, map[string]any{"sub": "c", "roles": []string{"agent"}, "scope": "queue.write"}),
		"scope alone":             s.machine.Token(t, map[string]any{"sub": "c", "scope": "queue.read"}),
		"service":                 s.machine.Token(t, map[string]any{"sub": "notifier", "roles": []string{"service"}}),
		"service of a client":     s.machine.Token(t, map[string]any{"sub": "x", "client_id": "notifier", "roles": []string{"service"}}),
		"other service":           s.machine.Token(t, map[string]any{"sub": "messaging", "roles": []string{"service"}}),
		"agent that says service": s.agents.Token(t, map[string]any{"sub": "x", "roles": []string{"service"}}),
	}
	calls := map[string]func(context.Context) error{
		"public": func(ctx context.Context) error {
			_, err := taxonomypb.NewTaxonomyServiceClient(s.conn).GetTaxonomy(ctx, &taxonomypb.GetTaxonomyRequest{Audience: 1})
			return err
		},
		"member": func(ctx context.Context) error {
			_, err := messagingpb.NewMessagingServiceClient(s.conn).ListConversations(ctx, &messagingpb.ListConversationsRequest{})
			return err
		},
		"agent": func(ctx context.Context) error {
			_, err := messagingpb.NewAgentServiceClient(s.conn).ListConversations(ctx, &messagingpb.AgentServiceListConversationsRequest{})
			return err
		},
		"find": func(ctx context.Context) error {
			_, err := messagingpb.NewAgentServiceClient(s.conn).FindConversations(ctx, &messagingpb.FindConversationsRequest{})
			return err
		},
		"service": func(ctx context.Context) error {
			_, err := messagingpb.NewRecipientServiceClient(s.conn).BatchGetRecipients(ctx, &messagingpb.BatchGetRecipientsRequest{ConversationIds: []string{"0199a3d2-0000-7000-8000-000000000000"}})
			return err
		},
	}
	allowed := map[string][]string{
		"member": {"member"}, "service": {"service", "service of a client"},
		"agent": {"agent", "supervisor", "crm", "agent who may find", "agent with the scope", "agent with another"},
		"find":  {"supervisor", "agent who may find", "agent with the scope", "crm that may find"},
	}
	for kind, call := range calls {
		for who, token := range tokens {
			ctx := t.Context()
			if token != "" {
				ctx = withToken(ctx, token)
			}
			want := codes.PermissionDenied
			switch {
			case kind == "public" || slices.Contains(allowed[kind], who):
				want = codes.OK
			case who == "nobody" || who == "garbage":
				want = codes.Unauthenticated
			}
			if got := status.Code(call(ctx)); got != want {
				t.Errorf("%s calls a method for %s: got %s, want %s", who, kind, got, want)
			}
		}
	}
}

// Whose token lacks a scope is told which: a machine, and an agent where people need it too.
func TestAccess_Scope(t *testing.T) {
	t.Parallel()
	s := start(t, fine)
	token := s.machine.Token(t, map[string]any{"sub": "c", "roles": []string{"agent"}, "scp": []string{"queue.write"}})
	_, err := messagingpb.NewAgentServiceClient(s.conn).ListConversations(withToken(t.Context(), token), &messagingpb.AgentServiceListConversationsRequest{})
	if info := infoOf(err); info.GetReason() != "SCOPE_MISSING" || info.GetMetadata()["scope"] != "queue.read" {
		t.Errorf("got %v", err)
	}
	token = s.agents.Token(t, map[string]any{"sub": "a", "roles": []string{"agent"}})
	_, err = messagingpb.NewAgentServiceClient(s.conn).FindConversations(withToken(t.Context(), token), &messagingpb.FindConversationsRequest{})
	if info := infoOf(err); info.GetReason() != "SCOPE_MISSING" || info.GetMetadata()["scope"] != "member.read" {
		t.Errorf("got %v", err)
	}
}

// infoOf is the ErrorInfo of a refusal.
func infoOf(err error) *errdetails.ErrorInfo {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return nil
}

// A keyed method is refused without one UUID, before anything else is looked at, and has
// it otherwise; others do not care.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	s := start(t, func(ctx context.Context) error { got.Store(rpc.IdempotencyKey(ctx)); return nil })
	ctx := withToken(t.Context(), s.members.Token(t, map[string]any{"sub": "m"}))
	valid := &messagingpb.SubmitMessageRequest{Audience: 1, Theme: "x"}
	key := uuid.New()
	for _, test := range []struct {
		name   string
		keys   []string
		reason string
	}{
		{"none", nil, "IDEMPOTENCY_KEY_REQUIRED"},
		{"empty", []string{""}, "IDEMPOTENCY_KEY_REQUIRED"},
		{"no UUID", []string{"1"}, "IDEMPOTENCY_KEY_INVALID"},
		{"zero", []string{uuid.Nil.String()}, "IDEMPOTENCY_KEY_INVALID"},
		{"two", []string{uuid.NewString(), uuid.NewString()}, "IDEMPOTENCY_KEY_INVALID"},
		{"one", []string{key.String()}, ""},
		{"in quotes", []string{`"` + key.String() + `"`}, ""},
		{"in upper case", []string{strings.ToUpper(key.String())}, ""},
	} {
		call := ctx
		for _, value := range test.keys {
			call = metadata.AppendToOutgoingContext(call, rpc.IdempotencyKeyName, value)
		}
		got.Store(uuid.Nil)
		_, err := messagingpb.NewMessagingServiceClient(s.conn).SubmitMessage(call, valid)
		if infoOf(err).GetReason() != test.reason {
			t.Errorf("%s: %v, want %q", test.name, err, test.reason)
		}
		if test.reason == "" && got.Load() != key {
			t.Errorf("%s: the method has %v", test.name, got.Load())
		}
	}
	if _, err := messagingpb.NewMessagingServiceClient(s.conn).ListConversations(metadata.AppendToOutgoingContext(ctx, rpc.IdempotencyKeyName, "x"), &messagingpb.ListConversationsRequest{}); err != nil {
		t.Errorf("a method that needs none: %v", err)
	}
}

func TestPolicyOf_EveryMethodHasOne(t *testing.T) {
	t.Parallel()
	policy, err := rpc.PolicyOf("messagerie.messaging.v1.MessagingService", "messagerie.messaging.v1.AgentService",
		"messagerie.messaging.v1.RecipientService", "messagerie.taxonomy.v1.TaxonomyService", "messagerie.taxonomy.v1.CatalogueService")
	if err != nil || len(policy) < 15 {
		t.Errorf("got %d methods, %v", len(policy), err)
	}
	if _, err := rpc.PolicyOf("grpc.health.v1.Health"); err == nil || !strings.Contains(err.Error(), "Check") {
		t.Errorf("a service without policy: %v", err)
	}
}

func TestServer_RefusesToStartWithoutPolicy(t *testing.T) {
	t.Parallel()
	srv, err := rpc.NewServer(rpc.ServerConfig{Addr: "127.0.0.1:0"}, auth.NewVerifier(auth.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	open := healthpb.Health_ServiceDesc
	open.ServiceName = "messagerie.events.v1.Open"
	srv.RegisterService(&open, healthpb.UnimplementedHealthServer{})
	if err := srv.Serve(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "messagerie.events.v1.Open") {
		t.Errorf("got %v", err)
	}
}

// A server is called once it has what it cannot answer without, and not during its drain.
func TestServer_HealthIsHeld(t *testing.T) {
	t.Parallel()
	for _, condition := range []int{0, 2} {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv, err := rpc.NewServer(rpc.ServerConfig{Listener: lis}, auth.NewVerifier(auth.Config{}))
		if err != nil {
			t.Fatal(err)
		}
		var holds []chan struct{}
		for range condition {
			holds = append(holds, make(chan struct{}))
			srv.HoldUntil(holds[len(holds)-1])
		}
		ctx, drain := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(ctx, 10*time.Second) }()
		conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		says := func(want healthpb.HealthCheckResponse_ServingStatus) {
			t.Helper()
			if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
				t.Fatalf("%d conditions: %v, %v, want %s", condition, got, err, want)
			}
		}
		for i, hold := range holds {
			if i == 0 {
				says(healthpb.HealthCheckResponse_NOT_SERVING)
			}
			close(hold)
		}
		says(healthpb.HealthCheckResponse_SERVING)
		drain()
		says(healthpb.HealthCheckResponse_NOT_SERVING)
		conn.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// Drained before it was ever ready, a server ends, and is not opened by what comes late.
func TestServer_EndsWhileHeld(t *testing.T) {
	t.Parallel()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, err := rpc.NewServer(rpc.ServerConfig{Listener: lis}, auth.NewVerifier(auth.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	srv.HoldUntil(make(chan struct{}))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := srv.Serve(ctx, time.Second); err != nil {
		t.Error(err)
	}
}

func TestErrors_CrossTheWire(t *testing.T) {
	t.Parallel()
	var fault error
	s := start(t, func(context.Context) error { return fault })
	ctx := withToken(t.Context(), s.members.Token(t, map[string]any{"sub": "m"}))
	call := func(pairs ...string) *status.Status {
		_, err := messagingpb.NewMessagingServiceClient(s.conn).ListConversations(metadata.AppendToOutgoingContext(ctx, pairs...), &messagingpb.ListConversationsRequest{})
		return status.Convert(err)
	}

	fault = rpc.Invalid("text", errorpb.ErrorReason_BODY_TOO_SHORT, "9 characters", "limit", "10", "actual", "9").Because(errors.New("a cause"))
	st := call()
	if st.Code() != codes.InvalidArgument || len(st.Details()) != 3 || strings.Contains(st.Message(), "a cause") {
		t.Fatalf("got %v %v", st, st.Details())
	}
	violation := st.Details()[0].(*errdetails.BadRequest).GetFieldViolations()[0]
	if violation.GetField() != "text" || violation.GetReason() != "BODY_TOO_SHORT" || violation.GetDescription() != "9 characters" {
		t.Errorf("got %v", violation)
	}
	info := st.Details()[1].(*errdetails.ErrorInfo)
	if info.GetReason() != "BODY_TOO_SHORT" || info.GetDomain() != rpc.ErrorDomain || info.GetMetadata()["limit"] != "10" {
		t.Errorf("got %v", info)
	}

	for asked, want := range map[string]string{"": "Votre texte est trop court. Caractères comptés : 9 ; il en faut au moins 10.", "en-GB": "Your text is too short. Characters counted: 9; the minimum is 10."} {
		st := call(rpc.LanguageName, asked)
		said := st.Details()[2].(*errdetails.LocalizedMessage).GetMessage()
		beside := st.Details()[0].(*errdetails.BadRequest).GetFieldViolations()[0].GetLocalizedMessage().GetMessage()
		if said != want || beside != want {
			t.Errorf("asked for %q: %q, %q", asked, said, beside)
		}
	}

	for want, err := range map[codes.Code]error{
		codes.Internal: errors.New("connecting to 10.0.0.7: password of jeanne"), codes.DeadlineExceeded: context.DeadlineExceeded, codes.Canceled: context.Canceled,
	} {
		fault = err
		st := call()
		info, _ := st.Details()[0].(*errdetails.ErrorInfo)
		if st.Code() != want || strings.Contains(st.String(), "password") || errorpb.ErrorReason_value[info.GetReason()] == 0 {
			t.Errorf("%v told %v %v", err, st, st.Details())
		}
	}
	fault = status.Error(codes.Aborted, "on purpose")
	if st := call(); st.Code() != codes.Aborted {
		t.Errorf("got %v", st)
	}
}

// A service's own errors become what its callers get, of unary calls and streams alike.
func TestTranslate(t *testing.T) {
	t.Parallel()
	missing := errors.New("no rows")
	s := start(t, func(context.Context) error { return missing }, func(srv *rpc.Server) {
		srv.Translate(func(err error) error {
			if errors.Is(err, missing) {
				return rpc.Refuse(codes.NotFound, errorpb.ErrorReason_CONVERSATION_NOT_FOUND, "no such conversation")
			}
			return err
		})
	})
	client := messagingpb.NewMessagingServiceClient(s.conn)
	ctx := withToken(t.Context(), s.members.Token(t, map[string]any{"sub": "m"}))
	_, unary := client.ListConversations(ctx, &messagingpb.ListConversationsRequest{})
	stream, err := client.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, streamed := stream.Recv()
	_, anonymous := client.ListConversations(t.Context(), &messagingpb.ListConversationsRequest{})
	for what, row := range map[string]struct {
		err  error
		want codes.Code
	}{"unary": {unary, codes.NotFound}, "stream": {streamed, codes.NotFound}, "another error": {anonymous, codes.Unauthenticated}} {
		if status.Code(row.err) != row.want {
			t.Errorf("%s: %v, want %s", what, row.err, row.want)
		}
	}
}

func TestValidation_NamesTheField(t *testing.T) {
	t.Parallel()
	s := start(t, fine)
	ctx := withToken(t.Context(), s.members.Token(t, map[string]any{"sub": "m"}))
	_, err := messagingpb.NewMessagingServiceClient(s.conn).ListConversations(ctx, &messagingpb.ListConversationsRequest{PageSize: -1, PageToken: strings.Repeat("x", 257)})
	var fields []string
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				fields = append(fields, v.GetField()+" "+v.GetReason())
			}
		}
	}
	if got := strings.Join(fields, ", "); got != "pageSize OUT_OF_RANGE, pageToken TOO_LONG" {
		t.Errorf("got %s", got)
	}
}

func TestPanic_IsContainedAndSaysNothing(t *testing.T) {
	var logged lockedBuffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	defer slog.SetDefault(before)
	s := start(t, func(context.Context) error { panic("text of a member") })
	ctx := withToken(t.Context(), s.members.Token(t, map[string]any{"sub": "m"}))
	client := messagingpb.NewMessagingServiceClient(s.conn)
	_, ofCall := client.ListConversations(ctx, &messagingpb.ListConversationsRequest{})
	watch, err := client.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, ofStream := watch.Recv()
	for _, err := range []error{ofCall, ofStream} {
		if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "member") {
			t.Errorf("got %v", err)
		}
	}
	out := logged.String()
	if strings.Contains(out, "text of a member") || strings.Count(out, "msg=panic") != 2 || !strings.Contains(out, "MessagingService/WatchConversations") {
		t.Errorf("logged %s", out)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func TestDeadline_IsShaved(t *testing.T) {
	t.Parallel()
	var seen time.Time
	s := start(t, func(ctx context.Context) error { seen, _ = ctx.Deadline(); return nil })
	ctx, cancel := context.WithTimeout(withToken(t.Context(), s.members.Token(t, map[string]any{"sub": "m"})), 5*time.Second)
	defer cancel()
	if _, err := messagingpb.NewMessagingServiceClient(s.conn).ListConversations(ctx, &messagingpb.ListConversationsRequest{}); err != nil {
		t.Fatal(err)
	}
	given, _ := ctx.Deadline()
	if !seen.Before(given) {
		t.Errorf("the handler had until %s, the caller until %s", seen, given)
	}
}

func TestServe_DrainsCallsUnderWay(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	s := start(t, func(context.Context) error { close(arrived); <-release; return nil })
	ctx := withToken(t.Context(), s.members.Token(t, map[string]any{"sub": "m"}))
	answered := make(chan error, 1)
	go func() {
		_, err := messagingpb.NewMessagingServiceClient(s.conn).ListConversations(ctx, &messagingpb.ListConversationsRequest{})
		answered <- err
	}()
	<-arrived
	s.stop()
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("a call under way: %v", err)
	}
	if err := <-s.stopped; err != nil {
		t.Errorf("serving: %v", err)
	}
}
