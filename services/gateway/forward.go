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
	"google.golang.org/grpc/tap"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/flow"
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
	door   *door.Door
	codec  rawCodec
	access bool
}

// sendTimeout bounds the sending of one answer of many to a caller who does not read.
const sendTimeout = 30 * time.Second

// arrive sees each stream before it costs a goroutine. It must not block: the whole
// connection would. So it only counts, and arranges for the end of a request that does not
// arrive: gRPC itself would wait for it as long as the caller likes.
func (f *forwarder) arrive(ctx context.Context, info *tap.Info) (context.Context, error) {
	var conn *fair.Conn
	address := ""
	if p, ok := peer.FromContext(ctx); ok {
		conn, address = fair.ConnOf(p.Addr), f.door.Address(p.Addr.String(), info.Header["x-forwarded-for"])
	}
	v := f.door.Arrive(ctx, conn, address, info.Header["authorization"])
	rt := f.door.Routes[info.FullMethodName]
	if rt == nil && v.Refusal == nil {
		// Its token will not be verified.
		v.Refusal = v.Count(ctx)
	}
	if v.Refusal == nil && flow.Of(ctx).Full(conn) {
		v.RefuseUnread(ctx)
	}
	// gRPC leaks the context of a stream that is refused here (as of 1.85): the handler
	// refuses it, which may come after its request.
	ctx = door.WithVisit(ctx, v)
	var cancel context.CancelFunc
	if rt != nil && rt.Streams {
		ctx, cancel = context.WithCancel(ctx)
		v.StreamTimer = time.AfterFunc(f.door.Timeout, cancel)
	} else {
		ctx, cancel = f.door.Deadline(ctx) // gRPC cancels the parent when the stream ends
	}
	if ctx.Err() != nil {
		_ = v.Count(ctx) // its token will not be verified
		return ctx, nil  // gRPC ends it at once
	}
	v.Await(cancel)
	if rt == nil {
		// No handler of ours notes its end.
		context.AfterFunc(ctx, v.Leave)
	}
	return ctx, nil
}

// admitStream runs before every handler of the port, of health and reflection too.
func (f *forwarder) admitStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if v := door.VisitOf(stream.Context()); v != nil && v.Refusal != nil {
		v.Leave()
		ctx := answer.Named(stream.Context())
		stream.SetTrailer(metadata.Pairs(answer.RequestIDName, answer.RequestID(ctx)))
		return answer.Identified(ctx, v.Refusal)
	}
	return next(srv, stream)
}

// admitUnary is admitStream for what is not a stream to gRPC.
func (f *forwarder) admitUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if v := door.VisitOf(ctx); v != nil {
		v.Leave()
		if v.Refusal != nil {
			ctx = answer.Named(ctx)
			_ = grpc.SetTrailer(ctx, metadata.Pairs(answer.RequestIDName, answer.RequestID(ctx)))
			return nil, answer.Identified(ctx, v.Refusal)
		}
	}
	return next(ctx, req)
}

// handle is the server's handler of every method that it does not know itself.
func (f *forwarder) handle(_ any, stream grpc.ServerStream) (err error) {
	ctx := answer.Named(stream.Context())
	method, _ := grpc.MethodFromServerStream(stream)
	start := time.Now()
	stream.SetTrailer(metadata.Pairs(answer.RequestIDName, answer.RequestID(ctx)))
	defer func() {
		if fault := recover(); fault != nil {
			err = recovered(ctx, method, fault)
		}
		err = answer.Identified(ctx, rpc.Report(ctx, method, err))
		if f.access {
			f.log(ctx, method, err, start)
		}
	}()
	return f.forward(ctx, method, stream)
}

func (f *forwarder) forward(ctx context.Context, method string, stream grpc.ServerStream) error {
	v := door.VisitOf(ctx)
	if v == nil {
		return errors.New("a stream that was not seen arriving")
	}
	defer v.Leave()
	header := func(key string) []string { return metadata.ValueFromIncomingContext(ctx, key) }
	ctx, c, err := f.door.Admit(ctx, v, method, header)
	if err != nil {
		return err
	}
	defer func() { c.End() }()
	var request frame
	if err := receive(stream, &request); err != nil {
		return v.Incomplete(err)
	}
	if c.Streams {
		return f.relay(ctx, c, &request, stream)
	}
	return f.pass(ctx, c, &request, stream)
}

// receive reads the request. If it does not come in time, or is above door.MaxFrameBytes,
// gRPC itself has informed the caller when this returns: the error is for the log.
func receive(stream grpc.ServerStream, request *frame) error {
	switch err := stream.RecvMsg(request); {
	case errors.Is(err, io.EOF):
		return door.ErrNoBytes
	case err != nil:
		return err
	case request.data.Len() > door.MaxRequestBytes:
		request.data.Free()
		return door.ErrTooLarge
	}
	return nil
}

// pass forwards a call with one answer.
func (f *forwarder) pass(ctx context.Context, c *door.Call, request *frame, stream grpc.ServerStream) error {
	var response frame
	var header, trailer metadata.MD
	err := c.Invoke(ctx, request, &response, grpc.ForceCodecV2(f.codec), grpc.Header(&header), grpc.Trailer(&trailer))
	stream.SetTrailer(allowed(trailer))
	if err != nil {
		return err
	}
	if err := stream.SetHeader(allowed(header)); err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	return send(stream, &response)
}

// send sends an answer and counts it, unless the caller has gone.
func send(stream grpc.ServerStream, response *frame) error {
	bytes := response.data.Len()
	err := stream.SendMsg(response)
	if err == nil {
		flow.Of(stream.Context()).Answered(bytes)
	}
	return err
}

var answersStream = &grpc.StreamDesc{ServerStreams: true}

// relay forwards a call with many answers, each as soon as it comes.
func (f *forwarder) relay(ctx context.Context, c *door.Call, request *frame, stream grpc.ServerStream) error {
	c.Visit.StreamTimer.Stop()
	up, err := c.Follow(ctx, answersStream, grpc.ForceCodecV2(f.codec))
	if err != nil {
		return err
	}
	// io.EOF says that the service has ended the call; RecvMsg says why.
	if err := up.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return door.PublicError(err)
	}
	if err := up.CloseSend(); err != nil {
		return door.PublicError(err)
	}
	header, err := up.Header()
	if err != nil {
		return door.PublicError(err)
	}
	if err := stream.SendHeader(allowed(header)); err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	for {
		var response frame
		switch err := up.RecvMsg(&response); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return door.PublicError(err)
		}
		c.Visit.StreamTimer.Reset(sendTimeout)
		err := send(stream, &response)
		c.Visit.StreamTimer.Stop()
		if err != nil {
			return err
		}
	}
}

// allowed returns the part of a service's metadata that a caller may see.
func allowed(md metadata.MD) metadata.MD {
	var kept metadata.MD
	for key, values := range md {
		if door.AllowedResponse(key) {
			if kept == nil {
				kept = make(metadata.MD)
			}
			kept[key] = values
		}
	}
	return kept
}

func (f *forwarder) log(ctx context.Context, method string, err error, start time.Time) {
	if f.door.Routes[method] == nil {
		// A stranger must not choose what the log says.
		method = "unknown"
	}
	slog.InfoContext(ctx, "call", "method", method, "code", status.Code(err).String(), "duration_ms", milliseconds(start))
}

// recovered logs a panic by its type alone: its value may hold a request.
func recovered(ctx context.Context, what string, fault any) error {
	slog.ErrorContext(ctx, "panic", "at", what, "type", fmt.Sprintf("%T", fault), "stack", string(debug.Stack()))
	return errors.New("panic")
}
