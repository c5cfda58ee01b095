package visit

import (
	"context"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// IfSeen is the context in which a draft is stored only if it is still what a page has seen, of
// which it has the tag; a page without one has seen none.
func (v *Visit) IfSeen(tag string) context.Context {
	condition := "if-match"
	if tag == "" {
		condition, tag = "if-none-match", "*"
	}
	return metadata.AppendToOutgoingContext(v.Ctx, condition, tag)
}

// TagOf is the tag of a draft in the header of an answer about it.
func TagOf(header metadata.MD) string { return strings.Join(header.Get("etag"), "") }

// Autosaved tells a page's script what became of the draft that it has sent: 204 with the new
// tag; 412 where another page has changed it; 422 where it cannot be stored; 401 without a
// session; else 503.
func (v *Visit) Autosaved(tag string, err error) error {
	code := http.StatusNoContent
	switch status.Code(err) {
	case codes.OK:
		v.W.Header().Set("ETag", tag)
	case codes.InvalidArgument:
		code = http.StatusUnprocessableEntity
	case codes.FailedPrecondition:
		code = http.StatusPreconditionFailed
	case codes.Unauthenticated:
		code = http.StatusUnauthorized
	default:
		code = http.StatusServiceUnavailable
	}
	v.W.WriteHeader(code)
	return nil
}
