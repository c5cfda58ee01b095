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
			return err
		}
		return stream.Send(&messagingpb.WatchConversationsResponse{ConversationId: happened.ID(), UnreadCount: unread})
	})
}

// CreateWatchTicket implements MessagingService. See the .proto.
func (s *server) CreateWatchTicket(ctx context.Context, _ *messagingpb.CreateWatchTicketRequest) (*messagingpb.CreateWatchTicketResponse, error) {
	ticket, expires, err := watch.NewTickets(s.store.pool).Issue(ctx, auth.FromContext(ctx))
	if err != nil {
		return nil, err
	}
	return &messagingpb.CreateWatchTicketResponse{Ticket: ticket, ExpireTime: timestamppb.New(expires)}, nil
}
