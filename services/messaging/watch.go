package messaging

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// WatchConversations implements MessagingService. See the .proto.
func (s *server) WatchConversations(_ *messagingpb.WatchConversationsRequest, stream grpc.ServerStreamingServer[messagingpb.WatchConversationsResponse]) error {
	ctx := stream.Context()
	member := auth.FromContext(ctx).Subject
	return s.hub.Watch(ctx, member, conversation.Scope{Member: member}, func(happened watch.Happening) error {
		unread, err := conversation.Unread(ctx, s.store.pool, member)
		if err != nil {
			return statusOf(err)
		}
		return stream.Send(&messagingpb.WatchConversationsResponse{ConversationId: happened.ID(), UnreadCount: unread})
	})
}

// WatchConversations implements AgentService.
func (s *agentServer) WatchConversations(_ *messagingpb.AgentServiceWatchConversationsRequest, stream grpc.ServerStreamingServer[messagingpb.AgentServiceWatchConversationsResponse]) error {
	ctx := stream.Context()
	id := auth.FromContext(ctx)
	return s.hub.Watch(ctx, id.Subject, scopeOf(id), func(happened watch.Happening) error {
		return stream.Send(&messagingpb.AgentServiceWatchConversationsResponse{ConversationId: happened.ID(), Opened: happened.Opened})
	})
}

// CreateWatchTicket implements MessagingService. See the .proto.
func (s *server) CreateWatchTicket(ctx context.Context, _ *messagingpb.CreateWatchTicketRequest) (*messagingpb.CreateWatchTicketResponse, error) {
	ticket, expires, err := watch.NewTickets(s.store.pool).Issue(ctx, auth.FromContext(ctx))
	if err != nil {
		return nil, statusOf(err)
	}
	return &messagingpb.CreateWatchTicketResponse{Ticket: ticket, ExpireTime: timestamppb.New(expires)}, nil
}

// redeem returns who got a ticket, and makes it good no more.
func (s *server) redeem(ctx context.Context, ticket string) (*auth.Identity, error) {
	id, err := watch.NewTickets(s.store.pool).Redeem(ctx, ticket)
	return id, statusOf(err)
}
