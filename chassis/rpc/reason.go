package rpc

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/text/language"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// LanguageName is the metadata, and the header of REST, by which a caller asks for the
// language of texts for people (RFC 9110, 12.5.4). They are in French if it is absent.
const LanguageName = "accept-language"

var (
	languages = []language.Tag{language.French, language.English}
	matcher   = language.NewMatcher(languages)
)

type languageKey struct{}

// WithLanguage returns a context with a caller's Accept-Language, for a caller whose headers
// are not the context's metadata.
func WithLanguage(ctx context.Context, acceptLanguage string) context.Context {
	return context.WithValue(ctx, languageKey{}, acceptLanguage)
}

// languageOf returns which of our languages a caller prefers.
func languageOf(ctx context.Context) language.Tag {
	wanted, ok := ctx.Value(languageKey{}).(string)
	if values := metadata.ValueFromIncomingContext(ctx, LanguageName); !ok && len(values) > 0 {
		wanted = values[0]
	}
	tags, _, err := language.ParseAcceptLanguage(wanted)
	if err != nil || len(tags) == 0 {
		return language.French
	}
	_, i, _ := matcher.Match(tags...)
	return languages[i]
}

// meanings are what the .proto says of the reasons.
var meanings = sync.OnceValue(func() map[errorpb.ErrorReason]*errorpb.Meaning {
	found := make(map[errorpb.ErrorReason]*errorpb.Meaning)
	values := errorpb.ErrorReason(0).Descriptor().Values()
	for i := range values.Len() {
		if meaning, ok := proto.GetExtension(values.Get(i).Options(), errorpb.E_Meaning).(*errorpb.Meaning); ok && meaning != nil {
			found[errorpb.ErrorReason(values.Get(i).Number())] = meaning
		}
	}
	return found
})

// MeaningOf returns what the .proto says of a reason; nil for ERROR_REASON_UNSPECIFIED.
func MeaningOf(reason errorpb.ErrorReason) *errorpb.Meaning { return meanings()[reason] }

// spell returns a reason's text for people, with its values filled in.
func spell(reason errorpb.ErrorReason, in language.Tag, values map[string]string) string {
	text := MeaningOf(reason).GetFr()
	if in == language.English {
		text = MeaningOf(reason).GetEn()
	}
	var pairs []string
	for name, value := range values {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text) // and nothing within a value
}

// HTTPStatus returns the status of REST for a refusal: that of the reason if it has its own,
// else that of the code. A call that the state does not allow is a conflict, not a malformed
// request.
func HTTPStatus(code codes.Code, reason errorpb.ErrorReason) int {
	if own := MeaningOf(reason).GetHttp(); own != 0 && code != codes.Aborted {
		return int(own)
	}
	switch code {
	case codes.OK:
		return http.StatusOK
	case codes.Canceled:
		return 499 // the client closed the request, as others log it
	case codes.InvalidArgument, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted, codes.FailedPrecondition:
		return http.StatusConflict
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.Unknown, codes.Internal, codes.DataLoss:
	}
	return http.StatusInternalServerError
}
