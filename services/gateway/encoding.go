package gateway

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"
)

const (
	// compressAbove is the size from which an answer is compressed: one packet is one
	// packet either way.
	compressAbove = 1400
	// compressedTag ends the ETag of a compressed answer, which is another representation
	// (RFC 9110, 8.8.3) of the same thing.
	compressedTag = "-gzip"
)

// compressed answers callers who take gzip with it, but for streams: each hint is small,
// and must not wait in a buffer. What is sent back with the tag of a compressed answer is
// about the thing itself.
func compressed(next http.Handler) (http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(compressAbove), gzhttp.CompressionLevel(gzip.BestSpeed), gzhttp.EnableZstd(false),
		gzhttp.ContentTypes([]string{"application/json"}), gzhttp.SuffixETag(compressedTag))
	if err != nil {
		return nil, fmt.Errorf("preparing compression: %w", err)
	}
	return wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"If-None-Match", "If-Match"} {
			if tags := r.Header.Get(name); strings.Contains(tags, compressedTag) {
				r.Header.Set(name, strings.ReplaceAll(tags, compressedTag+`"`, `"`))
			}
		}
		next.ServeHTTP(w, r)
	})), nil
}
