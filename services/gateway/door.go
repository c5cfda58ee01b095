package gateway

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

const (
	// maxRequestBytes is above a message of 5000 four-byte characters; the
	// services have the same limit.
	maxRequestBytes = 64 << 10
	// maxFrameBytes is where gRPC itself cuts a request off. It answers without
	// details, so the gateway's own limit comes first.
	maxFrameBytes = 256 << 10
	// deadlineShave is taken off a caller's deadline, so that the gateway is the
	// one to say that a service ran out of time.
	deadlineShave = 20 * time.Millisecond
	// streamLife is longer than any service lets its answers stream.
	streamLife = rpc.StreamLife
)

// requestMetadata is what a caller's call takes along to the service, and how many
// bytes of it; nothing else passes. The services take 16 KiB in all. Trace context
// travels too, but is written by telemetry.
var requestMetadata = map[string]int{"authorization": 9 << 10, rpc.IdempotencyKeyName: 128, "accept-language": 256, "if-match": 1 << 10, "if-none-match": 1 << 10}

// responseMetadata is what a service's answer takes along to the caller.
var responseMetadata = map[string]bool{
	"cache-control":    true,
	"content-language": true,
	"etag":             true,
	rpc.ReplayedName:   true,
	"last-modified":    true,
}

// Refusals of the gateway itself.
var (
	errNoMethod = rpc.Refuse(codes.Unimplemented, errorpb.ErrorReason_METHOD_UNKNOWN, "no such method")
	errNoBytes  = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_REQUEST_MISSING, "the call ended before its request")
	errTooLarge = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_REQUEST_TOO_LARGE, "the request is larger than 64 KiB", "limit", "65536")
	errBackend  = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_SERVICE_UNAVAILABLE, "the service behind this method cannot be reached; try again")

	errTooManyCalls   = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_CALLS_TOO_MANY, "this caller has too many calls under way; wait for their answers")
	errTooManyStreams = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_STREAMS_TOO_MANY, "this caller has too many streams open; end one first")
	errTooSlow        = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_REQUEST_TOO_SLOW, "newer requests of this caller came before this one was whole")
	errUnread         = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_ANSWERS_UNREAD, "the answers to earlier calls on this connection have not been read")
)

// door is where every call from outside is admitted, whatever protocol it came
// by: rate, identity and policy (the guard that the services use again), size,
// deadline, and what it may take along.
type door struct {
	guard  rpc.Guard
	routes map[string]*route
	bounds
	// slots are taken by the calls that wait for a service, streams by those whose
	// answers stream; nil sets no limit.
	slots, streams chan struct{}
	timeout        time.Duration
	// address is what a caller who has not signed in counts against.
	address func(peer string, forwardedFor []string) string
	// draining is done when the process drains: streams without an end of their own
	// are ended then.
	draining context.Context //nolint:containedctx // a moment in the process's life
	refused  func(ctx context.Context, reason string)
}

// bounds are what one caller may hold.
type bounds struct {
	// callers limits the rate of each known caller, addresses that of each address
	// of unknown ones.
	callers, addresses *fair.Rates
	// begun are the requests of known callers that are not whole yet, strange those of
	// unknown ones, underway the calls admitted and not answered, open the streams.
	begun, strange *fair.Queue
	underway, open *fair.Shares
}

// call is one admitted call. It is good for its method alone.
type call struct {
	*route
	door     *door
	visit    *visit
	outgoing metadata.MD
	// unread are the parts of a REST request that could not be read.
	unread []rpc.Violation
	// end must be called when the call is over.
	end func()
}

type callKey struct{}

// admit decides on a visit's call of a method. header gives the values of a request
// header by its lower-case name. The context returned carries the caller and the
// call; call.end must be called when it is over.
func (d *door) admit(ctx context.Context, v *visit, method string, header func(string) []string) (context.Context, *call, error) {
	ticket, ticketed, err := d.ticketed(method, header)
	if !ticketed && err == nil {
		ctx, err = d.guard.Admit(ctx, method, first(header("authorization")))
	}
	if limited := v.identified(ctx); limited != nil {
		return ctx, nil, limited
	}
	if err != nil {
		return ctx, nil, err
	}
	c := &call{route: d.routes[method], door: d, visit: v, outgoing: make(metadata.MD, len(requestMetadata)), end: func() {}}
	for key, most := range requestMetadata {
		// One value each, so that every process reads the same one.
		value := listOf(header(key))
		if value != "" && printable(value) {
			c.outgoing[key] = []string{value[:min(len(value), most)]}
		}
	}
	if ticketed {
		c.outgoing[rpc.TicketName] = []string{ticket}
	}
	return context.WithValue(ctx, callKey{}, c), c, nil
}

// begin takes the caller's share, once the request is whole. The share is held until
// the answer is given to the connection.
func (c *call) begin(ctx context.Context) error {
	c.visit.leave()
	share, refusal := c.door.underway, errTooManyCalls
	if c.stream {
		share, refusal = c.door.open, errTooManyStreams
	}
	caller := c.visit.caller()
	if !share.Take(caller) {
		c.door.refused(ctx, refusal.Reason.String())
		return retryLater(refusal, time.Second)
	}
	c.end = sync.OnceFunc(func() { share.Give(caller) })
	return nil
}

// invoke asks the service. Its slot is free as soon as that has answered.
func (c *call) invoke(ctx context.Context, request, answer any, opts ...grpc.CallOption) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	if !take(c.door.slots) {
		c.door.refused(ctx, overloaded)
		return errOverloaded()
	}
	defer give(c.door.slots)
	return told(c.conn.Invoke(metadata.NewOutgoingContext(ctx, c.outgoing), c.method, request, answer, opts...))
}

// follow asks the service for a stream of answers. It ends without an error when the
// process drains, if the method's answers have no end of their own.
func (c *call) follow(ctx context.Context, desc *grpc.StreamDesc, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	if !take(c.door.streams) {
		c.door.refused(ctx, overloaded)
		return nil, errOverloaded()
	}
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, c.outgoing), streamLife)
	drained := func() bool { return false }
	if c.endless {
		drained = context.AfterFunc(c.door.draining, cancel)
	}
	give, share := sync.OnceFunc(func() { give(c.door.streams) }), c.end
	c.end = func() { drained(); cancel(); give(); share() }
	up, err := c.streamConn.NewStream(ctx, desc, c.method, opts...)
	if err == nil && c.outgoing[rpc.TicketName] != nil {
		up = &redeemed{up, share}
	}
	switch {
	case err != nil && c.endless && c.door.draining.Err() != nil:
		return over{}, nil
	case err != nil:
		return nil, told(err)
	case c.endless:
		return &endless{up, c.door.draining}, nil
	default:
		return up, nil
	}
}

// over is a stream that ends where it begins, because the process drains.
type over struct{ grpc.ClientStream }

func (over) Header() (metadata.MD, error) { return nil, nil } //nolint:nilnil // there is none
func (over) Trailer() metadata.MD         { return nil }
func (over) CloseSend() error             { return nil }
func (over) Context() context.Context     { return context.Background() }
func (over) SendMsg(any) error            { return nil }
func (over) RecvMsg(any) error            { return io.EOF }

// endless is a stream that ends with the process's service.
type endless struct {
	grpc.ClientStream
	draining context.Context //nolint:containedctx // as the door's
}

// Header implements grpc.ClientStream.
func (s *endless) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	if err != nil && s.draining.Err() != nil {
		return nil, nil //nolint:nilnil // RecvMsg tells the end
	}
	return header, err //nolint:wrapcheck // gRPC's own, for told
}

// RecvMsg implements grpc.ClientStream.
func (s *endless) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil && s.draining.Err() != nil {
		return io.EOF
	}
	return err //nolint:wrapcheck // gRPC's own, for told
}

// take takes a slot. Work beyond what can be done in time would be done for nobody:
// its callers have given up by then, and come again. So it is refused at once, and
// what was admitted is answered.
func take(slots chan struct{}) bool {
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

func give(slots chan struct{}) {
	if slots != nil {
		<-slots
	}
}

var overloaded = errorpb.ErrorReason_OVERLOADED.String()

// errOverloaded asks to come again in a while, and not all at the same time.
func errOverloaded() error {
	return retryLater(rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_OVERLOADED, "too many calls are under way; try again as the answer says"),
		time.Second+rand.N(2*time.Second)) //nolint:gosec // spreads load
}

// retryLater is a refusal that says when to come again.
func retryLater(refusal *rpc.Error, wait time.Duration) error {
	later := *refusal
	later.RetryAfter = wait
	return &later
}

// deadline bounds a call: the caller's own deadline a little earlier, and never
// later than the gateway's.
func (d *door) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := time.Now().Add(d.timeout)
	if own, ok := ctx.Deadline(); ok {
		if own = own.Add(-deadlineShave); own.Before(limit) {
			limit = own
		}
	}
	return context.WithDeadline(ctx, limit)
}

// told turns the error of a call to a service into what the caller may know. An
// error that the service made on purpose carries details and passes as it is.
// One without may come from gRPC itself and name addresses: its code is kept and
// its text is for the log.
func told(err error) error {
	st, ok := status.FromError(err)
	if !ok || len(st.Proto().GetDetails()) > 0 {
		return err
	}
	switch st.Code() {
	case codes.OK:
		return nil
	case codes.Unavailable:
		return errBackend.Because(err)
	case codes.Unimplemented:
		return errNoMethod.Because(err)
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case codes.Canceled:
		return context.Canceled
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.Unauthenticated,
		codes.FailedPrecondition, codes.Aborted, codes.OutOfRange:
		// gRPC itself makes none of these.
		return err
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.ResourceExhausted:
	}
	return errors.New(st.Message())
}

// listOf is what the lines of a header say together (RFC 9110, 5.3). Two of what is no list
// make something that is no value.
func listOf(lines []string) string { return strings.Join(lines, ", ") }

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// printable reports whether gRPC metadata may hold the value.
func printable(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return true
}
