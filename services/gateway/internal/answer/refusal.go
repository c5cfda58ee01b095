package answer

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// retryAfter is said with a refusal that names no time itself.
const retryAfter = 2 * time.Second

// ErrBadPath is the refusal of a path whose parts are no values of their fields.
var ErrBadPath = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_PATH_MALFORMED, "the path cannot be read")

// Refuse writes a google.rpc.Status in JSON, the same that gRPC callers get.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	st := StatusOf(w, r, err)
	header := w.Header()
	a, ok := w.(*Writer)
	if ok && a.Visit != nil {
		a.Visit.HoldBack(r.Context())
	}
	// They described the answer that is not given.
	header.Del("ETag")
	header.Del("Cache-Control")
	code := rpc.HTTPStatus(st.Code(), ReasonOf(st))
	switch code {
	case http.StatusUnauthorized:
		value := challenge(st)
		if ok && a.ResourceMetadata != "" {
			value += `, resource_metadata="` + a.ResourceMetadata + `"`
		}
		header.Set("WWW-Authenticate", value)
	case http.StatusForbidden:
		if scope := scopeMissing(st); scope != "" {
			header.Set("WWW-Authenticate", `Bearer realm="messagerie", error="insufficient_scope", scope="`+scope+`"`)
		}
	case http.StatusUnsupportedMediaType:
		header.Set("Accept", PlainJSON)
		header.Set("Accept-Encoding", "identity")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(retryDelay(st).Seconds()))))
	}
	if language := languageOf(st); language != "" {
		header.Set("Content-Language", language)
		header.Add("Vary", "Accept-Language")
	}
	header.Set("Content-Type", PlainJSON)
	w.WriteHeader(code)
	_, _ = w.Write(StatusJSON(st)) //nolint:gosec // JSON by its content type, under nosniff; the reader may have gone away
}

// StatusOf logs an error as one of a request, and is what the caller may know of it.
func StatusOf(w http.ResponseWriter, r *http.Request, err error) *status.Status {
	st, _ := status.FromError(Identified(r.Context(), rpc.Report(r.Context(), r.Method+" "+routeName(w), err)))
	return st
}

// ReasonOf is a status's reason; 0 for one that is not of this version.
func ReasonOf(st *status.Status) errorpb.ErrorReason {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return errorpb.ErrorReason(errorpb.ErrorReason_value[info.GetReason()])
		}
	}
	return errorpb.ErrorReason_ERROR_REASON_UNSPECIFIED
}

// languageOf is the language of a refusal's words for people; empty where it has none.
func languageOf(st *status.Status) string {
	for _, detail := range st.Details() {
		if words, ok := detail.(*errdetails.LocalizedMessage); ok {
			return words.GetLocale()
		}
	}
	return ""
}

// scopeMissing is the scope that a token would need to be let through; empty when that is
// not what is wrong.
func scopeMissing(st *status.Status) string {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetReason() == errorpb.ErrorReason_SCOPE_MISSING.String() {
			return info.GetMetadata()["scope"]
		}
	}
	return ""
}

// challenge is RFC 6750, 3.
func challenge(st *status.Status) string {
	if ReasonOf(st) == rpc.ErrBadToken.Reason {
		return `Bearer realm="messagerie", error="invalid_token"`
	}
	return `Bearer realm="messagerie"`
}

// retryDelay is how long the caller should wait before it tries again.
func retryDelay(st *status.Status) time.Duration {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return retryAfter
}

// StatusJSON is a google.rpc.Status. Of its details, what is ours is written as in answers, with
// all members; one of a type that is not linked here is left out.
func StatusJSON(st *status.Status) []byte {
	written := struct {
		Code    int32             `json:"code"`
		Message string            `json:"message"`
		Details []json.RawMessage `json:"details,omitempty"`
	}{Code: st.Proto().GetCode(), Message: st.Message()}
	for _, detail := range st.Proto().GetDetails() {
		options := protojson.MarshalOptions{}
		if !strings.HasPrefix(detail.GetTypeUrl(), "type.googleapis.com/google.rpc.") {
			options = JSON
		}
		if text, err := options.Marshal(detail); err == nil {
			written.Details = append(written.Details, text)
		}
	}
	text, _ := json.Marshal(written) // what protojson wrote can be written
	return text
}
