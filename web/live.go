package web

import (
	"context"
	"fmt"
	"net/http"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/hint"
)

// watchConversations sends a member's pages what has changed, as server-sent events.
func (v *visit) watchConversations() error {
	return v.stream(func(ctx context.Context) (func() (hint.Hint, error), error) {
		stream, err := v.watched.members.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
		return func() (hint.Hint, error) {
			change, err := stream.Recv()
			return hint.Hint{Name: "conversation", Data: fmt.Sprintf(`{"id":%q,"unread":%d}`, change.GetConversationId(), change.GetUnreadCount())}, err
		}, err
	})
}

// watchQueue sends an agent's pages what has changed.
func (v *visit) watchQueue() error {
	return v.stream(func(ctx context.Context) (func() (hint.Hint, error), error) {
		stream, err := v.watched.agents.WatchConversations(ctx, &messagingpb.AgentServiceWatchConversationsRequest{})
		return func() (hint.Hint, error) {
			change, err := stream.Recv()
			return hint.Hint{Name: "queue", Data: fmt.Sprintf(`{"id":%q,"opened":%t}`, change.GetConversationId(), change.GetOpened())}, err
		}, err
	})
}

// stream writes hints as they come. When it ends, the browser reconnects: the gateway ends a
// stream after ten minutes, or when it drains.
func (v *visit) stream(open func(context.Context) (next func() (hint.Hint, error), err error)) error {
	ctx, begun, end, err := v.bounds.Stream(v.ctx, v.r)
	if err != nil {
		v.w.Header().Set("Retry-After", "30")
		v.w.WriteHeader(http.StatusServiceUnavailable)
		return nil //nolint:nilerr // the script tries again
	}
	defer end()
	next, err := open(ctx)
	if err != nil {
		return err
	}
	// The first hint comes at once, and shows that the watch has begun.
	first, err := next()
	if err != nil {
		v.w.WriteHeader(http.StatusServiceUnavailable)
		return nil //nolint:nilerr // the script tries again
	}
	begun()
	hint.Write(v.w, v.r, v.ending, first, next)
	return nil
}
