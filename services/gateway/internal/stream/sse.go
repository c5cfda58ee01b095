package stream

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
)

// Server-sent events, as a watch has them by default.
//
// # What is promised
//
// Each event is of the type "message" and has an id and, as its data, the JSON of one
// answer. A comment comes first, within a second, and another every 15 seconds. Ids are
// integers that increase, also after a cut: they continue from Last-Event-ID, which an
// EventSource sends by itself when it reconnects. "retry" is between one and three seconds,
// different for each stream, so that not all clients of a process that ends come back at once.
//
// Nothing is lost by a cut, however long. The first event of every watch, and so of every
// one that continues another, says that anything may have changed: it names no conversation.
// The service sends it after the watch has begun to listen. So a change either has an event
// of its own or was made before that event, and a client that reads then sees it. No event is
// kept to be sent again, and no id is too large or too old to continue from: an invalid one
// counts as none.
//
// A stream ends without an error after ten minutes, or when a process drains. One that
// breaks off has as its last event one of the type "error" without an id, whose data is
// google.rpc.Status. (An EventSource has events of that name for its own errors, too; those
// have no data.) After either, an EventSource reconnects.
//
// # When it breaks
//
// A call that is refused before the stream begins has an HTTP status, at which an EventSource
// gives up. After one with Retry-After (429, 503), open another EventSource at that time.

// maxEventID is the largest id that is continued from. JavaScript's integers are exact up to
// there.
const maxEventID = 1 << 53

// events is text/event-stream.
type events struct {
	// id is the last event's.
	id uint64
}

// newEvents continues from an id of an earlier stream.
func newEvents(last string) *events {
	id, err := strconv.ParseUint(last, 10, 64)
	if err != nil || id > maxEventID {
		id = 0
	}
	return &events{id}
}

func (e *events) open() []byte {
	retry := time.Second + rand.N(2*time.Second) //nolint:gosec // spreads load
	return fmt.Appendf(nil, ": what has changed, as it changes\nretry: %d\n\n", retry.Milliseconds())
}

func (e *events) close() []byte { return nil }
func (e *events) alive() []byte { return []byte(": alive\n\n") }

func (e *events) answer(message proto.Message) ([]byte, error) {
	text, err := answer.JSON.Marshal(message) // on one line
	e.id++
	return fmt.Appendf(nil, "id: %d\ndata: %s\n\n", e.id, text), err
}

func (e *events) fail(status []byte) []byte {
	return fmt.Appendf(nil, "event: error\ndata: %s\n\n", status)
}
