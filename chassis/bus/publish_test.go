package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// streamOf is the stream as the broker has it, over a connection of its own.
func streamOf(t *testing.T, url string) (jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	return js, s
}

func newEvents(n int) []bus.Event {
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = newEvent(fmt.Sprint(i))
	}
	return events
}

// stored are the ids in the stream, and how many of its messages came in an
// atomic batch.
func stored(t *testing.T, s jetstream.Stream) (ids []string, batched int) {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		msg, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, msg.Header.Get(jetstream.MsgIDHeader))
		if msg.Header.Get("Nats-Batch-Id") != "" {
			batched++
		}
	}
	slices.Sort(ids)
	return ids, batched
}

func idsOf(events []bus.Event) []string {
	ids := make([]string, len(events))
	for i, event := range events {
		ids[i] = event.ID
	}
	slices.Sort(ids)
	return ids
}

func TestPublish_SizesOfASet(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ events, batched int }{
		{0, 0},
		{1, 0},
		{63, 0},
		{64, 64},
		{500, 500},
		{501, 500},
		{564, 564},
		{1001, 1000},
	} {
		t.Run(fmt.Sprint(row.events), func(t *testing.T) {
			t.Parallel()
			broker := testenv.NATS(t)
			b := connect(t, broker.URL)
			if err := b.EnsureStream(t.Context()); err != nil {
				t.Fatal(err)
			}
			events := newEvents(row.events)
			errs := b.Publish(t.Context(), events)
			if len(errs) != row.events || errors.Join(errs...) != nil {
				t.Fatalf("%d results: %v", len(errs), errors.Join(errs...))
			}
			_, s := streamOf(t, broker.URL)
			ids, batched := stored(t, s)
			if !slices.Equal(ids, idsOf(events)) {
				t.Errorf("%d events in the stream, want the %d published, once each", len(ids), row.events)
			}
			if batched != row.batched {
				t.Errorf("%d came in atomic batches, want %d", batched, row.batched)
			}
		})
	}
}

// The broker refuses a batch whole when it knows one of its ids. That is what a
// relay sends that died between the acknowledgement and its commit.
func TestPublish_BatchWithAKnownID(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	events := newEvents(200)
	publishUntilAcked(t, b, events[100])
	if err := errors.Join(b.Publish(t.Context(), events)...); err != nil {
		t.Fatal(err)
	}
	_, s := streamOf(t, broker.URL)
	if ids, _ := stored(t, s); !slices.Equal(ids, idsOf(events)) {
		t.Errorf("%d events in the stream, want 200, once each", len(ids))
	}
}

func TestPublish_OneBadEventFailsAlone(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	for _, size := range []int{3, 100} {
		events := newEvents(size)
		events[1].Data = make([]byte, 2<<20) // the broker takes 1 MiB
		events[2].Subject = "elsewhere.happened"
		for i, err := range b.Publish(t.Context(), events) {
			if (err != nil) != (i == 1 || i == 2) {
				t.Errorf("event %d of %d: %v", i, size, err)
			}
		}
	}
	_, s := streamOf(t, broker.URL)
	if ids, _ := stored(t, s); len(ids) != 1+98 {
		t.Errorf("%d events in the stream, want 99", len(ids))
	}
}

// A full stream says no; it drops nothing that it holds.
func TestPublish_FullStreamRefuses(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b, err := bus.Connect(t.Name(), bus.Config{URL: broker.URL, Replicas: 1, MaxBytes: 64 << 10}, stream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	events := newEvents(1000)
	var acked []bus.Event
	for i, err := range b.Publish(t.Context(), events) {
		if err == nil {
			acked = append(acked, events[i])
		}
	}
	if len(acked) == 0 || len(acked) == len(events) {
		t.Fatalf("%d of %d events acknowledged", len(acked), len(events))
	}
	_, s := streamOf(t, broker.URL)
	ids, _ := stored(t, s)
	for _, id := range idsOf(acked) {
		if !slices.Contains(ids, id) {
			t.Errorf("%s is acknowledged and not in the stream", id)
		}
	}
	// A slow broker may have stored some whose acknowledgement was given up.
	if len(ids) == len(events) {
		t.Errorf("all of %d events in the stream", len(ids))
	}
}

func TestPublish_BigSetWithoutABroker(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	publishUntilAcked(t, b, newEvent("before"))
	broker.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	events := newEvents(600)
	for i, err := range b.Publish(ctx, events) {
		if err == nil {
			t.Fatalf("event %d published without a broker", i)
		}
	}
	broker.Start(t)
	publishUntilAcked(t, b, events...)
	_, s := streamOf(t, broker.URL)
	if ids, _ := stored(t, s); len(ids) != 601 {
		t.Errorf("%d events in the stream, want 601", len(ids))
	}
}

func TestConsume_StreamDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	c := collect(t, b, nil)
	before := newEvent("before")
	publishUntilAcked(t, b, before)
	c.await(t, before)
	js, _ := streamOf(t, broker.URL)
	if err := js.DeleteStream(t.Context(), stream.Name); err != nil {
		t.Fatal(err)
	}
	events := newEvents(100)
	publishUntilAcked(t, b, events...)
	c.await(t, events...)
}

func TestConsume_ConsumerDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	c := collect(t, b, nil)
	before := newEvent("before")
	publishUntilAcked(t, b, before)
	c.await(t, before)
	js, _ := streamOf(t, broker.URL)
	if err := js.DeleteConsumer(t.Context(), stream.Name, "collector"); err != nil {
		t.Fatal(err)
	}
	after := newEvent("after")
	publishUntilAcked(t, b, after)
	c.await(t, after)
}

// An event the handler always fails on must not keep its neighbours.
func TestConsume_BadEventHoldsUpNobody(t *testing.T) {
	t.Parallel()
	b := connect(t, testenv.NATS(t).URL)
	events := newEvents(20)
	bad := events[7]
	c := collect(t, b, func(batch []bus.Msg) error {
		if slices.ContainsFunc(batch, func(m bus.Msg) bool { return m.ID == bad.ID }) {
			return errors.New("a constraint")
		}
		return nil
	})
	publishUntilAcked(t, b, events...)
	c.await(t, slices.Concat(events[:7], events[8:])...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.got[bad.ID]; ok {
		t.Error("the bad event was handled")
	}
}

// What has been received is finished, acknowledged, and not handed out again.
func TestConsume_EndsWithWhatItHas(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	events := newEvents(250)
	publishUntilAcked(t, b, events...)
	_, s := streamOf(t, broker.URL)
	const batchSize = 50
	unacked := func() *jetstream.ConsumerInfo {
		consumer, err := s.Consumer(t.Context(), "once")
		if err != nil {
			t.Fatal(err)
		}
		return consumer.CachedInfo()
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var handled int
	err := b.Consume(ctx, bus.Consumer{Durable: "once", Subjects: []string{"test.>"}, BatchSize: batchSize},
		func(ctx context.Context, batch []bus.Msg) error {
			// Go on only when more has been sent than the channel of the batches
			// holds: the rest is in the client's own buffer. And when nothing more
			// comes: what the broker sends in the moment of the drain comes to nobody.
			for last, same := 0, 0; handled == 0 && same < 50; {
				n := unacked().NumAckPending
				if n != last || n <= len(batch)+batchSize+1 {
					same = 0
				}
				last, same = n, same+1
			}
			stop()
			handled += len(batch)
			return ctx.Err()
		})
	if err != nil {
		t.Fatal(err)
	}
	info := unacked()
	if info.NumAckPending != 0 || int(info.NumPending) != len(events)-handled {
		t.Errorf("%d handled, %d unacknowledged, %d still to come, of %d", handled, info.NumAckPending, info.NumPending, len(events))
	}
}

func TestConsume_EndsWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	seen, ended := make(chan struct{}, 10), make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, bus.Consumer{Durable: "c", Subjects: []string{"test.>"}, BatchSize: 10},
			func(context.Context, []bus.Msg) error { seen <- struct{}{}; return nil })
	}()
	publishUntilAcked(t, b, newEvent("a"))
	<-seen
	broker.Stop()
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("still consuming 15 s after its context ended")
	}
}

// turnstile refuses the first clients that come.
type turnstile struct{ refusals atomic.Int32 }

func (g *turnstile) Check(server.ClientAuthentication) bool { return g.refusals.Add(-1) < 0 }

// By default the client ends the connection for good after two refusals.
func TestConnect_SurvivesRefusals(t *testing.T) {
	t.Parallel()
	gate := &turnstile{}
	gate.refusals.Store(4)
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		CustomClientAuthentication: gate,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker does not answer")
	}
	publishUntilAcked(t, connect(t, srv.ClientURL()), newEvent("a"))
	if left := gate.refusals.Load(); left >= 0 {
		t.Errorf("%d refusals left", left)
	}
}

// A listener gets what is published from now on, and goes on after the stream was lost,
// which publishers still notice: a plain subscription would answer for the stream.
func TestListen_SurvivesALostStream(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	publishUntilAcked(t, b, newEvent("before"))
	received, attached := make(chan bus.Msg, 1000), make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Listen(ctx, stream.Subjects[0], func() { attached <- struct{}{} }, func(m bus.Msg) { received <- m })
	}()
	<-attached
	expect := func(event bus.Event) {
		t.Helper()
		for deadline := time.After(30 * time.Second); ; {
			select {
			case msg := <-received:
				if msg.ID == event.ID {
					return
				}
				if msg.Data == nil {
					t.Error("an event without its data")
				}
			case <-deadline:
				t.Fatal("not received")
			}
		}
	}
	first := newEvent("first")
	publishUntilAcked(t, b, first)
	expect(first)
	js, _ := streamOf(t, broker.URL)
	if err := js.DeleteStream(t.Context(), stream.Name); err != nil {
		t.Fatal(err)
	}
	publishUntilAcked(t, b, newEvent("makes the stream again"))
	<-attached
	second := newEvent("second")
	publishUntilAcked(t, b, second)
	expect(second)
	cancel()
	<-ended
}

// A listener that lost its place says so, also before it has received anything: the event
// arrives, or it begins again.
func TestListen_TellsThatItLostItsPlace(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	publishUntilAcked(t, b, newEvent("before"))
	received, attached := make(chan bus.Msg, 1000), make(chan struct{}, 100)
	go b.Listen(t.Context(), stream.Subjects[0], func() { attached <- struct{}{} }, func(m bus.Msg) { received <- m })
	_, s := streamOf(t, broker.URL)
	for range 5 {
		<-attached
		names := s.ConsumerNames(t.Context())
		for name := range names.Name() {
			if err := s.DeleteConsumer(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		if err := names.Err(); err != nil {
			t.Fatal(err)
		}
		event := newEvent("missed")
		publishUntilAcked(t, b, event)
		select {
		case msg := <-received:
			if msg.ID != event.ID {
				t.Errorf("received %s, want %s", msg.ID, event.ID)
			}
			<-attached
		case <-attached:
		case <-time.After(30 * time.Second):
			t.Fatal("neither received nor begun again")
		}
		attached <- struct{}{}
	}
}

// A listener that an event has passed by begins again: here somebody else has taken it.
func TestListen_TellsThatItMissedAnEvent(t *testing.T) {
	t.Parallel()
	broker := testenv.NATS(t)
	b := connect(t, broker.URL)
	publishUntilAcked(t, b, newEvent("before"))
	attached := make(chan struct{}, 100)
	go b.Listen(t.Context(), stream.Subjects[0], func() { attached <- struct{}{} }, func(bus.Msg) {})
	<-attached
	_, s := streamOf(t, broker.URL)
	names := s.ConsumerNames(t.Context())
	taken := make(chan error, 1)
	for name := range names.Name() {
		consumer, err := s.Consumer(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := consumer.Next(jetstream.FetchMaxWait(30 * time.Second))
			taken <- err
		}()
	}
	if err := names.Err(); err != nil {
		t.Fatal(err)
	}
	for len(taken) == 0 {
		publishUntilAcked(t, b, newEvent("perhaps taken"))
	}
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	publishUntilAcked(t, b, newEvent("after"))
	select {
	case <-attached: // again
	case <-time.After(30 * time.Second):
		t.Fatal("not notified")
	}
}
