package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
)

// answer is a response under way. It knows the route for the log, forbids
// caching unless somebody allowed it, and turns a 200 that the caller already
// has into a 304.
type answer struct {
	http.ResponseWriter
	route  string
	status int
	// visit is the request's.
	visit *door.Visit
	// wanted is If-None-Match of a GET.
	wanted string
	// headOnly: the request is a HEAD, of which the server writes no body.
	headOnly bool
	// streams: it goes on for as long as each piece of it is read in time.
	streams bool
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	if a.status != 0 {
		return
	}
	header := a.Header()
	if header.Get("Cache-Control") == "" {
		header.Set("Cache-Control", "no-store")
	}
	if a.visit != nil && a.visit.Quota != nil {
		tellQuota(header, a.visit.Quota)
	}
	if tag := matchingTag(a.wanted, header.Get("ETag")); code == http.StatusOK && tag != "" {
		code = http.StatusNotModified
		header.Set("ETag", tag)
		header.Del("Content-Type")
	}
	a.status = code
	a.ResponseWriter.WriteHeader(code)
}

// tellQuota writes the fields of draft-ietf-httpapi-ratelimit-headers: how many calls the
// caller may make at once and how soon as many again, and what of that is left.
func tellQuota(header http.Header, q *fair.Quota) {
	seconds := func(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
	header.Set("RateLimit-Policy", fmt.Sprintf(`"caller";q=%d;w=%d`, q.Burst, max(seconds(q.Window), 1)))
	header.Set("RateLimit", fmt.Sprintf(`"caller";r=%d;t=%d`, q.Left, seconds(q.Reset)))
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if a.status == http.StatusNotModified {
		return len(p), nil
	}
	if a.streams {
		a.within(writeTimeout)
	}
	return a.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController. A piece that has been read leaves no
// time limit behind: HTTP/2 would end the stream by it.
func (a *answer) FlushError() error {
	err := http.NewResponseController(a.ResponseWriter).Flush()
	if a.streams && err == nil {
		a.within(0)
	}
	return err
}

// within gives the next piece of a stream its time; 0: any.
func (a *answer) within(d time.Duration) {
	var until time.Time
	if d > 0 {
		until = time.Now().Add(d)
	}
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(until)
}

// Unwrap is for http.ResponseController, which flushes and sets deadlines.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func wanted(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return ""
	}
	return door.ListOf(r.Header.Values("If-None-Match"))
}

func routeName(w http.ResponseWriter) string {
	if a, ok := w.(*answer); ok && a.route != "" {
		return a.route
	}
	return "unknown"
}

// matchingTag is the tag of what the caller has, if it is of what the tag names (the weak
// comparison of RFC 9110, 13.1.2), compressed or not; else it is empty.
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

func etagOf(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}
