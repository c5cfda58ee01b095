package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// pingEvery keeps proxies from closing a quiet stream.
const pingEvery = 20 * time.Second

// hint is an event for a page's script: something has changed, read again.
type hint struct {
	name, data string
}

// watchConversations sends a member's pages what has changed, as server-sent events.
func (v *visit) watchConversations() error {
	return v.stream(func(ctx context.Context) (func() (hint, error), error) {
		stream, err := v.watched.members.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
		return func() (hint, error) {
			change, err := stream.Recv()
			return hint{"conversation", fmt.Sprintf(`{"id":%q,"unread":%d}`, change.GetConversationId(), change.GetUnreadCount())}, err
		}, err
	})
}

// watchQueue sends an agent's pages what has changed.
func (v *visit) watchQueue() error {
	return v.stream(func(ctx context.Context) (func() (hint, error), error) {
		stream, err := v.watched.agents.WatchConversations(ctx, &messagingpb.AgentServiceWatchConversationsRequest{})
		return func() (hint, error) {
			change, err := stream.Recv()
			return hint{"queue", fmt.Sprintf(`{"id":%q,"opened":%t}`, change.GetConversationId(), change.GetOpened())}, err
		}, err
	})
}

// stream writes hints as they come. When it ends, the browser reconnects: the gateway ends a
// stream after ten minutes, or when it drains.
func (v *visit) stream(open func(context.Context) (next func() (hint, error), err error)) error {
	ctx, begun, end, err := v.watching()
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
	control := http.NewResponseController(v.w)
	if v.r.ContentLength == 0 {
		// A body that was announced and does not come is ended by the server's time-out.
		_ = control.SetReadDeadline(time.Time{})
	}
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.Header().Set("X-Accel-Buffering", "no")
	hints := make(chan hint, 1)
	go func() {
		defer close(hints)
		for h, err := first, error(nil); err == nil; h, err = next() {
			select {
			case hints <- h:
			case <-v.r.Context().Done():
				return
			}
		}
	}()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		text := ": ping\n\n"
		select {
		case h, ok := <-hints:
			if !ok {
				return nil
			}
			text = "event: " + h.name + "\ndata: " + h.data + "\n\n"
		case <-ping.C:
		case <-v.ending:
			return nil
		case <-v.r.Context().Done():
			return nil
		}
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := v.w.Write([]byte(text)); err != nil {
			return nil //nolint:nilerr // the reader has gone away
		}
		if err := control.Flush(); err != nil {
			return nil //nolint:nilerr // as above
		}
		_ = control.SetWriteDeadline(time.Time{}) // HTTP/2 would end the stream by it
	}
}
