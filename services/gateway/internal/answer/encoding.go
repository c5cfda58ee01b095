package answer

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"

	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
)

const (
	// compressAbove is the size from which an answer is compressed: one packet is one
	// packet either way.
	compressAbove = 1400
	// compressedTag ends the ETag of a compressed answer, which is another representation
	// (RFC 9110, 8.8.3) of the same thing.
	compressedTag = "-gzip"
)

// Compressed answers callers who take gzip with it, but for streams: each hint is small,
// and must not wait in a buffer. What is sent back with the tag of a compressed answer is
// about the thing itself.
//
// A caller who takes neither gzip nor what is not compressed (identity;q=0) has a short
// answer as it is all the same (RFC 9110, 12.5.3).
func Compressed(next http.Handler) (http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(compressAbove), gzhttp.CompressionLevel(gzip.BestSpeed), gzhttp.EnableZstd(false),
		gzhttp.ContentTypes([]string{"application/json"}), gzhttp.SuffixETag(compressedTag))
	if err != nil {
		return nil, fmt.Errorf("preparing compression: %w", err)
	}
	of := wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"If-Match", "If-None-Match"} {
			// If-None-Match of a GET is compared with what is answered (answer.go).
			if tags := door.ListOf(r.Header.Values(name)); tags != "" && (name == "If-Match" || wanted(r) == "") {
				r.Header.Set(name, strings.ReplaceAll(tags, compressedTag+`"`, `"`))
			}
		}
		if r.Method != http.MethodHead {
			of(w, r)
			return
		}
		// The wrapper compresses no answer to HEAD, which would then have another tag than
		// the one to GET. The server leaves out what is written.
		get := r.WithContext(r.Context())
		get.Method = http.MethodGet
		wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { next.ServeHTTP(w, r) }))(w, get)
	}), nil
}
