package rpc

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
)

func TestInput_Lines(t *testing.T) {
	t.Parallel()
	in := new(input)
	text, list := structpb.NewStringValue, func(v ...*structpb.Value) *structpb.Value {
		return structpb.NewListValue(&structpb.ListValue{Values: v})
	}
	for _, row := range []struct {
		name string
		msg  proto.Message
		want []string
	}{
		{"nothing", &messagingpb.AgentServiceListConversationsRequest{}, nil},
		{"good ones", &messagingpb.AgentServiceListConversationsRequest{Queue: "famille", Theme: "été", PageToken: "abc"}, nil},
		{"two fields", &messagingpb.AgentServiceListConversationsRequest{Queue: "a\x00", Theme: "b", PageToken: "\u0085"}, []string{"queue", "pageToken"}},
		{"free text", &messagingpb.SubmitMessageRequest{Theme: "a", Text: "a\x00\n"}, nil},
		{"beside free text", &messagingpb.SubmitMessageRequest{Topic: "a\n", Text: "a\x00"}, []string{"topic"}},
		{"a list, once", &notifierpb.ReplayDeadLettersRequest{Ids: []string{"a", "b\x7f", "c\x1b"}}, []string{"ids"}},
		{"nested", &notifierpb.ReplayDeadLettersRequest{Filter: &notifierpb.DeadLetterFilter{Reason: "\u202e", EndedFrom: timestamppb.Now()}}, []string{"filter.reason"}},
		{"one of", &messagingpb.CheckReaderRequest{Reader: &messagingpb.CheckReaderRequest_Member{Member: "\u2028"}}, []string{"member"}},
		{"a list in one of", &messagingpb.CheckReaderRequest{Reader: &messagingpb.CheckReaderRequest_Agent{Agent: &messagingpb.AgentScope{Queues: []string{"\u2066"}}}}, []string{"agent.queues"}},
		{"a map's key", &structpb.Struct{Fields: map[string]*structpb.Value{"\x00": text("a")}}, []string{"fields"}},
		{"a map's value", &structpb.Struct{Fields: map[string]*structpb.Value{"a": list(text("a"), list(text("\x00")))}}, []string{"fields.listValue.values.listValue.values.stringValue"}},
	} {
		var got []string
		for _, fault := range in.lineFaults(row.msg.ProtoReflect(), "", nil) {
			if fault.Reason != errorpb.ErrorReason_CONTROL_CHARACTERS {
				t.Errorf("%s: %+v", row.name, fault)
			}
			got = append(got, fault.Field)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestInput_Moments(t *testing.T) {
	t.Parallel()
	type list = messagingpb.ListEventsRequest
	for _, row := range []struct {
		name string
		msg  proto.Message
		want []Violation
	}{
		{"none", &list{}, nil},
		{"the first and the last", &list{From: &timestamppb.Timestamp{Seconds: -62135596800}, Before: &timestamppb.Timestamp{Seconds: 253402300799, Nanos: 999999999}}, nil},
		{"before and after", &list{From: &timestamppb.Timestamp{Seconds: -62135596801}, Before: &timestamppb.Timestamp{Seconds: 253402300800}}, []Violation{
			{Field: "from", Reason: errorpb.ErrorReason_TIMESTAMP_INVALID}, {Field: "before", Reason: errorpb.ErrorReason_TIMESTAMP_INVALID},
		}},
		{"nested", &notifierpb.ReplayDeadLettersRequest{Filter: &notifierpb.DeadLetterFilter{EndedFrom: &timestamppb.Timestamp{Nanos: -1}}}, []Violation{
			{Field: "filter.endedFrom", Reason: errorpb.ErrorReason_TIMESTAMP_INVALID},
		}},
		{"duration", &messagingpb.GetStatusResponse{OutboxAge: &durationpb.Duration{Seconds: 1, Nanos: -1}}, []Violation{
			{Field: "outboxAge", Reason: errorpb.ErrorReason_DURATION_INVALID},
		}},
	} {
		got := new(input).lineFaults(row.msg.ProtoReflect(), "", nil)
		if !slices.EqualFunc(got, row.want, func(a, b Violation) bool { return a.Field == b.Field && a.Reason == b.Reason }) {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}

func TestInput_RefusalIsBounded(t *testing.T) {
	t.Parallel()
	list := new(structpb.ListValue)
	for range 100 { // each level is another field
		list = &structpb.ListValue{Values: []*structpb.Value{structpb.NewListValue(list), structpb.NewStringValue("\x00")}}
	}
	if got := new(input).lineFaults(list.ProtoReflect(), "", nil); len(got) != maxFaults {
		t.Errorf("%d faults", len(got))
	}
}

// rawRequest sends bytes as they are and reads answers as protobuf.
type rawRequest struct{ encoding.CodecV2 }

func (c rawRequest) Marshal(v any) (mem.BufferSlice, error) {
	raw, _ := v.([]byte)
	return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
}

// startOpen serves one method with one answer and one with many, for everybody.
func startOpen(t *testing.T) *grpc.ClientConn {
	t.Helper()
	srv, err := NewServer(ServerConfig{}, auth.NewVerifier(auth.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	srv.guard.Policy = Policy{"/test.Test/One": {Access: accesspb.Access_ACCESS_PUBLIC}, "/test.Test/Many": {Access: accesspb.Access_ACCESS_PUBLIC}}
	srv.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Test", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "One", Handler: func(_ any, ctx context.Context, decode func(any) error, through grpc.UnaryServerInterceptor) (any, error) {
			req := new(messagingpb.AgentServiceListConversationsRequest)
			if err := decode(req); err != nil {
				return nil, err
			}
			return through(ctx, req, &grpc.UnaryServerInfo{FullMethod: "/test.Test/One"}, func(context.Context, any) (any, error) {
				return new(emptypb.Empty), nil
			})
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Many", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			if err := stream.RecvMsg(new(messagingpb.AgentServiceListConversationsRequest)); err != nil {
				return err
			}
			return stream.SendMsg(new(emptypb.Empty))
		}}},
	}, nil)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	defer srv.open(t.Context())()
	go func() { served <- ServeGRPC(t.Context(), srv.Server, srv.health, lis, time.Second) }()
	conn, err := Dial(lis.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); <-served })
	return conn
}

func TestInput_UnaryAndStream(t *testing.T) {
	t.Parallel()
	conn := startOpen(t)
	encoded := func(req *messagingpb.AgentServiceListConversationsRequest) []byte {
		raw, err := proto.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for _, row := range []struct {
		name, want string
		raw        []byte
	}{
		{"a good one", "", encoded(&messagingpb.AgentServiceListConversationsRequest{Queue: "famille"})},
		{"control characters", "queue CONTROL_CHARACTERS", encoded(&messagingpb.AgentServiceListConversationsRequest{Queue: "a\x00b"})},
		{"a rule of the message", "pageSize OUT_OF_RANGE", encoded(&messagingpb.AgentServiceListConversationsRequest{PageSize: -1})},
		{"not UTF-8", "REQUEST_MALFORMED", []byte("\x0a\x02a\xff")},
		{"no message", "REQUEST_MALFORMED", []byte("\xff\xff\xff")},
	} {
		codec := grpc.ForceCodecV2(rawRequest{newCodec()})
		one := conn.Invoke(t.Context(), "/test.Test/One", row.raw, new(emptypb.Empty), codec)
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/test.Test/Many", codec)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendMsg(row.raw); err != nil {
			t.Fatal(err)
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		many := stream.RecvMsg(new(emptypb.Empty))
		for kind, err := range map[string]error{"unary": one, "stream": many} {
			if got := faultOf(err); got != row.want {
				t.Errorf("%s, %s: %q, want %q: %v", row.name, kind, got, row.want, err)
			}
		}
	}
}

// faultOf is "field REASON" of the first fault, the reason of a refusal without one,
// or the code of another error.
func faultOf(err error) string {
	if err == nil {
		return ""
	}
	fault := status.Code(err).String()
	if status.Code(err) != codes.InvalidArgument {
		return fault
	}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.BadRequest:
			return detail.GetFieldViolations()[0].GetField() + " " + detail.GetFieldViolations()[0].GetReason()
		case *errdetails.ErrorInfo:
			fault = detail.GetReason()
		}
	}
	return fault
}
