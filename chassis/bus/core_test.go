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

// subscribe returns the messages received on a subject, and a value for each time that the
// subscription began.
func subscribe(t *testing.T, b *bus.Bus, subject string) (received chan string, began chan struct{}) {
	t.Helper()
	received, began = make(chan string, 1024), make(chan struct{}, 1024)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.SubscribeCore(ctx, subject, func() { began <- struct{}{} }, func(data []byte) { received <- string(data) })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return received, began
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

// Every subscriber gets the message, the publisher too, and no stream stores it.
func TestCore_ReachesAll(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	one, two := connect(t, broker.URL), connect(t, broker.URL)
	publishUntilAcked(t, one, newEvent("a"))
	here, began := subscribe(t, one, "aside.v1")
	there, alsoBegan := subscribe(t, two, "aside.v1")
	await(t, "one is subscribed", began)
	await(t, "two is subscribed", alsoBegan)
	if err := one.PublishCore("aside.v1", []byte("word")); err != nil {
		t.Fatal(err)
	}
	if err := one.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, b := await(t, "its own message", here), await(t, "the other's message", there); a != "word" || b != "word" {
		t.Errorf("received %q and %q", a, b)
	}
}

// A subscriber that was cut off is notified when its subscription begins again. Publishing
// meanwhile is an error, not a promise.
func TestCore_BrokerAway(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	received, began := subscribe(t, b, "aside.v1")
	await(t, "it is subscribed", began)
	broker.Stop()
	for b.Connected() {
		if t.Context().Err() != nil {
			t.Fatal("connected for good")
		}
	}
	if err := b.PublishCore("aside.v1", []byte("lost")); err == nil {
		t.Error("published to a broker that is away")
	}
	broker.Start(t)
	await(t, "it is subscribed again", began)
	if err := b.PublishCore("aside.v1", []byte("word")); err != nil {
		t.Fatal(err)
	}
	if got := await(t, "a message", received); got != "word" {
		t.Errorf("received %q", got)
	}
}

// Messages beyond what may wait are dropped, and the subscriber is notified.
func TestCore_Dropped(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	began, held, received := make(chan struct{}, 1024), make(chan struct{}), atomic.Int64{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.SubscribeCore(ctx, "aside.v1", func() { began <- struct{}{} }, func([]byte) { received.Add(1); <-held })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	await(t, "it is subscribed", began)
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
	// The subscriber's own flush comes behind what the broker has sent it.
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(held)
	await(t, "it is notified of a gap", began)
	if n := received.Load(); n >= 10_000 {
		t.Errorf("%d were received, so none was dropped", n)
	}
}
