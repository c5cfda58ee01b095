package door

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
)

// Call is one admitted call, of its method alone.
type Call struct {
	*route.Route
	Visit *Visit
	// Unreadable are the parts of a REST request that could not be read.
	Unreadable []rpc.Violation
	// End must be called when the call is over.
	End func()

	door     *Door
	outgoing metadata.MD
}

type callKey struct{}

// CallOf returns the call that a context of Admit's carries, or nil.
func CallOf(ctx context.Context) *Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	return c
}

// begin takes the caller's share, once the request is complete. The share is held until
// the answer is given to the connection.
func (c *Call) begin(ctx context.Context) error {
	c.Visit.Leave()
	share, refusal := c.door.calls, errTooManyCalls
	if c.Streams {
		share, refusal = c.door.streams, errTooManyStreams
	}
	caller := c.Visit.caller()
	if !share.Take(caller) {
		c.door.Refused(ctx, refusal.Reason.String())
		return retryLater(refusal, time.Second)
	}
	c.End = sync.OnceFunc(func() { share.Give(caller) })
	return nil
}

// Invoke calls the service, and frees its slot as soon as that has answered.
func (c *Call) Invoke(ctx context.Context, request, answer any, opts ...grpc.CallOption) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	if !tryAcquire(c.door.callSlots) {
		c.door.Refused(ctx, overloaded)
		return errOverloaded()
	}
	defer release(c.door.callSlots)
	return PublicError(c.Conn.Invoke(metadata.NewOutgoingContext(ctx, c.outgoing), c.Method, request, answer, opts...))
}

// Follow opens a stream of answers from the service. If the method's answers have no end of
// their own, it ends without an error when the process drains.
func (c *Call) Follow(ctx context.Context, desc *grpc.StreamDesc, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	if !tryAcquire(c.door.streamSlots) {
		c.door.Refused(ctx, overloaded)
		return nil, errOverloaded()
	}
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, c.outgoing), streamLife)
	stopDrain := func() bool { return false }
	if c.Endless {
		stopDrain = context.AfterFunc(c.door.Draining, cancel)
	}
	freeSlot, freeShare := sync.OnceFunc(func() { release(c.door.streamSlots) }), c.End
	c.End = func() { stopDrain(); cancel(); freeSlot(); freeShare() }
	up, err := c.StreamConn.NewStream(ctx, desc, c.Method, opts...)
	if err == nil && c.outgoing[rpc.TicketName] != nil {
		up = &ticketStream{up, freeShare}
	}
	switch {
	case err != nil && c.Endless && c.door.Draining.Err() != nil:
		return endedStream{}, nil
	case err != nil:
		return nil, PublicError(err)
	case c.Endless:
		return &drainedStream{up, c.door.Draining}, nil
	default:
		return up, nil
	}
}

// endedStream is a stream that has ended already, because the process drains.
type endedStream struct{ grpc.ClientStream }

func (endedStream) Header() (metadata.MD, error) { return nil, nil } //nolint:nilnil // there is none
func (endedStream) Trailer() metadata.MD         { return nil }
func (endedStream) CloseSend() error             { return nil }
func (endedStream) Context() context.Context     { return context.Background() }
func (endedStream) SendMsg(any) error            { return nil }
func (endedStream) RecvMsg(any) error            { return io.EOF }

// drainedStream is a stream that ends without an error when the process drains.
type drainedStream struct {
	grpc.ClientStream
	draining context.Context //nolint:containedctx // as the door's
}

// Header implements grpc.ClientStream.
func (s *drainedStream) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	if err != nil && s.draining.Err() != nil {
		return nil, nil //nolint:nilnil // RecvMsg says that it has ended
	}
	return header, err //nolint:wrapcheck // gRPC's own, for PublicError
}

// RecvMsg implements grpc.ClientStream.
func (s *drainedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil && s.draining.Err() != nil {
		return io.EOF
	}
	return err //nolint:wrapcheck // gRPC's own, for PublicError
}

// tryAcquire takes a slot if one is free. Calls beyond what can be answered in time would be
// wasted: their callers have given up by then, and retry. So they are refused at once, and
// what was admitted is answered.
func tryAcquire(slots chan struct{}) bool {
	if slots == nil {
		return true
	}
	select {
	case slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func release(slots chan struct{}) {
	if slots != nil {
		<-slots
	}
}
