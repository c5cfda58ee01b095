package door

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// Refusals of calls.
var (
	// ErrNoMethod is that of a method that is not forwarded.
	ErrNoMethod = rpc.Refuse(codes.Unimplemented, errorpb.ErrorReason_METHOD_UNKNOWN, "no such method")
	// ErrNoBytes is that of a call without a request.
	ErrNoBytes = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_REQUEST_MISSING, "the call ended before its request")
	// ErrTooLarge is that of a request above [MaxRequestBytes].
	ErrTooLarge = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_REQUEST_TOO_LARGE, "the request is larger than 64 KiB", "limit", "65536")

	errBackend = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_SERVICE_UNAVAILABLE, "the service behind this method cannot be reached; try again")

	errTooManyCalls   = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_CALLS_TOO_MANY, "this caller has too many calls under way; wait for their answers")
	errTooManyStreams = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_STREAMS_TOO_MANY, "this caller has too many streams open; end one first")
	errTooSlow        = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_REQUEST_TOO_SLOW, "newer requests of this caller came before this one was whole")
	errUnread         = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_ANSWERS_UNREAD, "the answers to earlier calls on this connection have not been read")
)

var overloaded = errorpb.ErrorReason_OVERLOADED.String()

// errOverloaded asks callers to retry in a while, each at another time.
func errOverloaded() error {
	return retryLater(rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_OVERLOADED, "too many calls are under way; try again as the answer says"),
		time.Second+rand.N(2*time.Second)) //nolint:gosec // spreads load
}

// rateLimited is the reason for refusing a call that came too soon.
var rateLimited = errorpb.ErrorReason_RATE_LIMITED.String()

// Limited is the refusal of a call that came too soon.
func Limited(wait time.Duration) error {
	return retryLater(rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_RATE_LIMITED, "too many calls in a short time; wait as long as the answer says"), wait)
}

// retryLater returns a refusal that says when to retry.
func retryLater(refusal *rpc.Error, wait time.Duration) error {
	later := *refusal
	later.RetryAfter = wait
	return &later
}

// Reasons are those with which [Config.Refused] is called.
func Reasons() []string {
	return []string{rateLimited, overloaded, errTooManyCalls.Reason.String(), errTooManyStreams.Reason.String(), errTooSlow.Reason.String(), errUnread.Reason.String()}
}

// PublicError turns the error of a call to a service into what the caller may know. An
// error that the service returned on purpose carries details and passes as it is. One
// without may come from gRPC itself and name addresses: its code is kept and its text is for
// the log.
func PublicError(err error) error {
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
		return ErrNoMethod.Because(err)
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
