// Package door admits calls from outside, whatever protocol they come by, and is the only way
// from there to a service.
//
// # What is promised
//
// Nothing reaches a service that was not admitted: a call must be of a forwarded method, its
// token must verify, its caller must be of the kind that the method's policy names, and
// neither its rate nor its size may exceed the limits, nor may more calls be under way than
// can be answered in time. Only metadata on a list is passed on.
//
// Whatever one caller does, no other caller's call fails because of it. Whoever has signed in
// is a caller; those who have not are one caller for each address. Each has a bounded rate
// (refused calls included), and a bounded number of incomplete requests, of calls and of
// streams.
//
// # How
//
// A request becomes a [Visit] as its head arrives ([Door.Arrive]) and is counted against its
// caller before anything else is done for it. [Door.Admit] turns the visit into a [Call] of
// one method: it takes its caller's share and one of the slots at the services only once the
// request is complete, and gives the slot back before its answer is read. Nothing here waits
// for a slot: what cannot be answered in time is refused at once.
//
// # When it breaks
//
// A service that cannot be reached gives UNAVAILABLE; gRPC's own text names addresses and is
// for the log alone ([PublicError]). Each process counts rates and shares for itself. People
// behind one address who have not signed in are one caller.
package door

import (
	"context"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
)

// TicketParam is how REST gives a ticket to a method that takes one.
const TicketParam = "ticket"

// strangersPerAddress is how many callers an address counts as while they are unknown. After
// the gateway's own start, all tokens of a front end's requests are new to it.
const strangersPerAddress = 4

const (
	// MaxRequestBytes is above a message of 5000 four-byte characters; the
	// services have the same limit.
	MaxRequestBytes = 64 << 10
	// MaxFrameBytes is where gRPC itself cuts a request off. It answers without
	// details, so the gateway's own limit comes first.
	MaxFrameBytes = 256 << 10
	// deadlineShave is taken off a caller's deadline, so that the gateway is the
	// one to say that a service ran out of time.
	deadlineShave = 20 * time.Millisecond
	// streamLife is longer than any service lets its answers stream.
	streamLife = rpc.StreamLife
)

// Config is what a Door needs.
type Config struct {
	// Guard is the identity and policy that the services apply again; its policy has a
	// row for each of Routes.
	Guard  rpc.Guard
	Routes map[string]*route.Route
	// Callers limits the rate of each known caller, Addresses that of each address of
	// unknown ones.
	Callers, Addresses *fair.Rates
	// CallsPerCaller is how many calls one caller may have under way, and how many
	// requests that are not whole; StreamsPerCaller how many streams. 0 sets no limit.
	CallsPerCaller, StreamsPerCaller int
	// MaxConcurrent is how many calls may wait for a service at once, MaxStreams how many
	// streams may be open. 0 sets no limit.
	MaxConcurrent, MaxStreams int
	// Timeout bounds a call that does not stream.
	Timeout time.Duration
	// Address is what a caller who has not signed in counts against.
	Address func(peer string, forwardedFor []string) string
	// Draining is done when the process drains: streams without an end of their own
	// are ended then.
	Draining context.Context //nolint:containedctx // a moment in the process's life
	// Refused is called with the reason of each refusal of what a caller, or all
	// together, have too much of.
	Refused func(ctx context.Context, reason string)
}

// Door is where every call from outside is admitted.
type Door struct {
	Config

	// incomplete are the requests of known callers that are not whole yet,
	// strangersIncomplete those of unknown ones. calls are those admitted and not
	// answered, streams those that are open.
	incomplete, strangersIncomplete *fair.Queue
	calls, streams                  *fair.Shares
	// callSlots are taken by the calls that wait for a service, streamSlots by streams; nil
	// sets no limit.
	callSlots, streamSlots chan struct{}
}

// New returns a Door without any visits.
func New(cfg Config) *Door {
	return &Door{
		Config:              cfg,
		incomplete:          fair.NewQueue(cfg.CallsPerCaller),
		strangersIncomplete: fair.NewQueue(strangersPerAddress * cfg.CallsPerCaller),
		calls:               fair.NewShares(cfg.CallsPerCaller),
		streams:             fair.NewShares(cfg.StreamsPerCaller),
		callSlots:           fair.Slots(cfg.MaxConcurrent),
		streamSlots:         fair.Slots(cfg.MaxStreams),
	}
}

// Admit decides on a visit's call of a method. header gives the values of a request
// header by its lower-case name. The context returned carries the caller and the
// call; Call.End must be called when it is over.
func (d *Door) Admit(ctx context.Context, v *Visit, method string, header func(string) []string) (context.Context, *Call, error) {
	ticket, ticketed, err := d.ticketed(method, header)
	if !ticketed && err == nil {
		ctx, err = d.Guard.Admit(ctx, method, first(header("authorization")))
	}
	if limited := v.identify(ctx); limited != nil {
		return ctx, nil, limited
	}
	if err != nil {
		return ctx, nil, err
	}
	c := &Call{Route: d.Routes[method], Visit: v, door: d, outgoing: make(metadata.MD, len(requestMetadata)), End: func() {}}
	for key, most := range requestMetadata {
		// One value each, so that every process reads the same one.
		switch value := ListOf(header(key)); {
		case value != "" && printable(value):
			c.outgoing[key] = []string{value[:min(len(value), most)]}
		case key == "if-match" && value != "":
			// What is not a tag matches nothing. Without the header, the caller would change
			// what they have not seen. An empty one counts as absent: generated clients send it
			// when nothing was given.
			c.outgoing[key] = []string{`""`}
		}
	}
	if ticketed {
		c.outgoing[rpc.TicketName] = []string{ticket}
	}
	return context.WithValue(ctx, callKey{}, c), c, nil
}

// Deadline bounds a call: the caller's own deadline a little earlier, and never
// later than the gateway's.
func (d *Door) Deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := time.Now().Add(d.Timeout)
	if own, ok := ctx.Deadline(); ok {
		if own = own.Add(-deadlineShave); own.Before(limit) {
			limit = own
		}
	}
	return context.WithDeadline(ctx, limit)
}
