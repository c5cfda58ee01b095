package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// ErrorDomain is the domain of every google.rpc.ErrorInfo of this system.
const ErrorDomain = "messagerie"

// Error is what a caller is told.
type Error struct {
	// Code is the gRPC code.
	Code codes.Code
	// Reason is stable, UPPER_SNAKE_CASE, and what a program compares.
	Reason string
	// Message is for the developer who reads it. It holds no personal data.
	Message string
	// Metadata are values that go with the reason, such as "limit" and "actual".
	Metadata map[string]string
	// Violations are the faults of the input, field by field.
	Violations []Violation
	// RetryAfter says when to come back, as google.rpc.RetryInfo; 0 says nothing.
	RetryAfter time.Duration
	// Cause is for the log alone.
	Cause error
}

// Violation is one fault of one field.
type Violation struct {
	// Field is the JSON name ("text", "theme"), or a header's name in lower case.
	Field string
	// Reason is stable, UPPER_SNAKE_CASE.
	Reason string
	// Description says what is wrong, with limit and actual value.
	Description string
}

// Invalid is an InvalidArgument with one fault. The pairs are metadata:
// key, value, key, value.
func Invalid(field, reason, description string, pairs ...string) *Error {
	return &Error{
		Code: codes.InvalidArgument, Reason: reason, Message: field + ": " + description,
		Metadata:   metadataOf(pairs),
		Violations: []Violation{{field, reason, description}},
	}
}

// Refuse is an error without a faulty field: a state that does not allow the
// call, a thing not found, a caller without the right.
func Refuse(code codes.Code, reason, message string, pairs ...string) *Error {
	return &Error{Code: code, Reason: reason, Message: message, Metadata: metadataOf(pairs)}
}

// Because returns the error with a cause for the log.
func (e *Error) Because(cause error) *Error {
	because := *e
	because.Cause = cause
	return &because
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

// Is makes two errors with the same reason the same, so that errors.Is finds a
// refusal whatever its metadata.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code && other.Reason == e.Reason
}

// GRPCStatus is what the caller gets.
func (e *Error) GRPCStatus() *status.Status {
	var details []protoadapt.MessageV1
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range e.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: v.Field, Reason: v.Reason, Description: v.Description,
			})
		}
		details = append(details, bad)
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	details = append(details, &errdetails.ErrorInfo{Reason: e.Reason, Domain: ErrorDomain, Metadata: e.Metadata})
	st, err := status.New(e.Code, strings.ToValidUTF8(e.Message, "")).WithDetails(details...)
	if err != nil {
		return status.New(e.Code, e.Message)
	}
	return st
}

// StatusOf turns any error into what crosses the wire, and tells whether it is
// one that only the log may see.
func StatusOf(err error) (st *status.Status, hidden bool) {
	var refusal *Error
	switch {
	case errors.As(err, &refusal):
		return refusal.GRPCStatus(), refusal.Code == codes.Internal
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "the time given was not enough"), false
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "the caller went away"), false
	}
	// A status that another server sent is passed on only where a handler does
	// so on purpose, by returning it unwrapped.
	if st, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return st.GRPCStatus(), false
	}
	return status.New(codes.Internal, "internal error"), true
}
