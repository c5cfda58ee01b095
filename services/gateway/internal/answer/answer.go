package answer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
)

// WriteTimeout bounds the writing of an answer, or of each piece of one that streams.
const WriteTimeout = 30 * time.Second

// PlainJSON is the media type of answers that do not stream, and of refusals.
const PlainJSON = "application/json"

// JSON is how answers are written: names in camelCase, enums by name, false, 0, "" and []
// shown, absent messages left out.
var JSON = protojson.MarshalOptions{EmitDefaultValues: true}

// Writer is a response being written. It knows the route for the log, forbids caching
// unless the handler allows it, and turns a 200 into a 304 if the caller has that answer
// already.
type Writer struct {
	http.ResponseWriter
	// Route is the path's pattern; empty: unknown.
	Route string
	// Status is what has been answered; 0: nothing yet.
	Status int
	// Visit is the request's; nil: the request is not counted against a caller.
	Visit *door.Visit
	// HeadOnly: the request is a HEAD, of which the server writes no body.
	HeadOnly bool
	// ResourceMetadata is where a caller without a token learns where to sign in (RFC 9728);
	// empty: nowhere.
	ResourceMetadata string

	// wanted is If-None-Match of a GET.
	wanted string
	// streams: it goes on for as long as each piece of it is read in time.
	streams bool
}

// New begins the answer to a request.
func New(w http.ResponseWriter, r *http.Request) *Writer {
	return &Writer{ResponseWriter: w, wanted: wanted(r)}
}

// Stream lets the answer go on for as long as each piece of it is read in time.
func (a *Writer) Stream() {
	a.streams = true
	a.within(0)
}

// WriteHeader implements http.ResponseWriter.
func (a *Writer) WriteHeader(code int) {
	if a.Status != 0 {
		return
	}
	header := a.Header()
	if header.Get("Cache-Control") == "" {
		header.Set("Cache-Control", "no-store")
	}
	if a.Visit != nil && a.Visit.Quota != nil {
		writeQuota(header, a.Visit.Quota)
	}
	if tag := matchingTag(a.wanted, header.Get("ETag")); code == http.StatusOK && tag != "" {
		code = http.StatusNotModified
		header.Set("ETag", tag)
		header.Del("Content-Type")
	}
	a.Status = code
	a.ResponseWriter.WriteHeader(code)
}

// writeQuota writes the fields of draft-ietf-httpapi-ratelimit-headers: how many calls the
// caller may make at once and how soon as many again, and what of that is left.
func writeQuota(header http.Header, q *fair.Quota) {
	seconds := func(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
	header.Set("RateLimit-Policy", fmt.Sprintf(`"caller";q=%d;w=%d`, q.Burst, max(seconds(q.Window), 1)))
	header.Set("RateLimit", fmt.Sprintf(`"caller";r=%d;t=%d`, q.Left, seconds(q.Reset)))
}

// Write implements http.ResponseWriter.
func (a *Writer) Write(p []byte) (int, error) {
	if a.Status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if a.Status == http.StatusNotModified {
		return len(p), nil
	}
	if a.streams {
		a.within(WriteTimeout)
	}
	return a.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController. Once a piece has been written its deadline is
// cleared: HTTP/2 would end the stream at it.
func (a *Writer) FlushError() error {
	err := http.NewResponseController(a.ResponseWriter).Flush()
	if a.streams && err == nil {
		a.within(0)
	}
	return err
}

// within gives the next piece of a stream its time; 0: any.
func (a *Writer) within(d time.Duration) {
	var until time.Time
	if d > 0 {
		until = time.Now().Add(d)
	}
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(until)
}

// Unwrap is for http.ResponseController, which flushes and sets deadlines.
func (a *Writer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func wanted(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return ""
	}
	return door.ListOf(r.Header.Values("If-None-Match"))
}

func routeName(w http.ResponseWriter) string {
	if a, ok := w.(*Writer); ok && a.Route != "" {
		return a.Route
	}
	return "unknown"
}

// matchingTag returns the tag of the caller's copy if it matches the answer's (the weak
// comparison of RFC 9110, 13.1.2), compressed or not; else nothing.
func matchingTag(wanted, tag string) string {
	if tag == "" || wanted == "" {
		return ""
	}
	strong := strings.TrimPrefix(tag, "W/")
	small := strings.TrimSuffix(strong, `"`) + compressedTag + `"`
	for candidate := range strings.SplitSeq(wanted, ",") {
		switch strings.TrimPrefix(strings.TrimSpace(candidate), "W/") {
		case "*", strong:
			return tag
		case small:
			return small
		}
	}
	return ""
}

// ETagOf is the tag of a content that is the same for everybody.
func ETagOf(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}
