package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

func TestMain(m *testing.M) {
	otel.SetTracerProvider(sdktrace.NewTracerProvider())
	otel.SetTextMapPropagator(propagation.TraceContext{})
	m.Run()
}

var stream = bus.Stream{Name: "TEST", Subjects: []string{"test.>"}, MaxAge: time.Hour, DuplicateWindow: time.Minute}

func connect(t *testing.T, url string) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Name(), bus.Config{URL: url, Replicas: 1, MaxBytes: 1 << 24}, stream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func newEvent(entity string) bus.Event {
	return bus.Event{
		ID: uuid.Must(uuid.NewV7()).String(), Type: "test.happened.v1", Source: "test", Subject: "test.happened.v1.here",
		Entity: entity, Time: time.Date(2026, 11, 23, 13, 5, 0, 0, time.UTC), Data: []byte("payload of " + entity),
	}
}

// publishUntilAcked publishes as an outbox would.
func publishUntilAcked(t *testing.T, b *bus.Bus, events ...bus.Event) {
	t.Helper()
	for t.Context().Err() == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		errs := b.Publish(ctx, events)
		cancel()
		var left []bus.Event
		for i, err := range errs {
			if err != nil {
				left = append(left, events[i])
			}
		}
		if events = left; len(events) == 0 {
			return
		}
	}
	t.Fatal("not acknowledged")
}

// collector is a consumer that keeps what it gets.
type collector struct {
	mu    sync.Mutex
	got   map[string]bus.Msg
	times map[string]int
	news  chan struct{}
	// refuse makes the handler fail as long as it returns an error.
	refuse func([]bus.Msg) error
}

func collect(t *testing.T, b *bus.Bus, refuse func([]bus.Msg) error) *collector {
	t.Helper()
	c := &collector{got: make(map[string]bus.Msg), times: make(map[string]int), news: make(chan struct{}, 1), refuse: refuse}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, bus.Consumer{Durable: "collector", Subjects: []string{"test.happened.v1.*"}, BatchSize: 100}, c.handle)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *collector) handle(_ context.Context, batch []bus.Msg) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, msg := range batch {
		c.times[msg.ID]++
	}
	if c.refuse != nil {
		if err := c.refuse(batch); err != nil {
			return err
		}
	}
	for _, msg := range batch {
		c.got[msg.ID] = msg
	}
	select {
	case c.news <- struct{}{}:
	default:
	}
	return nil
}

// await returns when all the events have been handled.
func (c *collector) await(t *testing.T, events ...bus.Event) {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for {
		c.mu.Lock()
		missing := 0
		for _, e := range events {
			if _, ok := c.got[e.ID]; !ok {
				missing++
			}
		}
		c.mu.Unlock()
		if missing == 0 {
			return
		}
		select {
		case <-c.news:
		case <-timeout:
			t.Fatalf("%d of %d events have not come", missing, len(events))
		}
	}
}

func TestPublishAndConsume(t *testing.T) {
	t.Parallel()
	b := connect(t, testenv.NATS(t).URL)
	c := collect(t, b, nil)
	ctx, span := otel.Tracer("test").Start(t.Context(), "the call")
	carrier := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, carrier)
	event := newEvent("a")
	event.TraceParent = carrier["traceparent"]
	publishUntilAcked(t, b, event)
	c.await(t, event)
	got := c.got[event.ID]
	if got.Type != event.Type || got.Entity != "a" || !got.Time.Equal(event.Time) || string(got.Data) != "payload of a" || got.Delivered != 1 {
		t.Errorf("got %+v", got)
	}
	if trace.SpanContextFromContext(got.Context(t.Context())).TraceID() != span.SpanContext().TraceID() {
		t.Errorf("the trace %s did not cross: %s", span.SpanContext().TraceID(), got.TraceParent)
	}
}

// Other languages look for the headers by their exact names.
func TestHeaders_OnTheWire(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	event := newEvent("a")
	publishUntilAcked(t, b, event)
	conn, err := nats.Connect(broker.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Nats-Msg-Id": event.ID, "ce-id": event.ID, "ce-type": event.Type, "ce-source": "test", "ce-specversion": "1.0",
		"ce-time": "2026-11-23T13:05:00Z", "ce-subject": "a", "ce-datacontenttype": "application/protobuf",
	}
	for name, value := range want {
		if got := raw.Header[name]; len(got) != 1 || got[0] != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if len(raw.Header["traceparent"]) != 1 {
		t.Errorf("no lower-case traceparent in %v", raw.Header)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg := info.Config
	if cfg.Retention != jetstream.LimitsPolicy || cfg.Discard != jetstream.DiscardNew || cfg.Storage != jetstream.FileStorage || !cfg.DenyDelete || !cfg.DenyPurge || cfg.Duplicates != time.Minute {
		t.Errorf("stream settings %+v", cfg)
	}
}

func TestPublish_SameIDIsKeptOnce(t *testing.T) {
	t.Parallel()
	b := connect(t, testenv.NATS(t).URL)
	c := collect(t, b, nil)
	event, last := newEvent("a"), newEvent("last")
	for range 5 {
		publishUntilAcked(t, b, event)
	}
	publishUntilAcked(t, b, last)
	c.await(t, event, last)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times[event.ID] != 1 {
		t.Errorf("delivered %d times", c.times[event.ID])
	}
}

func TestConsume_FailedBatchComesBack(t *testing.T) {
	t.Parallel()
	b := connect(t, testenv.NATS(t).URL)
	failures := 2
	c := collect(t, b, func([]bus.Msg) error {
		if failures == 0 {
			return nil
		}
		failures--
		return errors.New("the database is away")
	})
	events := []bus.Event{newEvent("a"), newEvent("b"), newEvent("c")}
	publishUntilAcked(t, b, events...)
	c.await(t, events...)
	if failures != 0 {
		t.Errorf("handled before the failures were over")
	}
}

func TestBrokerStopped_PublishAndConsumeResume(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	c := collect(t, b, nil)
	before := newEvent("before")
	publishUntilAcked(t, b, before)
	c.await(t, before)
	broker.Stop()
	if err := b.Ready(t.Context()); err == nil {
		t.Error("ready without a broker")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if errs := b.Publish(ctx, []bus.Event{newEvent("during")}); errs[0] == nil {
		t.Error("published without a broker")
	}
	broker.Start(t)
	after := newEvent("after")
	publishUntilAcked(t, b, after)
	c.await(t, after)
}

func TestBrokerWiped_StreamAndConsumerAreMadeAgain(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	c := collect(t, b, nil)
	before := newEvent("before")
	publishUntilAcked(t, b, before)
	c.await(t, before)
	broker.Stop()
	broker.Wipe(t)
	broker.Start(t)
	var events []bus.Event
	for i := range 50 {
		events = append(events, newEvent(fmt.Sprint(i)))
	}
	publishUntilAcked(t, b, events...)
	c.await(t, events...)
}

func TestConnect_WithoutABroker(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	broker.Stop()
	b := connect(t, broker.URL)
	c := collect(t, b, nil)
	broker.Start(t)
	event := newEvent("a")
	publishUntilAcked(t, b, event)
	c.await(t, event)
}
