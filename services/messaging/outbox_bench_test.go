package messaging

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
)

// benchBus is a bus on a broker that fsyncs before it acknowledges.
func benchBus(b *testing.B) (*bus.Bus, *testenv.Broker) {
	b.Helper()
	broker := testenv.NATS(b)
	events, err := bus.Connect("bench", bus.Config{URL: broker.URL, Replicas: 1, MaxBytes: 1 << 30}, stream())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(events.Close)
	if err := events.EnsureStream(b.Context()); err != nil {
		b.Fatal(err)
	}
	return events, broker
}

func benchStream(b *testing.B, broker *testenv.Broker) jetstream.Stream {
	b.Helper()
	conn, err := nats.Connect(broker.URL)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	events, err := js.Stream(b.Context(), eventspb.StreamName)
	if err != nil {
		b.Fatal(err)
	}
	return events
}

// BenchmarkLatency submits 500 times a second and reports how long it takes from
// just before the insert to the receipt of the event by a consumer. Give it a
// count: -benchtime 3000x takes six seconds.
func BenchmarkLatency(b *testing.B) {
	const every = time.Second / 500
	s := benchStore(b)
	events, broker := benchBus(b)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	var running sync.WaitGroup
	b.Cleanup(func() { cancel(); running.Wait() })
	relay := outbox.NewRelay(outbox.New(s.store.pool), events, eventspb.DefaultDomain, time.Second)
	c := newCommitter(s.store, relay.Wake, metricnoop.Int64Histogram{})
	running.Go(func() { c.Run(ctx) })
	running.Go(func() { _ = relay.Run(ctx) })

	received := make(chan time.Duration, b.N)
	var begun sync.Map // event id to the time before its insert
	consumer, err := benchStream(b, broker).CreateConsumer(b.Context(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		b.Fatal(err)
	}
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		if at, ok := begun.LoadAndDelete(msg.Headers().Get(jetstream.MsgIDHeader)); ok {
			received <- time.Since(at.(time.Time))
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(consuming.Stop)
	b.ResetTimer()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	start := time.Now()
	for sent := 0; sent < b.N; <-ticker.C {
		// More than one if a tick was missed.
		for due := int(time.Since(start)/every) + 1; sent < min(due, b.N); sent++ {
			running.Go(func() {
				sub, err := s.benchSubmission(ctx, "organisation:jeanne")
				if err != nil {
					b.Error(err)
					return
				}
				begun.Store(sub.event.ID.String(), time.Now())
				if _, err := c.Submit(ctx, sub); err != nil {
					b.Error(err)
				}
			})
		}
	}
	times := make([]time.Duration, b.N)
	for i := range times {
		select {
		case times[i] = <-received:
		case <-time.After(10 * time.Second):
			b.Fatalf("%d of %d events received", i, b.N)
		}
	}
	slices.Sort(times)
	b.ReportMetric(times[len(times)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(times[len(times)*99/100].Seconds()*1000, "p99-ms")
}
