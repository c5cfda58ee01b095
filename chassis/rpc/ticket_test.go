package rpc_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// A server that redeems no tickets takes none: what would let the call through is nowhere.
func TestTicket_NobodyRedeems(t *testing.T) {
	t.Parallel()
	s := start(t, fine)
	ctx := metadata.AppendToOutgoingContext(t.Context(), rpc.TicketName, "a")
	stream, err := messagingpb.NewMessagingServiceClient(s.conn).WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
}

// Tickets are for people's streams: for anything else, the .proto is at fault.
func TestRuleOf_Ticket(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		access accesspb.Access
		stream bool
		want   string
	}{
		"a member's stream": {accesspb.Access_ACCESS_MEMBER, true, ""},
		"one answer":        {accesspb.Access_ACCESS_MEMBER, false, "takes tickets"},
		"open to all":       {accesspb.Access_ACCESS_PUBLIC, true, "takes tickets"},
		"internal":          {accesspb.Access_ACCESS_SERVICE, true, "takes tickets"},
	} {
		options := &descriptorpb.MethodOptions{}
		proto.SetExtension(options, accesspb.E_Access, row.access)
		proto.SetExtension(options, accesspb.E_Idempotency, accesspb.Idempotency_IDEMPOTENCY_READS)
		proto.SetExtension(options, accesspb.E_Scope, "tests.read")
		proto.SetExtension(options, accesspb.E_Ticket, true)
		if row.access == accesspb.Access_ACCESS_SERVICE {
			proto.SetExtension(options, accesspb.E_Callers, []string{"tester"})
		}
		file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
			Name: proto.String("test.proto"), Package: proto.String("test"), Syntax: proto.String("proto3"),
			MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Nothing")}},
			Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Test"), Method: []*descriptorpb.MethodDescriptorProto{{
				Name: proto.String("Watch"), InputType: proto.String(".test.Nothing"), OutputType: proto.String(".test.Nothing"),
				ServerStreaming: proto.Bool(row.stream), Options: options,
			}}}},
		}, protoregistry.GlobalFiles)
		if err != nil {
			t.Fatal(err)
		}
		rule, err := rpc.RuleOf(file.Services().Get(0).Methods().Get(0))
		if row.want == "" && (err != nil || !rule.Ticket) || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %+v, %v", name, rule, err)
		}
	}
}
