package messaging

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
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

// BenchmarkDrain relays a backlog of b.N events by one relay, as after a long
// absence of the broker. Give it a count: -benchtime 50000x.
func BenchmarkDrain(b *testing.B) { benchmarkDrain(b, 0) }

// BenchmarkDrainBehindRefused is the same with 500 events before them that the broker
// refuses, and that are tried again meanwhile.
func BenchmarkDrainBehindRefused(b *testing.B) { benchmarkDrain(b, 500) }

func benchmarkDrain(b *testing.B, refused int) {
	b.Helper()
	s := benchStore(b)
	events, broker := benchBus(b)
	sub, err := s.benchSubmission(b.Context(), "organisation:jeanne")
	if err != nil {
		b.Fatal(err)
	}
	broker.Deny(b, eventspb.Subject(sub.event.kind, deniedCaisse))
	// Ids in the order of time, as the service draws them.
	_, err = s.store.pool.Exec(b.Context(), `INSERT INTO outbox (id, type, caisse, conversation_id, payload)
		SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 5, 15))::uuid,
			$1, CASE WHEN n > $4 THEN 'msa-75' ELSE $5 END, gen_random_uuid(), $2 FROM generate_series(1, $3::bigint + $4) n`,
		sub.event.kind, sub.event.payload, b.N, refused, deniedCaisse)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.store.pool.Exec(b.Context(), `VACUUM ANALYZE outbox`); err != nil {
		b.Fatal(err)
	}
	outbox := newRelay(s.store, events, eventspb.DefaultDomain, time.Second)
	ctx, cancel := context.WithCancel(b.Context())
	var retrying sync.WaitGroup
	b.ResetTimer()
	retrying.Go(func() { outbox.retry(ctx) })
	if err := outbox.drain(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	cancel()
	retrying.Wait()
	info, err := benchStream(b, broker).Info(b.Context())
	if err != nil || info.State.Msgs != uint64(b.N) {
		b.Fatalf("%d of %d events on the stream, %v", info.State.Msgs, b.N, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
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
	outbox := newRelay(s.store, events, eventspb.DefaultDomain, time.Second)
	c := newCommitter(s.store, outbox.wake, metricnoop.Int64Histogram{})
	running.Go(func() { c.Run(ctx) })
	running.Go(func() { _ = outbox.run(ctx) })

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
		// What the clock owes, should a tick have been missed.
		for due := int(time.Since(start)/every) + 1; sent < min(due, b.N); sent++ {
			running.Go(func() {
				sub, err := s.benchSubmission(ctx, "organisation:jeanne")
				if err != nil {
					b.Error(err)
					return
				}
				begun.Store(sub.event.id.String(), time.Now())
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

// BenchmarkPass is one pass of the relay over an outbox with one event, in microseconds;
// with 300,000 deleted rows before it, which an older snapshot keeps; and with those when
// everything is looked at, as it is once in ten seconds.
func BenchmarkPass(b *testing.B) {
	for name, row := range map[string]struct {
		dead  int
		whole bool
	}{"empty": {1, false}, "behind=300000": {300_000, false}, "whole/behind=300000": {300_000, true}} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b)
			reader := behind(b, s.store, row.dead)
			defer reader.Close(context.WithoutCancel(b.Context()))
			from := idAt(time.Now().Add(-lateness))
			if row.whole {
				from = uuid.Nil
			}
			for b.Loop() {
				b.StopTimer()
				if _, err := s.store.pool.Exec(b.Context(), `INSERT INTO outbox (id, type, caisse, conversation_id, payload) VALUES ($1, 'message-submitted', 'msa-75', $1, '')`, uuid.Must(uuid.NewV7())); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				taken, _, err := s.store.relayed(b.Context(), from, relayBatch, func(rows []outboxRow) verdict { return verdict{acked: idsOf(rows)} })
				if taken != 1 || err != nil {
					b.Fatal(taken, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/pass")
		})
	}
}

// BenchmarkFigures is what a scrape asks about the outbox, in the same places.
func BenchmarkFigures(b *testing.B) {
	for name, dead := range map[string]int{"empty": 1, "behind=300000": 300_000} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b)
			reader := behind(b, s.store, dead)
			defer reader.Close(context.WithoutCancel(b.Context()))
			from := idAt(time.Now().Add(-lateness))
			for b.Loop() {
				if _, err := s.store.outboxState(b.Context(), from); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
