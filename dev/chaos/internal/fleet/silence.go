package fleet

import (
	"net/http"
	"strings"
	"sync"
)

// silence keeps the issuers' keys back: whoever asks for them waits.
type silence struct {
	mu    sync.Mutex
	until chan struct{} // nil: nobody waits
}

// Silence has the issuers stop answering for their keys, or answer again. Tokens are
// signed all the same.
func (f *Fleet) Silence(on bool) {
	f.silent.mu.Lock()
	defer f.silent.mu.Unlock()
	switch {
	case on && f.silent.until == nil:
		f.silent.until = make(chan struct{})
	case !on && f.silent.until != nil:
		close(f.silent.until)
		f.silent.until = nil
	}
}

func (s *silence) over(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		until := s.until
		s.mu.Unlock()
		if until != nil && (strings.HasSuffix(r.URL.Path, "/keys") || strings.Contains(r.URL.Path, "/.well-known/")) {
			select {
			case <-until:
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
