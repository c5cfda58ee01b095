package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
)

// Consumer is a durable pull consumer.
type Consumer struct {
	// Durable names it: processes with the same name share its events.
	Durable string
	// Subjects filters the stream.
	Subjects []string
	// BatchSize is the most events handed to one call of the handler.
	BatchSize int
}

// Msg is one event received.
type Msg struct {
	// ID, Type and Entity are the event's attributes.
	ID, Type, Entity string
	// Time is when it happened.
	Time time.Time
	// Data is the payload.
	Data []byte
	// Delivered counts how often it has been handed out, from 1.
	Delivered int
	// TraceParent is the W3C traceparent of its handling, whose parent is its
	// publication; events from Listen have that of the publication.
	TraceParent string
}

// Context returns ctx with the event's trace as parent.
func (m Msg) Context(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": m.TraceParent})
}

const (
	// ackWait is how long the broker waits for an acknowledgement before it delivers an
	// event again, and so how long a handler may take. After a crash, events that were being
	// handled come back that much later.
	ackWait = 10 * time.Second
	// maxAckPending bounds what is handed out and not acknowledged.
	maxAckPending = 4096
	// pullExpiry is how long the broker keeps one request for events open.
	pullExpiry = 5 * time.Second
	// heartbeat is how often an idle broker must show that it still knows us; after two
	// missed ones everything is created again.
	heartbeat = time.Second
	// listenerKept is how long the broker keeps a listener that pulls nothing.
	listenerKept = time.Minute
	// ackConcurrency is how many acknowledgements of a batch await confirmation
	// at a time.
	ackConcurrency = 64
	// retryPause is the wait after a fault of the broker.
	retryPause = 500 * time.Millisecond
	// nakDelay is the first delay of a batch that failed, doubled with each
	// delivery up to nakDelayMax.
	nakDelay    = 500 * time.Millisecond
	nakDelayMax = time.Minute
	// aloneFrom is the delivery from which an event is handed out by itself: two
	// batches with it have failed, perhaps because of it.
	aloneFrom = 3
)

// Consume hands events to handle until ctx is done; what has been received is then
// finished. handle gets the whole batch and must store all of it durably or return an
// error, after which the batch comes back later: so it must tolerate seeing an event
// again. Its context is not cancelled with ctx and ends after ten seconds, when the
// broker would hand the batch to somebody else.
//
// handle itself sets aside what can never be handled, and returns nil. An event on which
// it fails nevertheless holds up nobody: after two failures of its batch it is handed out
// alone, less and less often, down to once a minute, for as long as the stream keeps it.
func (b *Bus) Consume(ctx context.Context, c Consumer, handle func(context.Context, []Msg) error) error {
	for ctx.Err() == nil {
		err := b.consume(ctx, c, handle)
		if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "consuming; going on", "consumer", c.Durable, "error", err)
			pause(ctx, retryPause)
		}
	}
	return nil
}

// consume creates what is missing and hands out batches until something breaks.
func (b *Bus) consume(ctx context.Context, c Consumer, handle func(context.Context, []Msg) error) error {
	consumer, err := b.ensureConsumer(ctx, c)
	if err != nil {
		return err
	}
	// A broker that has lost the consumer says nothing: the missing heartbeat is
	// how that is noticed.
	messages, err := consumer.Messages(jetstream.PullMaxMessages(c.BatchSize),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return fmt.Errorf("pulling: %w", err)
	}
	received := make(chan jetstream.Msg, c.BatchSize)
	broken := make(chan error, 1)
	go receive(messages, received, broken)
	// Drain, not Stop: what the broker has already sent would otherwise come back
	// only after ackWait.
	stop := context.AfterFunc(ctx, messages.Drain)
	defer stop()
	for first := range received {
		for _, batch := range split(gather(first, received, c.BatchSize)) {
			if err := deal(ctx, batch, handle); err != nil {
				slog.WarnContext(ctx, "handling events; they come back", "consumer", c.Durable, "events", len(batch), "error", err)
			}
		}
	}
	return <-broken
}

// receive moves events from the subscription to a channel, so that a batch can
// be what has arrived so far, without waiting for more.
func receive(messages jetstream.MessagesContext, received chan<- jetstream.Msg, broken chan<- error) {
	defer messages.Stop()
	defer close(received)
	for {
		msg, err := messages.Next()
		if err != nil {
			if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				err = nil
			}
			broken <- err
			return
		}
		received <- msg
	}
}

func gather(first jetstream.Msg, received <-chan jetstream.Msg, most int) []jetstream.Msg {
	batch := []jetstream.Msg{first}
	for len(batch) < most {
		select {
		case msg, ok := <-received:
			if !ok {
				return batch
			}
			batch = append(batch, msg)
		default:
			return batch
		}
	}
	return batch
}

// delivery is an event with what acknowledges it.
type delivery struct {
	Msg
	raw jetstream.Msg
}

// split returns one batch of the events that came for the first time or failed once, and
// each other event in a batch of its own.
func split(msgs []jetstream.Msg) [][]delivery {
	var together []delivery
	var batches [][]delivery
	for _, raw := range msgs {
		d := delivery{msgOf(raw), raw}
		if d.Delivered < aloneFrom {
			together = append(together, d)
		} else {
			batches = append(batches, []delivery{d})
		}
	}
	if len(together) == 0 {
		return batches
	}
	return append([][]delivery{together}, batches...)
}

// deal hands a batch to the handler and acknowledges it, or asks for it again. The batch
// is finished even when ctx ends meanwhile: the broker would only hand it out
// again.
func deal(ctx context.Context, batch []delivery, handle func(context.Context, []Msg) error) error {
	ctx = context.WithoutCancel(ctx)
	events, spans := make([]Msg, len(batch)), make([]trace.Span, len(batch))
	for i, d := range batch {
		events[i], spans[i] = startConsume(ctx, d.Msg)
	}
	fault := within(ctx, ackWait, func(ctx context.Context) error { return handle(ctx, events) })
	for _, span := range spans {
		if fault != nil {
			span.SetStatus(codes.Error, "not handled")
		}
		span.End()
	}
	var group errgroup.Group
	group.SetLimit(ackConcurrency)
	for _, d := range batch {
		group.Go(func() error {
			if fault != nil {
				return d.raw.NakWithDelay(delayAfter(d.Delivered))
			}
			return within(ctx, apiTimeout, d.raw.DoubleAck)
		})
	}
	return errors.Join(fault, group.Wait())
}

// startConsume opens a consumer span for one event of a batch, to be ended by the
// caller, and returns the event with it as parent of all that follows. Each event has
// a span of its own: those of a batch come from different traces.
func startConsume(ctx context.Context, event Msg) (Msg, trace.Span) {
	ctx, span := otel.Tracer(tracerName).Start(event.Context(ctx), "process "+event.Type, trace.WithSpanKind(trace.SpanKindConsumer), //nolint:spancheck // ended by the caller
		trace.WithAttributes(attribute.String("messaging.system", "nats"), attribute.String("messaging.message.id", event.ID),
			attribute.Int("messagerie.delivered", event.Delivered)))
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	event.TraceParent = carrier["traceparent"]
	return event, span //nolint:spancheck // ended by the caller
}

func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return do(ctx)
}

// Listen hands out the events of a subject from now on, as they are stored, until ctx
// is done: each at most once, and none of those that come while the broker is away. It
// is for those who would rather miss an event than wait for it. attached is called
// whenever it begins, or begins again, which it does whenever it may have missed one.
// Neither may block.
//
// It reads the stream. A plain subscription to the subject would mislead the publishers:
// they learn that the stream is gone from there being no responder.
func (b *Bus) Listen(ctx context.Context, subject string, attached func(), handle func(Msg)) {
	for ctx.Err() == nil {
		if err := b.listen(ctx, subject, attached, handle); err != nil && ctx.Err() == nil {
			slog.DebugContext(ctx, "listening; going on", "subject", subject, "error", err)
			pause(ctx, retryPause)
		}
	}
}

// listen returns at the first sign that it may have missed an event. The library's
// ordered consumer would go on by itself: from its last event, or, while it has seen
// none, from whatever comes next, and on a stream that was created again it waits for the
// numbers of the old one. In either case nobody would notice.
func (b *Bus) listen(ctx context.Context, subject string, attached func(), handle func(Msg)) error {
	cut := b.conn.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer b.conn.RemoveStatusListener(cut)
	asking, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	consumer, err := b.js.CreateConsumer(asking, b.stream.Name, jetstream.ConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: listenerKept,
	})
	if err != nil {
		return fmt.Errorf("making a listener: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat),
		jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return fmt.Errorf("pulling: %w", err)
	}
	reading, end := context.WithCancel(ctx)
	defer end()
	context.AfterFunc(reading, messages.Stop)
	go func() {
		select {
		case <-cut:
			end()
		case <-reading.Done():
		}
	}()
	attached()
	for next := uint64(1); ; next++ {
		msg, err := messages.Next()
		if err != nil {
			return fmt.Errorf("pulling: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("reading an event's position: %w", err)
		}
		if meta.Sequence.Consumer != next {
			return fmt.Errorf("the event after the %dth is the %dth", next-1, meta.Sequence.Consumer)
		}
		handle(msgOf(msg))
	}
}

// Connected reports whether there is a connection to the broker, as far as this side
// knows.
func (b *Bus) Connected() bool { return b.conn.IsConnected() }

// delayAfter grows with each delivery: 0.5, 1, 2 … 60 seconds.
func delayAfter(delivered int) time.Duration {
	return min(nakDelay<<min(delivered-1, 10), nakDelayMax)
}

func msgOf(msg jetstream.Msg) Msg {
	header := msg.Headers()
	event := Msg{
		ID: header.Get(headerID), Type: header.Get(headerType), Entity: header.Get(headerEntity),
		Data: msg.Data(), Delivered: 1, TraceParent: carrier(header).Get("traceparent"),
	}
	if at, err := time.Parse(time.RFC3339Nano, header.Get(headerTime)); err == nil {
		event.Time = at
	}
	if meta, err := msg.Metadata(); err == nil {
		event.Delivered = int(meta.NumDelivered) //nolint:gosec // a count of deliveries
	}
	return event
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Settings returns the consumer's configuration at the broker.
func (c Consumer) Settings() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:        c.Durable,
		FilterSubjects: c.Subjects,
		AckPolicy:      jetstream.AckExplicitPolicy,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckWait:        ackWait,
		MaxDeliver:     -1,
		MaxAckPending:  maxAckPending,
	}
}

func (b *Bus) ensureConsumer(ctx context.Context, c Consumer) (jetstream.Consumer, error) {
	cfg := c.Settings()
	consumer, err := b.js.CreateOrUpdateConsumer(ctx, b.stream.Name, cfg)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err := b.EnsureStream(ctx); err != nil {
			return nil, err
		}
		consumer, err = b.js.CreateOrUpdateConsumer(ctx, b.stream.Name, cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("making consumer %s: %w", c.Durable, err)
	}
	return consumer, nil
}
