package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
)

// echo answers each request with times copies of its own bytes.
func echo(t *testing.T, times int) (addr string) {
	t.Helper()
	lis := listen(t)
	server := grpc.NewServer(grpc.ForceServerCodecV2(newRawCodec()), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var request frame
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		content := request.data.Materialize()
		for range times {
			if err := stream.SendMsg(&frame{mem.BufferSlice{mem.SliceBuffer(content)}}); err != nil {
				return err
			}
		}
		return nil
	}))
	healthpb.RegisterHealthServer(server, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return lis.Addr().String()
}

func TestPassThroughIsByteExact(t *testing.T) {
	t.Parallel()
	addr := echo(t, 1)
	s := start(t, func(cfg *Config) { cfg.TaxonomyAddr = addr })
	large := make([]byte, 60<<10)
	rand.Read(large)
	for name, sent := range map[string][]byte{
		"empty":                  {},
		"unknown field":          {0x08, 0x01, 0xba, 0x3e, 0x03, 'a', 'b', 'c'},
		"varint longer than due": {0x08, 0x81, 0x80, 0x00},
		"fields out of order":    {0x1a, 0x01, 'x', 0x08, 0x01},
		"not protobuf":           {0xff, 0xff, 0xff},
		"large":                  large,
	} {
		var got frame
		err := s.grpc.Invoke(t.Context(), taxonomypb.TaxonomyService_GetTaxonomy_FullMethodName,
			&frame{mem.BufferSlice{mem.SliceBuffer(slices.Clone(sent))}}, &got, grpc.ForceCodecV2(newRawCodec()))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got.data.Materialize(), sent) {
			t.Errorf("%s: %d bytes came back changed", name, len(sent))
		}
	}
}

func TestStreamsAreRelayed(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.watch = func(_ context.Context, send func(*messagingpb.WatchConversationsResponse) error) error {
		for i := range int32(3) {
			if err := send(&messagingpb.WatchConversationsResponse{UnreadCount: i}); err != nil {
				return err
			}
		}
		return nil
	}
	stream, err := messagingpb.NewMessagingServiceClient(s.grpc).WatchConversations(s.as(t, "member"), &messagingpb.WatchConversationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int32(3) {
		if got, err := stream.Recv(); err != nil || got.GetUnreadCount() != i {
			t.Fatalf("answer %d: %v, %v", i, got, err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last answer: %v, want EOF", err)
	}
}

// TestOddStreamsDoNoHarm calls a method as what it is not.
func TestOddStreamsDoNoHarm(t *testing.T) {
	t.Parallel()
	s := start(t)
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	open := func() grpc.ClientStream {
		stream, err := s.grpc.NewStream(s.as(t, "member"), both, messagingpb.MessagingService_ListConversations_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	none := open()
	none.CloseSend()
	if st := status.Convert(none.RecvMsg(&emptypb.Empty{})); answer.ReasonOf(st) != errorpb.ErrorReason_REQUEST_MISSING {
		t.Errorf("no request: %v", st)
	}
	many := open()
	for range 3 {
		// The call may be over by the second.
		if err := many.SendMsg(&emptypb.Empty{}); err != nil {
			break
		}
	}
	if err := many.RecvMsg(&emptypb.Empty{}); err != nil {
		t.Errorf("three requests: %v", err)
	}
	if n := len(s.take()); n != 1 {
		t.Errorf("three requests made %d calls, want 1", n)
	}
}

func TestWhatPasses(t *testing.T) {
	t.Parallel()
	s := start(t)
	extra := []string{
		"idempotency-key", "6a1f0a52-6f0e-4b0e-9a43-0d4f5c2b6a11", "accept-language", "fr",
		"cookie", "session=secret", "x-forwarded-for", "192.0.2.1", "x-user", "admin",
		"grpc-metadata-x-user", "admin", "x-http-method-override", "DELETE", "grpc-timeout", "1H",
	}
	if err := s.grpc.Invoke(s.as(t, "member", slices.DeleteFunc(slices.Clone(extra), func(v string) bool { return v == "grpc-timeout" || v == "1H" })...),
		messagingpb.MessagingService_ListConversations_FullMethodName, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	s.checkMetadata(t, "gRPC")
	if got := s.rest(t, "member", "GET", "/v1/conversations", "", extra...); got.code != 200 {
		t.Fatalf("%d %s", got.code, got.body)
	}
	s.checkMetadata(t, "REST")
}

// A condition that cannot be passed on is met by nothing: it is not dropped, or the change
// would be made unconditionally. An empty one is none, as generated clients send it.
func TestIfMatch_NoText(t *testing.T) {
	t.Parallel()
	s := start(t)
	for value, want := range map[string][]string{"": nil, "\"é\"": {`""`}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/conversations", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+s.tokens["member"])
		req.Header.Set("If-Match", value)
		resp, err := plainly.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := s.last(t).metadata.Get("if-match"); !slices.Equal(got, want) {
			t.Errorf("%q is passed on as %q, want %q", value, got, want)
		}
	}
}

// Each answer names its request, also where telemetry has no span: of a method or a path
// that there is not, and of a probe.
func TestRequestsAreNamed(t *testing.T) {
	t.Parallel()
	s := start(t)
	var trailer metadata.MD
	err := s.grpc.Invoke(s.as(t, "member"), "/messagerie.messaging.v1.MessagingService/Nothing", &emptypb.Empty{}, &emptypb.Empty{}, grpc.Trailer(&trailer))
	_, id := named(status.Convert(err))
	if got := trailer.Get(answer.RequestIDName); len(id) != 32+1+16 || len(got) != 1 || got[0] != id {
		t.Errorf("no such method: the refusal is of %q, the trailer %q", id, got)
	}
	seen := make(map[string]bool)
	for _, path := range []string{"/livez", "/readyz", "/livez", "/v1/nothing", "/openapi.json"} {
		got := fetch(t, "GET", s.url+path).header.Get("X-Request-Id")
		if len(got) != 32+1+16 || seen[got] {
			t.Errorf("%s: %q", path, got)
		}
		seen[got] = true
	}
}

// Lines of a header are one list; two idempotency keys are none, which the service says.
func TestHeadersOfSeveralLines(t *testing.T) {
	t.Parallel()
	s := start(t)
	pairs := []string{"if-match", `"a"`, "if-match", `"b", "c"`, "if-none-match", "*", "idempotency-key", "one", "idempotency-key", "two", "accept-language", "fr", "accept-language", "en"}
	want := map[string]string{"if-match": `"a", "b", "c"`, "if-none-match": "*", "idempotency-key": "one, two", "accept-language": "fr, en"}
	check := func(protocol string) {
		t.Helper()
		arrived := s.last(t)
		for key, value := range want {
			if got := arrived.metadata.Get(key); len(got) != 1 || got[0] != value {
				t.Errorf("%s: %s is %q, want %q", protocol, key, got, value)
			}
		}
	}
	if err := s.grpc.Invoke(s.as(t, "member", pairs...), messagingpb.MessagingService_ListConversations_FullMethodName, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	check("gRPC")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/conversations", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.tokens["member"])
	for i := 0; i < len(pairs); i += 2 {
		req.Header.Add(pairs[i], pairs[i+1])
	}
	resp, err := plainly.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	check("REST")
}

func (s *stack) checkMetadata(t *testing.T, protocol string) {
	t.Helper()
	got := s.last(t)
	known := []string{"authorization", "idempotency-key", "accept-language", ":authority", "content-type", "user-agent", "grpc-accept-encoding", "traceparent", "tracestate"}
	for key, values := range got.metadata {
		if !slices.Contains(known, key) {
			t.Errorf("%s: %s = %v passed", protocol, key, values)
		}
	}
	for _, key := range known[:3] {
		if len(got.metadata.Get(key)) != 1 {
			t.Errorf("%s: %s = %v, want one value", protocol, key, got.metadata.Get(key))
		}
	}
	if got.left > 10*time.Second {
		t.Errorf("%s: %s are left, more than the gateway gives", protocol, got.left)
	}
}

func TestAnswersTakeAlongWhatIsAllowed(t *testing.T) {
	t.Parallel()
	s := start(t)
	var header metadata.MD
	_, err := taxonomypb.NewTaxonomyServiceClient(s.grpc).GetTaxonomy(t.Context(), &taxonomypb.GetTaxonomyRequest{Audience: 1}, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	if got := header.Get("etag"); !slices.Equal(got, []string{`"v1-particulier"`}) {
		t.Errorf("etag %v", got)
	}
	if got := header.Get("x-internal"); got != nil {
		t.Errorf("x-internal %v passed", got)
	}
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, row := range map[string]struct{ own, least, most time.Duration }{
		"none":    {0, 8 * time.Second, 10 * time.Second},
		"shorter": {5 * time.Second, 3 * time.Second, 5*time.Second - 20*time.Millisecond},
		"longer":  {time.Hour, 8 * time.Second, 10 * time.Second},
	} {
		ctx := s.as(t, "member")
		if row.own > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, row.own)
			defer cancel()
		}
		if err := s.grpc.Invoke(ctx, messagingpb.MessagingService_ListConversations_FullMethodName, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
			t.Fatal(err)
		}
		if left := s.last(t).left; left < row.least || left > row.most {
			t.Errorf("%s: the service has %s left, want %s to %s", name, left, row.least, row.most)
		}
	}
}

// TestSlowServices: the caller is told in time, in both protocols.
func TestSlowServices(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.CallTimeout = 100 * time.Millisecond })
	s.submit = func(ctx context.Context, _ *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err := messagingpb.NewMessagingServiceClient(s.grpc).SubmitMessage(s.as(t, "member"), &messagingpb.SubmitMessageRequest{Audience: 1, Theme: "x"})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("gRPC: %v", err)
	}
	if got := s.rest(t, "member", "POST", "/v1/conversations", `{"audience":"PARTICULIER","theme":"x"}`); got.code != 504 {
		t.Errorf("REST: %d %s", got.code, got.body)
	}
}

func TestReflectionListsWhatIsForwarded(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.Reflection = true })
	stream, err := reflectionpb.NewServerReflectionClient(s.grpc).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(request *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	list := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	var names []string
	for _, service := range list.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	want := []string{
		"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
		"messagerie.messaging.v1.AgentService", "messagerie.messaging.v1.MessagingService", "messagerie.messaging.v1.OperatorService",
		"messagerie.notifier.v1.AgentService", "messagerie.notifier.v1.NotifierService", "messagerie.notifier.v1.OperatorService", "messagerie.taxonomy.v1.OperatorService", "messagerie.taxonomy.v1.TaxonomyService",
	}
	if slices.Sort(names); !slices.Equal(names, want) {
		t.Errorf("services %v, want %v", names, want)
	}
	file := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{
		FileContainingSymbol: "messagerie.messaging.v1.MessagingService",
	}})
	if len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("the service is listed and not described: %v", file)
	}
}

func TestReflectionIsOffByDefault(t *testing.T) {
	t.Parallel()
	s := start(t)
	stream, err := reflectionpb.NewServerReflectionClient(s.grpc).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
		t.Errorf("reflection answers %v", err)
	}
	health, err := healthpb.NewHealthClient(s.grpc).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health is %v, %v", health, err)
	}
}

func TestGRPCRequestTooLarge(t *testing.T) {
	t.Parallel()
	s := start(t)
	client := messagingpb.NewMessagingServiceClient(s.grpc)
	// The field's tag and length take four bytes.
	for size, want := range map[int]string{door.MaxRequestBytes - 4: "", door.MaxRequestBytes - 3: "REQUEST_TOO_LARGE", door.MaxFrameBytes - 100: "REQUEST_TOO_LARGE"} {
		_, err := client.SubmitMessage(s.as(t, "member"), &messagingpb.SubmitMessageRequest{Text: strings.Repeat("x", size)})
		if reason := answer.ReasonOf(status.Convert(err)); (reason == errorpb.ErrorReason_REQUEST_TOO_LARGE) != (want != "") {
			t.Errorf("%d bytes: %v", size, err)
		}
		if n := len(s.take()); (n == 1) != (want == "") {
			t.Errorf("%d bytes: %d calls arrived", size, n)
		}
	}
	_, err := client.SubmitMessage(s.as(t, "member"), &messagingpb.SubmitMessageRequest{Text: strings.Repeat("x", door.MaxFrameBytes)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("256 KiB: %v", err)
	}
}
