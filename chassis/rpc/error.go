package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// ErrorDomain is the domain of every google.rpc.ErrorInfo of this system.
const ErrorDomain = "messagerie"

// Error is a refusal, as its caller gets it.
type Error struct {
	// Code is the gRPC code.
	Code codes.Code
	// Reason is what a program compares.
	Reason errorpb.ErrorReason
	// Message is for the developer who reads it. It holds no personal data.
	Message string
	// Metadata are values that go with the reason, such as "limit" and "actual".
	Metadata map[string]string
	// Violations are the faults of the input, field by field.
	Violations []Violation
	// RetryAfter is how long to wait before a retry, sent as google.rpc.RetryInfo; 0: not sent.
	RetryAfter time.Duration
	// Details are sent as they are, besides those made of the above. They may hold what the
	// caller may read, and are never logged.
	Details []proto.Message
	// Cause is for the log alone.
	Cause error
}

// Violation is one fault of one field.
type Violation struct {
	// Field is the JSON name ("text", "theme"), or a header's name in lower case.
	Field string
	// Reason is what a program compares.
	Reason errorpb.ErrorReason
	// Description says what is wrong, with limit and actual value.
	Description string
	// Metadata are values of the words for people, such as "limit".
	Metadata map[string]string
}

// Invalid returns an InvalidArgument with one fault. The pairs are metadata:
// key, value, key, value.
func Invalid(field string, reason errorpb.ErrorReason, description string, pairs ...string) *Error {
	values := metadataOf(pairs)
	return &Error{
		Code: codes.InvalidArgument, Reason: reason, Message: field + ": " + description,
		Metadata:   values,
		Violations: []Violation{{field, reason, description, values}},
	}
}

// Refuse returns an error without a faulty field: a state that does not allow the
// call, a resource not found, a caller without the right.
func Refuse(code codes.Code, reason errorpb.ErrorReason, message string, pairs ...string) *Error {
	return &Error{Code: code, Reason: reason, Message: message, Metadata: metadataOf(pairs)}
}

// Because returns the error with a cause for the log.
func (e *Error) Because(cause error) *Error {
	because := *e
	because.Cause = cause
	return &because
}

// On returns the error with its faults on another field.
func (e *Error) On(field string) *Error {
	on := *e
	on.Violations = slices.Clone(e.Violations)
	for i := range on.Violations {
		on.Violations[i].Field = field
		on.Message = field + ": " + on.Violations[i].Description
	}
	return &on
}

func metadataOf(pairs []string) map[string]string {
	if len(pairs) == 0 {
		return nil
	}
	metadata := make(map[string]string, len(pairs)/2)
	for pair := range slices.Chunk(pairs, 2) {
		metadata[pair[0]] = pair[1]
	}
	return metadata
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: %s", e.Code, e.Reason, e.Message)
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether the other error has the same code and reason, so that errors.Is finds
// a refusal whatever its metadata.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code && other.Reason == e.Reason
}

// GRPCStatus is what the caller gets, in French.
func (e *Error) GRPCStatus() *status.Status { return e.status(language.French) }

func (e *Error) status(in language.Tag) *status.Status {
	var details []protoadapt.MessageV1
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range e.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: v.Field, Reason: v.Reason.String(), Description: v.Description,
				LocalizedMessage: &errdetails.LocalizedMessage{Locale: in.String(), Message: spell(v.Reason, in, v.Metadata)},
			})
		}
		details = append(details, bad)
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	details = append(details, &errdetails.ErrorInfo{Reason: e.Reason.String(), Domain: ErrorDomain, Metadata: e.Metadata},
		&errdetails.LocalizedMessage{Locale: in.String(), Message: spell(e.Reason, in, e.Metadata)})
	for _, detail := range e.Details {
		details = append(details, protoadapt.MessageV1Of(detail))
	}
	st, err := status.New(e.Code, strings.ToValidUTF8(e.Message, "")).WithDetails(details...)
	if err != nil {
		return status.New(e.Code, e.Message)
	}
	return st
}

// InvalidAll is an InvalidArgument with all faults of a request, of which there is one at
// least. Its reason is that of the first.
func InvalidAll(faults []Violation) *Error {
	first := faults[0]
	return &Error{
		Code: codes.InvalidArgument, Reason: first.Reason, Message: first.Field + ": " + first.Description,
		Metadata: first.Metadata, Violations: faults,
	}
}

// FaultsOf returns the faults of the input that errors carry.
func FaultsOf(errs ...error) (faults []Violation) {
	for _, err := range errs {
		var refusal *Error
		if errors.As(err, &refusal) && refusal.Code == codes.InvalidArgument {
			faults = append(faults, refusal.Violations...)
		}
	}
	return faults
}

// JoinFaults makes one refusal of several, so that a caller gets all faults at once.
// Without faults of the input it returns the first error, if any.
func JoinFaults(errs ...error) error {
	if faults := FaultsOf(errs...); len(faults) > 1 {
		return InvalidAll(faults)
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var (
	errInternal  = Refuse(codes.Internal, errorpb.ErrorReason_INTERNAL, "internal error")
	errTooLate   = Refuse(codes.DeadlineExceeded, errorpb.ErrorReason_DEADLINE_EXCEEDED, "the time given was not enough")
	errCancelled = Refuse(codes.Canceled, errorpb.ErrorReason_CALL_CANCELLED, "the caller went away")
)

// StatusOf turns any error into what crosses the wire, with texts for people in the language
// of the context's caller, and reports whether the error itself is for the log alone.
func StatusOf(ctx context.Context, err error) (st *status.Status, hidden bool) {
	var refusal *Error
	in := languageOf(ctx)
	switch {
	case errors.As(err, &refusal):
		return refusal.status(in), refusal.Code == codes.Internal
	case errors.Is(err, context.DeadlineExceeded):
		return errTooLate.status(in), false
	case errors.Is(err, context.Canceled):
		return errCancelled.status(in), false
	}
	// A status that another server sent is passed on only where a handler does
	// so on purpose, by returning it unwrapped.
	if st, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return st.GRPCStatus(), false
	}
	return errInternal.status(in), true
}
