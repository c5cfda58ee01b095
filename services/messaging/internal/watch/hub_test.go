package watch

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

func TestWatcher_OfferNeverWaits(t *testing.T) {
	t.Parallel()
	w := &watcher{ch: make(chan Happening, backlog)}
	for range 10 * backlog {
		w.offer(Happening{Conversation: uuid.New()})
	}
	blind := false
	for range backlog {
		if change := <-w.ch; change.Conversation == uuid.Nil {
			blind = true
		}
	}
	if !blind {
		t.Error("a watch that missed changes was not notified that any may have changed")
	}
}

// The end of a stream by its server is no error of the caller's.
func TestWatch_LifeIsOver(t *testing.T) {
	t.Parallel()
	h := NewHub(nil, nil, nil, nil)
	close(h.done)
	err := h.Watch(t.Context(), "jeanne", conversation.Scope{Member: "jeanne"}, func(Happening) error { return nil })
	if err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if len(h.watchers) != 0 {
		t.Error("the watch was not taken off")
	}
}

// Connected is not working: while events wait in the outbox, the hub counts as blind.
func TestHub_BlindWhileEventsWait(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	events := s.connect(t)
	hints := NewHints(events)
	h := NewHub(s.pool, events, hints, func() uuid.UUID { return uuid.Nil })
	goes(t, hints.Run)
	began := make(chan struct{}, 16)
	goes(t, func(ctx context.Context) error {
		hints.subscribe(ctx, func() { began <- struct{}{} }, func(Hint) {})
		return nil
	})
	<-began
	wait := func(age string) {
		t.Helper()
		if _, err := s.pool.Exec(t.Context(), `
			INSERT INTO outbox (id, type, caisse, conversation_id, payload, trace, created_at)
			VALUES (gen_random_uuid(), 'reply-posted', 'msa-75', gen_random_uuid(), '', '', now() - $1::interval)`, age); err != nil {
			t.Fatal(err)
		}
	}
	wait("1 hour")
	if h.blind(t.Context()) {
		t.Error("queries although nobody watches")
	}
	_, end, err := h.open("jeanne", conversation.Scope{Member: "jeanne"})
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if !h.blind(t.Context()) {
		t.Error("events have waited for an hour, and pass for flowing")
	}
	if _, err := s.pool.Exec(t.Context(), `DELETE FROM outbox`); err != nil {
		t.Fatal(err)
	}
	wait("1 second")
	messagingtest.Eventually(t, "the echo returns", hints.echoed.Load)
	if h.blind(t.Context()) {
		t.Error("an event that was committed just now passes for one that does not flow")
	}
	s.broker.Stop()
	messagingtest.Eventually(t, "the broker is away", func() bool { return h.blind(t.Context()) })
}

// Nor is a broker that lets events through and denies hints.
func TestHub_BlindWhileHintsDoNotComeBack(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	hints := NewHints(s.connect(t)) // nothing publishes them, as on a subject that is denied
	h := NewHub(s.pool, hints.bus, hints, func() uuid.UUID { return uuid.Nil })
	_, end, err := h.open("jeanne", conversation.Scope{Member: "jeanne"})
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if h.blind(t.Context()) {
		t.Error("blind before an echo was requested")
	}
	if !h.blind(t.Context()) {
		t.Error("no echo has come back, and hints pass for flowing")
	}
}
