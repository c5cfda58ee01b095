package watch

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// A mark identifies nobody: many share it.
func TestHint_MarkIsShared(t *testing.T) {
	t.Parallel()
	mark, others := *MarkOf("usagers:jeanne"), 0
	for i := range 1 << 18 {
		if *MarkOf(fmt.Sprint("usagers:", i)) == mark {
			others++
		}
	}
	if others == 0 {
		t.Error("of a quarter of a million, nobody shares it")
	}
}

// A hint that could not be sent is replaced by the catch-all hint when the broker is back.
func TestHint_CatchAll(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	publisher, subscriber := s.connect(t), s.connect(t)
	one, two := NewHints(publisher), NewHints(subscriber)
	received, began := make(chan Hint, 1024), make(chan struct{}, 1024)
	goes(t, one.Run)
	goes(t, func(ctx context.Context) error {
		two.subscribe(ctx, func() { began <- struct{}{} }, func(hint Hint) { received <- hint })
		return nil
	})
	<-began
	id := uuid.New()
	one.Send(Hint{Conversation: id})
	if got := <-received; got.Conversation != id {
		t.Fatalf("received %+v", got)
	}
	s.broker.Stop()
	messagingtest.Eventually(t, "the broker is away", func() bool { return !publisher.Connected() })
	one.Send(Hint{Conversation: id})
	messagingtest.Eventually(t, "a catch-all hint is due", one.catchAll.Load)
	s.broker.Start(t)
	<-began
	if got := <-received; got != (Hint{}) {
		t.Errorf("received %+v, want that any may have changed", got)
	}
}

// So are hints beyond those that may wait.
func TestHint_SendNeverWaits(t *testing.T) {
	t.Parallel()
	h := NewHints(nil)
	for range hintsMost + 1 {
		h.Send(Hint{Conversation: uuid.New()})
	}
	if !h.catchAll.Load() {
		t.Error("no catch-all hint is due for what was dropped")
	}
}

// Connected is not working: a process whose own hints do not come back gets no others either.
func TestHint_EchoReturned(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	h := NewHints(s.connect(t))
	if !h.echoReturned() {
		t.Error("no echo before one was requested passes for a fault")
	}
	if h.echoReturned() {
		t.Error("nothing has come back, and passes for an echo")
	}
	goes(t, h.Run)
	goes(t, func(ctx context.Context) error {
		h.subscribe(ctx, func() {}, func(hint Hint) { t.Errorf("an echo was handed out: %+v", hint) })
		return nil
	})
	messagingtest.Eventually(t, "the echo returns", h.echoReturned)
}

// goes runs something until the test ends.
func goes(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
