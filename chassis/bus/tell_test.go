package bus_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// hear returns what is heard, and how often it began.
func hear(t *testing.T, b *bus.Bus, subject string) (told chan string, began chan struct{}) {
	t.Helper()
	told, began = make(chan string, 1024), make(chan struct{}, 1024)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Hear(ctx, subject, func() { began <- struct{}{} }, func(data []byte) { told <- string(data) })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return told, began
}

func await[T any](t *testing.T, what string, ch <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-ch:
	case <-time.After(30 * time.Second):
		t.Fatalf("waited in vain: %s", what)
	}
	return got
}

// What is told is heard by all, by who told it too, and is in no stream.
func TestHear_All(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	one, two := connect(t, broker.URL), connect(t, broker.URL)
	publishUntilAcked(t, one, newEvent("a"))
	here, began := hear(t, one, "aside.v1")
	there, alsoBegan := hear(t, two, "aside.v1")
	await(t, "one hears", began)
	await(t, "two hears", alsoBegan)
	if err := one.Tell("aside.v1", []byte("word")); err != nil {
		t.Fatal(err)
	}
	if err := one.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, b := await(t, "its own word", here), await(t, "the other's word", there); a != "word" || b != "word" {
		t.Errorf("heard %q and %q", a, b)
	}
}

// Whoever was cut off is told so when they hear again, and what is told meanwhile is an
// error, not a promise.
func TestHear_BrokerAway(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	told, began := hear(t, b, "aside.v1")
	await(t, "it hears", began)
	broker.Stop()
	for b.Connected() {
		if t.Context().Err() != nil {
			t.Fatal("connected for good")
		}
	}
	if err := b.Tell("aside.v1", []byte("lost")); err == nil {
		t.Error("told a broker that is away")
	}
	broker.Start(t)
	await(t, "it hears again", began)
	if err := b.Tell("aside.v1", []byte("word")); err != nil {
		t.Fatal(err)
	}
	if got := await(t, "a word", told); got != "word" {
		t.Errorf("heard %q", got)
	}
}

// More than can wait is dropped, and said to be.
func TestHear_Dropped(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	began, held, heard := make(chan struct{}, 1024), make(chan struct{}), atomic.Int64{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Hear(ctx, "aside.v1", func() { began <- struct{}{} }, func([]byte) { heard.Add(1); <-held })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	await(t, "it hears", began)
	other, err := nats.Connect(broker.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	for range 10_000 {
		if err := other.Publish("aside.v1", []byte("word")); err != nil {
			t.Fatal(err)
		}
	}
	// The hearer's own flush comes behind what the broker has sent it.
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(held)
	await(t, "it is told of a gap", began)
	if n := heard.Load(); n >= 10_000 {
		t.Errorf("%d were heard, so none was dropped", n)
	}
}
