package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"
)

// A stream that begins when its connection is old ends in its own time.
func TestStreamsOutliveTheAgeOfTheirConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lis := bufconn.Listen(1 << 16)
		server := grpc.NewServer(append(BaseOptions(), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
				return err
			}
			select {
			case <-time.After(StreamLife):
				return nil
			case <-stream.Context().Done():
				return stream.Context().Err()
			}
		}))...)
		served := make(chan error, 1)
		go func() { served <- server.Serve(lis) }()
		conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		conn.Connect()
		<-time.After(8*time.Minute + 30*time.Second)
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/any/Method")
		if err == nil {
			err = errors.Join(stream.SendMsg(&emptypb.Empty{}), stream.CloseSend())
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&emptypb.Empty{}); !errors.Is(err, io.EOF) {
			t.Errorf("the stream ended with %v", err)
		}
		conn.Close()
		server.Stop()
		<-served
	})
}
