// Package hint tells a page's script that something has changed, as server-sent events (HTML
// Living Standard, 9.2): a reason to read again, which says no more than the page shows.
//
// # What is promised
//
// A quiet stream has a sign of life every [pingEvery], so that proxies do not close it. It ends
// when its reader goes away, when what it tells of ends, or when the process does.
//
// # When it breaks
//
// What changes between two streams is told by the first hint of the next alone: the browser
// connects again by itself.
package hint

import (
	"net/http"
	"time"

	"github.com/ma-messagerie/messagerie/web/internal/bound"
)

// pingEvery keeps proxies from closing a quiet stream.
const pingEvery = 20 * time.Second

// Hint is an event: something has changed, read again.
type Hint struct {
	Name, Data string
}

// Write writes hints as they come: the first, and then the next until that fails.
func Write(w http.ResponseWriter, r *http.Request, ending <-chan struct{}, first Hint, next func() (Hint, error)) {
	control := http.NewResponseController(w)
	if r.ContentLength == 0 {
		// A body that was announced and does not come is ended by the server's time-out.
		_ = control.SetReadDeadline(time.Time{})
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	hints := make(chan Hint, 1)
	go func() {
		defer close(hints)
		for h, err := first, error(nil); err == nil; h, err = next() {
			select {
			case hints <- h:
			case <-r.Context().Done():
				return
			}
		}
	}()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		text := ": ping\n\n"
		select {
		case h, ok := <-hints:
			if !ok {
				return
			}
			text = "event: " + h.Name + "\ndata: " + h.Data + "\n\n"
		case <-ping.C:
		case <-ending:
			return
		case <-r.Context().Done():
			return
		}
		_ = control.SetWriteDeadline(time.Now().Add(bound.WriteTimeout))
		if _, err := w.Write([]byte(text)); err != nil {
			return // the reader has gone away
		}
		if err := control.Flush(); err != nil {
			return // as above
		}
		_ = control.SetWriteDeadline(time.Time{}) // HTTP/2 would end the stream by it
	}
}
