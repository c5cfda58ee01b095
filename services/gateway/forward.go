package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
)

// frame is one message as it came, not decoded. It is read once and sent once:
// sending gives its buffers away, so that bytes are never copied.
type frame struct{ data mem.BufferSlice }

// rawCodec passes frames through and leaves everything else (health, reflection)
// to protobuf.
type rawCodec struct{ encoding.CodecV2 }

func newRawCodec() rawCodec { return rawCodec{encoding.GetCodecV2(protocodec.Name)} }

// Marshal implements encoding.CodecV2.
func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	data := f.data
	f.data = nil
	return data, nil
}

// Unmarshal implements encoding.CodecV2.
func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	// gRPC frees its own reference when this returns.
	data.Ref()
	f.data = data
	return nil
}

// forwarder passes gRPC calls through.
type forwarder struct {
	door   *door
	codec  rawCodec
	access bool
}

// handle is the server's handler of every method that it does not know itself.
func (f *forwarder) handle(_ any, stream grpc.ServerStream) (err error) {
	ctx := stream.Context()
	method, _ := grpc.MethodFromServerStream(stream)
	start := time.Now()
	defer func() {
		if fault := recover(); fault != nil {
			err = recovered(ctx, method, fault)
		}
		err = rpc.Report(ctx, method, err)
		if f.access {
			f.log(ctx, method, err, start)
		}
	}()
	return f.forward(ctx, method, stream)
}

func (f *forwarder) forward(ctx context.Context, method string, stream grpc.ServerStream) error {
	header := func(key string) []string { return metadata.ValueFromIncomingContext(ctx, key) }
	address := ""
	if p, ok := peer.FromContext(ctx); ok {
		address = f.door.address(p.Addr.String(), header("x-forwarded-for"))
	}
	ctx, c, err := f.door.admit(ctx, method, address, header)
	if err != nil {
		return err
	}
	defer c.cancel()
	var request frame
	switch err := stream.RecvMsg(&request); {
	case errors.Is(err, io.EOF):
		return errNoBytes
	case err != nil:
		return err
	case request.data.Len() > maxRequestBytes:
		request.data.Free()
		return errTooLarge
	}
	ctx = metadata.NewOutgoingContext(ctx, c.outgoing)
	if c.stream {
		return f.relay(ctx, c, &request, stream)
	}
	return f.pass(ctx, c, &request, stream)
}

// pass forwards a call with one answer.
func (f *forwarder) pass(ctx context.Context, c *call, request *frame, stream grpc.ServerStream) error {
	var answer frame
	var header, trailer metadata.MD
	err := c.conn.Invoke(ctx, c.method, request, &answer, grpc.ForceCodecV2(f.codec), grpc.Header(&header), grpc.Trailer(&trailer))
	stream.SetTrailer(allowed(trailer))
	if err != nil {
		return told(err)
	}
	if err := stream.SetHeader(allowed(header)); err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	return stream.SendMsg(&answer)
}

var answersStream = &grpc.StreamDesc{ServerStreams: true}

// relay forwards a call with many answers, each as soon as it comes.
func (f *forwarder) relay(ctx context.Context, c *call, request *frame, stream grpc.ServerStream) error {
	// Ends the call to the service when the caller can no longer be answered.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	up, err := c.conn.NewStream(ctx, answersStream, c.method, grpc.ForceCodecV2(f.codec))
	if err != nil {
		return told(err)
	}
	// io.EOF says that the service has ended the call; RecvMsg says why.
	if err := up.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return told(err)
	}
	if err := up.CloseSend(); err != nil {
		return told(err)
	}
	header, err := up.Header()
	if err != nil {
		return told(err)
	}
	if err := stream.SendHeader(allowed(header)); err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	for {
		var answer frame
		switch err := up.RecvMsg(&answer); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return told(err)
		}
		if err := stream.SendMsg(&answer); err != nil {
			return err
		}
	}
}

// allowed keeps of a service's metadata what a caller may see.
func allowed(md metadata.MD) metadata.MD {
	var kept metadata.MD
	for key, values := range md {
		if responseMetadata[key] {
			if kept == nil {
				kept = make(metadata.MD)
			}
			kept[key] = values
		}
	}
	return kept
}

func (f *forwarder) log(ctx context.Context, method string, err error, start time.Time) {
	if f.door.routes[method] == nil {
		// What a stranger calls it is not worth a line of their choice.
		method = "unknown"
	}
	slog.InfoContext(ctx, "call", "method", method, "code", status.Code(err).String(), "duration_ms", milliseconds(start))
}

// recovered logs a panic by its type alone: its value may hold a request.
func recovered(ctx context.Context, what string, fault any) error {
	slog.ErrorContext(ctx, "panic", "at", what, "type", fmt.Sprintf("%T", fault), "stack", string(debug.Stack()))
	return errors.New("panic")
}
