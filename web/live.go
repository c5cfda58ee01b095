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

// hint is what a page's script is told: something has changed, look again.
type hint struct {
	name, data string
}

// watchConversations tells a member's pages what has changed, as server-sent events.
func (v *visit) watchConversations() error {
	return v.stream(func(ctx context.Context) (func() (hint, error), error) {
		stream, err := v.watched.members.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
		return func() (hint, error) {
			told, err := stream.Recv()
			return hint{"conversation", fmt.Sprintf(`{"id":%q,"unread":%d}`, told.GetConversationId(), told.GetUnreadCount())}, err
		}, err
	})
}

// watchQueue tells an agent's pages what has changed.
func (v *visit) watchQueue() error {
	return v.stream(func(ctx context.Context) (func() (hint, error), error) {
		stream, err := v.watched.agents.WatchConversations(ctx, &messagingpb.AgentServiceWatchConversationsRequest{})
		return func() (hint, error) {
			told, err := stream.Recv()
			return hint{"queue", fmt.Sprintf(`{"id":%q,"opened":%t}`, told.GetConversationId(), told.GetOpened())}, err
		}, err
	})
}

// stream writes hints as they come. Its end is the browser's sign to connect again:
// the gateway ends a stream after ten minutes, or when it drains.
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
	// The first hint comes at once, and with it the certainty that there are more.
	first, err := next()
	if err != nil {
		v.w.WriteHeader(http.StatusServiceUnavailable)
		return nil //nolint:nilerr // the script tries again
	}
	begun()
	control := http.NewResponseController(v.w)
	if v.r.ContentLength == 0 {
		// Of what was announced and does not come, the server's time-out is the end.
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
