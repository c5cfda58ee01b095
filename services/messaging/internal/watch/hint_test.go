package watch

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// A mark tells nobody's name: many share it.
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

// What could not be told is owed, and made good when the broker is there again.
func TestHint_Owed(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	teller, hearer := s.connect(t), s.connect(t)
	one, two := NewHints(teller), NewHints(hearer)
	heard, began := make(chan Hint, 1024), make(chan struct{}, 1024)
	goes(t, one.Run)
	goes(t, func(ctx context.Context) error {
		two.hear(ctx, func() { began <- struct{}{} }, func(told Hint) { heard <- told })
		return nil
	})
	<-began
	id := uuid.New()
	one.Tell(Hint{Conversation: id})
	if got := <-heard; got.Conversation != id {
		t.Fatalf("heard %+v", got)
	}
	s.broker.Stop()
	messagingtest.Eventually(t, "the broker is away", func() bool { return !teller.Connected() })
	one.Tell(Hint{Conversation: id})
	messagingtest.Eventually(t, "it is owed", one.owed.Load)
	s.broker.Start(t)
	<-began
	if got := <-heard; got != (Hint{}) {
		t.Errorf("heard %+v, want that any may have changed", got)
	}
}

// More than can wait is owed too.
func TestHint_TellNeverWaits(t *testing.T) {
	t.Parallel()
	h := NewHints(nil)
	for range hintsMost + 1 {
		h.Tell(Hint{Conversation: uuid.New()})
	}
	if !h.owed.Load() {
		t.Error("what was dropped is not owed")
	}
}

// Connected is not working: who does not hear themselves hears nobody.
func TestHint_Reach(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	h := NewHints(s.connect(t))
	if !h.reach() {
		t.Error("blind before it has asked")
	}
	if h.reach() {
		t.Error("nothing has come back, and passes for heard")
	}
	goes(t, h.Run)
	goes(t, func(ctx context.Context) error {
		h.hear(ctx, func() {}, func(told Hint) { t.Errorf("an echo was handed out: %+v", told) })
		return nil
	})
	messagingtest.Eventually(t, "it hears itself", h.reach)
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
