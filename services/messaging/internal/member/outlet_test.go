package member

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

func TestOutlet(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	slowly := func(ctx context.Context, _ int) error {
		select {
		case <-time.After(9 * time.Second):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for name, row := range map[string]struct {
		send func(context.Context, int) error
		life time.Duration
		want error
		took time.Duration
	}{
		"read": {func(context.Context, int) error { return nil }, time.Hour, nil, 0},
		"broken": {func(_ context.Context, n int) error {
			if n == 2 {
				return broken
			}
			return nil
		}, time.Hour, broken, 0},
		"the last one is broken": {func(_ context.Context, n int) error {
			if n == 4 {
				return broken
			}
			return nil
		}, time.Hour, broken, 0},
		"never read": {func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }, time.Hour, errUnread, 10 * time.Second},
		"the last is not": {func(ctx context.Context, n int) error {
			if n == 4 {
				<-ctx.Done()
			}
			return ctx.Err()
		}, time.Hour, errUnread, 10 * time.Second},
		"read slowly":  {slowly, time.Hour, nil, 36 * time.Second},
		"for too long": {slowly, 20 * time.Second, errUnread, 20 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			stream, end := context.WithCancel(t.Context()) // as gRPC ends it after the handler
			defer end()
			ctx, cancel := context.WithTimeout(stream, row.life)
			defer cancel()
			out := newOutlet(func(n int) error { return row.send(stream, n) }, 10*time.Second)
			if err := out.end(ctx, out.put(ctx, 1, 2, 3, 4)); !errors.Is(err, row.want) || time.Since(begun) != row.took {
				t.Errorf("%s: %v after %s, want %v after %s", name, err, time.Since(begun), row.want, row.took)
			}
		})
	}
}

// unread is an export without end, by an outlet without patience.
type unread struct {
	messagingpb.UnimplementedMessagingServiceServer
	ended chan error
}

func (u *unread) ExportMyData(_ *messagingpb.ExportMyDataRequest, stream grpc.ServerStreamingServer[messagingpb.ExportMyDataResponse]) error {
	piece := &messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Draft{Draft: &messagingpb.Draft{Text: strings.Repeat("x", 1<<20)}}}
	out := newOutlet(stream.Send, 50*time.Millisecond)
	var err error
	for err == nil {
		err = out.put(stream.Context(), piece)
	}
	err = out.end(stream.Context(), err)
	u.ended <- err
	return err
}

// A real server's Send ends when the handler has left it behind.
func TestOutlet_Stream(t *testing.T) {
	t.Parallel()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, server := &unread{ended: make(chan error, 1)}, grpc.NewServer()
	messagingpb.RegisterMessagingServiceServer(server, u)
	go server.Serve(lis)
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := messagingpb.NewMessagingServiceClient(conn).ExportMyData(t.Context(), &messagingpb.ExportMyDataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-u.ended; !errors.Is(err, errUnread) {
		t.Errorf("ended by %v", err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if got := status.Code(err); got != codes.DeadlineExceeded {
		t.Errorf("the reader gets %s", got)
	}
	server.GracefulStop() // nothing is left running
}
