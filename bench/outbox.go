package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watersql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/ma-messagerie/messagerie/bench/internal/cpu"
)

// outbox is a relay that others have written.
type outbox interface {
	// put commits events in one transaction.
	put(ctx context.Context, ids []string) error
	// start publishes what is stored until stop is called.
	start(ctx context.Context) (stop func(), err error)
}

// stage is a broker and a database for one measurement of an outbox.
type stage struct {
	pool   *pgxpool.Pool
	stream jetstream.Stream
	js     jetstream.JetStream
	// published counts acknowledged events; full is closed at wanted.
	published atomic.Int64
	wanted    int64
	full      chan struct{}
	undo      []func()
}

// publish is what every reference does with an event: one publication, of an id
// that the broker knows again, and the wait for its acknowledgement.
func (s *stage) publish(ctx context.Context, id string, payload []byte) error {
	msg := &nats.Msg{Subject: subject, Data: payload, Header: nats.Header{jetstream.MsgIDHeader: {id}}}
	if _, err := s.js.PublishMsg(ctx, msg); err != nil {
		return err
	}
	if s.published.Add(1) == s.wanted {
		close(s.full)
	}
	return nil
}

const subject = "bench.submitted"

// openStage starts a broker with the stream settings of the system, and an empty
// database.
func (r *rig) openStage(ctx context.Context, syncAlways bool, wanted int64) (_ *stage, err error) {
	s := &stage{wanted: wanted, full: make(chan struct{})}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	local, err := r.startBroker(syncAlways)
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, local.stop)
	conn, err := nats.Connect(local.url())
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, conn.Close)
	if s.js, err = jetstream.New(conn); err != nil {
		return nil, err
	}
	s.stream, err = s.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "BENCH", Subjects: []string{"bench.>"}, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		MaxAge: 14 * 24 * time.Hour, MaxBytes: 1 << 30, Duplicates: 24 * time.Hour,
	})
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("bench_outbox_%d", r.databases)
	r.databases++
	if err := r.cluster.CreateDatabase(ctx, name); err != nil {
		return nil, err
	}
	s.undo = append(s.undo, func() { _ = r.admin(context.WithoutCancel(ctx), `DROP DATABASE `+name+` WITH (FORCE)`) })
	cfg, err := pgxpool.ParseConfig(r.cluster.URL(name))
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = 16
	if s.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, err
	}
	s.undo = append(s.undo, s.pool.Close)
	return s, nil
}

func (s *stage) close() {
	for _, undo := range slices.Backward(s.undo) {
		undo()
	}
}

// riverOutbox: an event is a job, a worker publishes it.
type riverOutbox struct{ client *river.Client[pgx.Tx] }

type eventArgs struct {
	ID      string `json:"id"`
	Payload []byte `json:"payload"`
}

// Kind implements river.JobArgs.
func (eventArgs) Kind() string { return "event" }

type publisher struct {
	river.WorkerDefaults[eventArgs]
	stage *stage
}

// Work implements river.Worker.
func (p *publisher) Work(ctx context.Context, job *river.Job[eventArgs]) error {
	return p.stage.publish(ctx, job.Args.ID, job.Args.Payload)
}

// openRiver is tuned: the fetch cooldown is 2 ms instead of 100, the poll 20 ms
// instead of a second.
func openRiver(ctx context.Context, s *stage, workers int) (outbox, error) {
	driver := riverpgxv5.New(s.pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	known := river.NewWorkers()
	river.AddWorker(known, &publisher{stage: s})
	client, err := river.NewClient(driver, &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}, Workers: known,
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	return riverOutbox{client}, err
}

func (o riverOutbox) put(ctx context.Context, ids []string) error {
	if len(ids) == 1 {
		_, err := o.client.Insert(ctx, eventArgs{ids[0], payload()}, nil)
		return err
	}
	jobs := make([]river.InsertManyParams, len(ids))
	for i, id := range ids {
		jobs[i] = river.InsertManyParams{Args: eventArgs{id, payload()}}
	}
	_, err := o.client.InsertManyFast(ctx, jobs)
	return err
}

func (o riverOutbox) start(ctx context.Context) (func(), error) {
	if err := o.client.Start(ctx); err != nil {
		return nil, err
	}
	return func() { _ = o.client.StopAndCancel(context.WithoutCancel(ctx)) }, nil
}

// waterOutbox: watermill's queue in a table, with a forwarder.
type waterOutbox struct {
	stage      *stage
	publisher  *watersql.Publisher
	subscriber *watersql.Subscriber
}

// topic names watermill's table.
const topic = "events"

// openWatermill is tuned: batches of 500 instead of 100, a poll of 10 ms instead of
// a second, and rows are deleted, which is faster than moving an offset.
func openWatermill(_ context.Context, s *stage) (outbox, error) {
	schema := watersql.PostgreSQLQueueSchema{GeneratePayloadType: func(string) string { return "BYTEA" }, SubscribeBatchSize: 500}
	db := watersql.BeginnerFromPgx(s.pool)
	pub, err := watersql.NewPublisher(db, watersql.PublisherConfig{SchemaAdapter: schema, AutoInitializeSchema: true}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	sub, err := watersql.NewSubscriber(db, watersql.SubscriberConfig{
		SchemaAdapter: schema, OffsetsAdapter: watersql.PostgreSQLQueueOffsetsAdapter{DeleteOnAck: true},
		PollInterval: 10 * time.Millisecond, InitializeSchema: true,
	}, watermill.NopLogger{})
	return waterOutbox{s, pub, sub}, err
}

func (o waterOutbox) put(_ context.Context, ids []string) error {
	for chunk := range slices.Chunk(ids, 1000) {
		msgs := make([]*message.Message, len(chunk))
		for i, id := range chunk {
			msgs[i] = message.NewMessage(id, payload())
		}
		if err := o.publisher.Publish(topic, msgs...); err != nil {
			return err
		}
	}
	return nil
}

func (o waterOutbox) start(ctx context.Context) (func(), error) {
	msgs, err := o.subscriber.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	go func() {
		for msg := range msgs {
			if o.stage.publish(ctx, msg.UUID, msg.Payload) != nil {
				msg.Nack()
				continue
			}
			msg.Ack()
		}
	}()
	return func() { _ = o.subscriber.Close() }, nil
}

func payload() []byte { return make([]byte, payloadBytes) }

func newIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = uuid.Must(uuid.NewV7()).String()
	}
	return ids
}

type opener func(context.Context, *stage) (outbox, error)

func riverOf(workers int) opener {
	return func(ctx context.Context, s *stage) (outbox, error) { return openRiver(ctx, s, workers) }
}

// drained measures how many events per second a reference publishes of a backlog.
func (r *rig) drained(ctx context.Context, who string, open opener, backlog int, syncAlways bool) (measurement, error) {
	s, err := r.openStage(ctx, syncAlways, int64(backlog))
	if err != nil {
		return measurement{}, err
	}
	defer s.close()
	box, err := open(ctx, s)
	if err != nil {
		return measurement{}, err
	}
	for chunk := range slices.Chunk(newIDs(backlog), 5000) {
		if err := box.put(ctx, chunk); err != nil {
			return measurement{}, err
		}
	}
	if _, err := s.pool.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		return measurement{}, err
	}
	r.settle(ctx)
	var took time.Duration
	spent, err := cpu.Meters{cpu.Ourselves(who), r.postgres()}.Around(func() error {
		begun := time.Now()
		stop, err := box.start(ctx)
		if err != nil {
			return err
		}
		s.undo = append(s.undo, stop)
		err = s.awaitFull(ctx)
		took = time.Since(begun)
		return err
	})
	return measurement{map[string]float64{events: float64(backlog) / took.Seconds()}, spent.Each(backlog)}, err
}

// awaitFull waits until all events that are wanted are published.
func (s *stage) awaitFull(ctx context.Context) error {
	select {
	case <-s.full:
		return nil
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("%d of %d events published", s.published.Load(), s.wanted)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// delays measures how long events of a reference take from just before the insert
// to a consumer, at 500 a second. It is BenchmarkLatency with another outbox.
func (r *rig) delays(ctx context.Context, who string, open opener) (measurement, error) {
	s, err := r.openStage(ctx, true, -1)
	if err != nil {
		return measurement{}, err
	}
	defer s.close()
	box, err := open(ctx, s)
	if err != nil {
		return measurement{}, err
	}
	if err := box.put(ctx, newIDs(1)); err != nil { // makes watermill's table
		return measurement{}, err
	}
	stop, err := box.start(ctx)
	if err != nil {
		return measurement{}, err
	}
	s.undo = append(s.undo, stop)
	r.settle(ctx)
	n := r.size.latency
	var times []time.Duration
	spent, err := cpu.Meters{cpu.Ourselves(who), r.postgres()}.Around(func() error {
		times, err = s.timed(ctx, box, n)
		return err
	})
	if err != nil {
		return measurement{}, err
	}
	return measurement{map[string]float64{p50: milliseconds(times[n/2]), p99: milliseconds(times[n*99/100])}, spent.Each(n)}, nil
}

// timed puts n events at 500 a second and returns how long each took to a
// consumer, sorted.
func (s *stage) timed(ctx context.Context, box outbox, n int) ([]time.Duration, error) {
	const every = time.Second / 500
	var begun sync.Map
	received := make(chan time.Duration, n)
	consumer, err := s.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		return nil, err
	}
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		if at, ok := begun.LoadAndDelete(msg.Headers().Get(jetstream.MsgIDHeader)); ok {
			received <- time.Since(at.(time.Time))
		}
	})
	if err != nil {
		return nil, err
	}
	defer consuming.Stop()
	faults := make(chan error, n)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	start := time.Now()
	for sent := 0; sent < n; <-ticker.C {
		for due := int(time.Since(start)/every) + 1; sent < min(due, n); sent++ {
			go func() {
				ids := newIDs(1)
				begun.Store(ids[0], time.Now())
				if err := box.put(ctx, ids); err != nil {
					faults <- err
				}
			}()
		}
	}
	times := make([]time.Duration, n)
	for i := range times {
		select {
		case times[i] = <-received:
		case err := <-faults:
			return nil, err
		case <-time.After(10 * time.Second):
			return nil, errors.New("not all events were received")
		}
	}
	slices.Sort(times)
	return times, nil
}
