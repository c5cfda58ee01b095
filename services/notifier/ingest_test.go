package notifier

import (
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

// An event that cannot be read, and not be set aside either, comes again: acknowledged, it
// would be lost.
func TestUnreadableEventIsNotLost(t *testing.T) {
	t.Parallel()
	l, pool := ledgerAndPool(t)
	counts, err := newInstruments(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(counts.stop)
	pool.Close()
	in := &ingest{ledger: l, counts: counts, wake: func() { t.Error("senders were woken") }}
	unreadable := bus.Msg{ID: "e", Type: eventspb.CEType(eventspb.DefaultDomain, eventspb.TypeMessageSubmitted), Data: []byte("\xff")}
	if err := in.take(t.Context(), []bus.Msg{unreadable}); err == nil {
		t.Error("the event was taken, and stored nowhere")
	}
}
