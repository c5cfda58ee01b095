package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
)

const (
	// maxRequestBytes is above a message of 5000 four-byte characters; the
	// services have the same limit.
	maxRequestBytes = 64 << 10
	// maxFrameBytes is where gRPC itself cuts a request off. It answers without
	// details, so the gateway's own limit comes first.
	maxFrameBytes = 1 << 20
	// deadlineShave is taken off a caller's deadline, so that the gateway is the
	// one to say that a service ran out of time.
	deadlineShave = 20 * time.Millisecond
)

// requestMetadata is what a caller's call takes along to the service; nothing
// else passes. Trace context travels too, but is written by telemetry.
var requestMetadata = []string{"authorization", "idempotency-key", "accept-language"}

// responseMetadata is what a service's answer takes along to the caller.
var responseMetadata = map[string]bool{
	"cache-control":        true,
	"content-language":     true,
	"etag":                 true,
	"idempotency-replayed": true,
	"last-modified":        true,
}

// Refusals of the gateway itself.
var (
	errNoMethod = rpc.Refuse(codes.Unimplemented, "METHOD_UNKNOWN", "no such method")
	errNoBytes  = rpc.Refuse(codes.InvalidArgument, "REQUEST_MISSING", "the call ended before its request")
	errTooLarge = rpc.Refuse(codes.ResourceExhausted, "REQUEST_TOO_LARGE", "the request is larger than 64 KiB", "limit", "65536")
	errBackend  = rpc.Refuse(codes.Unavailable, "SERVICE_UNAVAILABLE", "the service behind this method cannot be reached; try again")
)

// door is where every call from outside is admitted, whatever protocol it came
// by: identity and policy (the guard that the services use again), rate,
// deadline, and what it may take along.
type door struct {
	guard  rpc.Guard
	routes map[string]*route
	// callers limits each known caller, addresses each address of unknown ones.
	callers, addresses *limiter
	// slots are taken by the calls under way; nil sets no limit.
	slots   chan struct{}
	timeout time.Duration
	proxies []netip.Prefix
}

// call is one admitted call. It is good for its method alone.
type call struct {
	*route
	outgoing metadata.MD
	cancel   context.CancelFunc
}

type callKey struct{}

// admit decides on a call from an address. header gives the values of a request
// header by its lower-case name. The context returned carries the caller, the
// deadline and the call; call.cancel must be called when it is over.
func (d *door) admit(ctx context.Context, method, address string, header func(string) []string) (context.Context, *call, error) {
	ctx, err := d.guard.Admit(ctx, method, first(header("authorization")))
	if limited := d.limit(ctx, address, err); limited != nil {
		return ctx, nil, limited
	}
	if err != nil {
		return ctx, nil, err
	}
	c := &call{route: d.routes[method], outgoing: make(metadata.MD, len(requestMetadata)), cancel: func() {}}
	for _, key := range requestMetadata {
		// One value each, so that every process reads the same one.
		if value := first(header(key)); value != "" && printable(value) {
			c.outgoing[key] = []string{value}
		}
	}
	if !c.stream {
		if !d.take() {
			return ctx, nil, errOverloaded()
		}
		timed, cancel := d.deadline(ctx)
		ctx, c.cancel = timed, sync.OnceFunc(func() { cancel(); d.give() })
	}
	return context.WithValue(ctx, callKey{}, c), c, nil
}

// take takes a slot for a call. Work beyond what can be done in time would be done
// for nobody: its callers have given up by then, and come again. So it is refused
// at once, and what was admitted is answered.
func (d *door) take() bool {
	if d.slots == nil {
		return true
	}
	select {
	case d.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (d *door) give() {
	if d.slots != nil {
		<-d.slots
	}
}

// errOverloaded asks to come again in a while, and not all at the same time.
func errOverloaded() error {
	st := rpc.Refuse(codes.Unavailable, "OVERLOADED", "too many calls are under way; try again as the answer says").GRPCStatus()
	wait := time.Second + rand.N(2*time.Second) //nolint:gosec // spreads load
	detailed, err := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	if err != nil {
		return st.Err()
	}
	return detailed.Err()
}

// limit counts the call against its caller or, if it has none that we believe,
// against its address.
func (d *door) limit(ctx context.Context, address string, refusal error) error {
	var wait time.Duration
	if id := auth.FromContext(ctx); id != nil {
		wait = d.callers.take(id.Subject, time.Now())
	} else if refusal == nil || status.Code(refusal) == codes.Unauthenticated {
		wait = d.addresses.take(address, time.Now())
	}
	if wait == 0 {
		return nil
	}
	return limited(wait)
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

// address is what an unknown caller is counted by: its IP address, or the /64
// network of an IPv6 one. Only a proxy of the configured networks is believed
// about whom it forwards, and only about the last hop before it.
func (d *door) address(peer string, forwardedFor []string) string {
	addr, err := netip.ParseAddrPort(peer)
	if err != nil {
		return peer
	}
	ip := addr.Addr().Unmap()
	hops := strings.Split(strings.Join(forwardedFor, ","), ",")
	for len(hops) > 0 && d.isProxy(ip) {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1]))
		if err != nil {
			break
		}
		ip, hops = hop.Unmap(), hops[:len(hops)-1]
	}
	if ip.Is6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

func (d *door) isProxy(ip netip.Addr) bool {
	for _, network := range d.proxies {
		if network.Contains(ip) {
			return true
		}
	}
	return false
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

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// printable tells whether gRPC metadata may hold the value.
func printable(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return true
}
