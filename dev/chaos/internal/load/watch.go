package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// Watches are streams that people keep open: members' and agents', over gRPC and
// REST. One that ends cleanly is opened again, as front ends do.
type Watches struct {
	callers *callers
	// least is how long a stream must last; what ends earlier, however cleanly, has
	// failed.
	least time.Duration
	// failed is told why one failed.
	failed func(error)

	// Opened and Ended count streams, Ended those that ended cleanly.
	Opened, Ended atomic.Int64
	// lived is how long all streams were open together, kept how long they were to be,
	// both in nanoseconds.
	lived, kept atomic.Int64
	client      *http.Client
	group       sync.WaitGroup
}

// watchPause spreads what is opened again after an end.
const watchPause = 100 * time.Millisecond

func newWatches(c *callers, least time.Duration, failed func(error)) *Watches {
	// No time-out: a watch has no end.
	return &Watches{callers: c, least: least, failed: failed, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}}
}

// Watch opens so many streams and keeps them open until ctx is done: in turn a
// member's and an agent's, over gRPC and REST. What ends by an error or is not opened
// again counts as a failed try of the load.
func (l *Load) Watch(ctx context.Context, n int) *Watches {
	w := newWatches(l.callers, 0, func(err error) { l.fail(ctx, err) })
	w.open(ctx, n)
	return w
}

func (w *Watches) open(ctx context.Context, n int) {
	for i := range n {
		persona, path, listen := Member(i), "/v1/conversations:watch", w.member
		if i%4 > 1 {
			persona, path, listen = agentNamed(i), "/v1/agent/conversations:watch", w.agent
		}
		if i%2 == 0 {
			listen = func(ctx context.Context, persona string) error { return w.rest(ctx, persona, path) }
		}
		w.group.Go(func() { w.keep(ctx, persona, listen) })
	}
}

// Wait returns when all have ended.
func (w *Watches) Wait() {
	w.group.Wait()
	w.client.CloseIdleConnections()
}

// Share is the part of the time, of 1, in which streams that were to be open were. It
// is good after Wait.
func (w *Watches) Share() float64 {
	return float64(w.lived.Load()) / float64(max(w.kept.Load(), 1))
}

// keep listens again and again.
func (w *Watches) keep(ctx context.Context, persona string, listen func(context.Context, string) error) {
	first := time.Now()
	defer func() { w.kept.Add(int64(time.Since(first))) }()
	for ctx.Err() == nil {
		begun := time.Now()
		w.Opened.Add(1)
		err := listen(ctx, persona)
		w.lived.Add(int64(time.Since(begun)))
		if over(ctx) {
			return
		}
		if took := time.Since(begun); err == nil && took < w.least {
			err = fmt.Errorf("it was cut after %s", took.Round(time.Second))
		}
		if err != nil {
			w.failed(fmt.Errorf("a watch: %w", err))
		} else {
			w.Ended.Add(1)
		}
		fleet.Sleep(ctx, watchPause)
	}
}

func (w *Watches) member(ctx context.Context, persona string) error {
	ctx, err := w.callers.as(ctx, persona, "")
	if err != nil {
		return err
	}
	stream, err := w.callers.grpc.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
	if err != nil {
		return err
	}
	return drain(stream.Recv)
}

func (w *Watches) agent(ctx context.Context, persona string) error {
	ctx, err := w.callers.as(ctx, persona, "")
	if err != nil {
		return err
	}
	stream, err := messagingpb.NewAgentServiceClient(w.callers.conn).WatchConversations(ctx, &messagingpb.AgentServiceWatchConversationsRequest{})
	if err != nil {
		return err
	}
	return drain(stream.Recv)
}

// over reports whether ctx is done, or is about to be: a server that was told the
// deadline may end a stream for it first.
func over(ctx context.Context) bool {
	deadline, has := ctx.Deadline()
	return ctx.Err() != nil || has && !time.Now().Before(deadline)
}

// LookForYourself opens a watch of a member's, and tells when it says that any
// conversation may have changed; never that it does so as it opens. end ends it.
func (l *Load) LookForYourself(ctx context.Context) (hinted <-chan struct{}, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	hints := make(chan struct{}, 1)
	w := newWatches(l.callers, 0, func(err error) { l.fail(ctx, err) })
	w.group.Go(func() {
		w.keep(ctx, Member(0), func(ctx context.Context, persona string) error {
			ctx, err := w.callers.as(ctx, persona, "")
			if err != nil {
				return err
			}
			stream, err := w.callers.grpc.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
			if err != nil {
				return err
			}
			if _, err := stream.Recv(); err != nil {
				return err
			}
			return drain(func() (*messagingpb.WatchConversationsResponse, error) {
				resp, err := stream.Recv()
				if err == nil && resp.GetConversationId() == "" {
					select {
					case hints <- struct{}{}:
					default:
					}
				}
				return resp, err
			})
		})
	})
	return hints, func() { cancel(); w.Wait() }
}

// drain receives until the end; a clean one is none.
func drain[T any](receive func() (T, error)) error {
	for {
		if _, err := receive(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (w *Watches) rest(ctx context.Context, persona, path string) error {
	req, err := w.callers.request(ctx, http.MethodGet, persona, path, nil)
	if err != nil {
		return err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		// A stream that has begun has no other way to say so.
		if lines.Text() == "event: error" {
			lines.Scan()
			return fmt.Errorf("%s ends with %.100s", path, lines.Text())
		}
	}
	return lines.Err()
}
