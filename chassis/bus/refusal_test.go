package bus_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// An event refused for what it is is distinguished from a fault of the broker, and the others
// get in.
func TestPublish_RefusedForItself(t *testing.T) {
	t.Parallel()
	const denied = "test.denied"
	for name, row := range map[string]struct {
		size    int
		spoil   func(*bus.Event)
		refusal string
	}{
		"a subject that is denied":          {3, func(e *bus.Event) { e.Subject = denied }, bus.Denied},
		"a subject that is denied, in many": {200, func(e *bus.Event) { e.Subject = denied }, bus.Denied},
		"a subject of no stream":            {3, func(e *bus.Event) { e.Subject = "elsewhere.x" }, bus.NoStream},
		"an event that is too large":        {3, func(e *bus.Event) { e.Data = make([]byte, 2<<20) }, "EVENT_INVALID"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := testenv.NATS(t)
			b := connect(t, broker.URL)
			publishUntilAcked(t, b, newEvent("before"))
			broker.Deny(t, denied)
			publishUntilAcked(t, b, newEvent("denied now"))
			events := newEvents(row.size)
			row.spoil(&events[0])
			row.spoil(&events[1])
			var others []bus.Event
			for i, err := range b.Publish(t.Context(), events) {
				// One that is found refused only by waiting has another reason.
				if reason, own := bus.Refusal(err); i < 2 && (reason != row.refusal || !own) {
					t.Errorf("event %d: %v (%s, %t)", i, err, reason, own)
				}
				if i >= 2 && err != nil {
					others = append(others, events[i])
				}
			}
			// A slow broker's acknowledgement may have been given up.
			publishUntilAcked(t, b, others...)
		})
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		" false":                   nil,
		"BROKER_AWAY false":        nats.ErrDisconnected,
		"NO_STREAM true":           fmt.Errorf("publishing: %w", jetstream.ErrNoStreamResponse),
		"EVENT_INVALID true":       nats.ErrMaxPayload,
		"JETSTREAM_10077 false":    &jetstream.APIError{ErrorCode: 10077},
		"JETSTREAM_10054 true":     &jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamMessageExceedsMaximum},
		"JETSTREAM_10008 false":    fmt.Errorf("%w: %w", jetstream.ErrNoStreamResponse, &jetstream.APIError{ErrorCode: 10008}),
		"BROKER_AWAY false, other": errors.New("x"),
	} {
		reason, own := bus.Refusal(err)
		if got := fmt.Sprint(reason, " ", own); got != strings.TrimSuffix(want, ", other") {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
