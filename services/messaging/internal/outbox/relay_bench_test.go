package outbox

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/uuidv7"
)

// BenchmarkPass is one pass of the relay over an outbox with one event, in microseconds;
// with 300,000 deleted rows before it, which an older snapshot keeps; and with those when
// everything is looked at, as it is once in ten seconds.
func BenchmarkPass(b *testing.B) {
	for name, row := range map[string]struct {
		dead  int
		whole bool
	}{"empty": {1, false}, "behind=300000": {300_000, false}, "whole/behind=300000": {300_000, true}} {
		b.Run(name, func(b *testing.B) {
			s := newTables(b)
			reader := behind(b, s.Store, row.dead)
			defer reader.Close(context.WithoutCancel(b.Context()))
			from := uuidv7.First(time.Now().Add(-lateness))
			if row.whole {
				from = uuid.Nil
			}
			for b.Loop() {
				b.StopTimer()
				if _, err := s.pool.Exec(b.Context(), `INSERT INTO outbox (id, type, caisse, conversation_id, payload) VALUES ($1, 'message-submitted', 'msa-75', $1, '')`, uuid.Must(uuid.NewV7())); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				taken, _, err := s.relay(b.Context(), from, relayBatch, func(rows []Row) verdict { return verdict{acked: idsOf(rows)} })
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
			s := newTables(b)
			reader := behind(b, s.Store, dead)
			defer reader.Close(context.WithoutCancel(b.Context()))
			from := uuidv7.First(time.Now().Add(-lateness))
			for b.Loop() {
				if _, err := s.Figures(b.Context(), from); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDrain relays a backlog of b.N events by one relay, as after a long
// absence of the broker. Give it a count: -benchtime 50000x.
func BenchmarkDrain(b *testing.B) { benchmarkDrain(b, 0) }

// BenchmarkDrainBehindRefused is the same with 500 events before them that the broker
// refuses, and that are tried again meanwhile.
func BenchmarkDrainBehindRefused(b *testing.B) { benchmarkDrain(b, 500) }

func benchmarkDrain(b *testing.B, refused int) {
	b.Helper()
	s := newTables(b)
	events, broker := s.connect(b), s.broker
	broker.Deny(b, eventspb.Subject(eventspb.TypeMessageSubmitted, deniedCaisse))
	// Ids in the order of time, as the service draws them.
	_, err := s.pool.Exec(b.Context(), `INSERT INTO outbox (id, type, caisse, conversation_id, payload)
		SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 5, 15))::uuid,
			$1, CASE WHEN n > $4 THEN 'msa-75' ELSE $5 END, gen_random_uuid(), $2 FROM generate_series(1, $3::bigint + $4) n`,
		eventspb.TypeMessageSubmitted, make([]byte, 200), b.N, refused, deniedCaisse)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.pool.Exec(b.Context(), `VACUUM ANALYZE outbox`); err != nil {
		b.Fatal(err)
	}
	relay := NewRelay(s.Store, events, eventspb.DefaultDomain, time.Second)
	ctx, cancel := context.WithCancel(b.Context())
	var retrying sync.WaitGroup
	b.ResetTimer()
	retrying.Go(func() { relay.retry(ctx) })
	if err := relay.drain(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	cancel()
	retrying.Wait()
	conn, err := nats.Connect(broker.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	stream, err := js.Stream(b.Context(), eventspb.StreamName)
	if err != nil || stream.CachedInfo().State.Msgs != uint64(b.N) {
		b.Fatalf("not all of %d events are on the stream: %v", b.N, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
