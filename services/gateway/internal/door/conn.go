package door

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
)

// AdmittedConn is the REST side's only connection to a service. It sends what the door has
// admitted for exactly this method, and nothing else.
type AdmittedConn struct{}

// Invoke implements grpc.ClientConnInterface.
func (AdmittedConn) Invoke(ctx context.Context, method string, request, answer any, opts ...grpc.CallOption) error {
	c := CallOf(ctx)
	if c == nil || c.Method != method {
		return ErrNoMethod
	}
	if len(c.Unreadable) > 0 {
		return c.askForFaults(ctx, request, answer, opts...)
	}
	return c.Invoke(ctx, request, answer, opts...)
}

// askForFaults has the service report what else is wrong with a request of which a part could
// not be read, so that the caller learns all of it at once. The service does nothing else. If
// it does not answer, the caller learns what is known here.
func (c *Call) askForFaults(ctx context.Context, request, answer any, opts ...grpc.CallOption) error {
	msg, ok := request.(proto.Message)
	if !ok {
		return fmt.Errorf("asking with %T: not a message", request)
	}
	rpc.MarkUnread(c.outgoing, msg, c.Unreadable)
	err := c.Invoke(ctx, request, answer, opts...)
	var refusal *rpc.Error
	switch {
	case errors.As(err, &refusal) && refusal.Code == codes.ResourceExhausted, refusesFields(err):
		return err
	}
	return c.RefuseUnreadable(nil)
}

// refusesFields reports whether an error has faults of the input.
func refusesFields(err error) bool {
	st, _ := status.FromError(err)
	return slices.ContainsFunc(st.Details(), func(detail any) bool { _, ok := detail.(*errdetails.BadRequest); return ok })
}

// NewStream is never called: [Call.Follow] opens streams.
func (AdmittedConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, ErrNoMethod
}

// MaxFaults bounds a refusal, whose length the caller could otherwise choose.
const MaxFaults = 20

// RefuseUnreadable returns a refusal of what could not be read, with an error of the same
// kind if it is not nil. Faults of the idempotency key are added: the service, which would
// report them, does not see the call.
func (c *Call) RefuseUnreadable(err error) error {
	faults := slices.Concat(c.Unreadable, rpc.FaultsOf(err))
	if c.Idempotency == accesspb.Idempotency_IDEMPOTENCY_KEYED {
		faults = append(faults, rpc.FaultsOf(rpc.CheckKey(c.outgoing[rpc.IdempotencyKeyName]))...)
	}
	if len(faults) == 0 {
		return err
	}
	return rpc.InvalidAll(faults[:min(len(faults), MaxFaults)])
}
