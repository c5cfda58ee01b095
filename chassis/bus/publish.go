package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	tracerName = "github.com/ma-messagerie/messagerie/chassis/bus"
	// batchFrom is the size of a set from which it goes as atomic batches. A small set is
	// acknowledged sooner event by event: 2 ms against 10 at the 99th percentile.
	batchFrom = 64
	// batchMost is the most events in one atomic batch; the broker takes 1000.
	batchMost = 500
	// batchTimeout bounds the wait for the commit of one batch, so that a batch
	// whose answer is lost leaves time to publish its events one by one.
	batchTimeout = 2 * time.Second
)

// Publish publishes events and returns one error for each, nil for those that
// the broker has acknowledged: these are in its store. An error means that this is
// not known; publishing such an event again is always safe.
//
// The acknowledgements are awaited together, until ctx is done, and for ten
// seconds at most; where some have come, for a second after the last one. [Refusal]
// says what an error is about. A stream found missing is made, and the events published
// again. There is no order among the events of one call.
func (b *Bus) Publish(ctx context.Context, events []Event) []error {
	errs := make([]error, 0, len(events))
	for chunk := range slices.Chunk(events, batchMost) {
		errs = append(errs, b.publishChunk(ctx, chunk)...)
	}
	return errs
}

func (b *Bus) publishChunk(ctx context.Context, events []Event) []error {
	msgs, spans := make([]*nats.Msg, len(events)), make([]trace.Span, len(events))
	for i, event := range events {
		spanCtx, span := startPublish(ctx, event)
		msgs[i], spans[i] = event.msg(spanCtx), span
	}
	errs := make([]error, len(events))
	if len(events) < batchFrom || b.denied.any(msgs) || b.publishBatch(ctx, msgs) != nil {
		errs = b.publishSingly(ctx, msgs)
	}
	for i, span := range spans {
		if errs[i] != nil {
			errs[i] = fmt.Errorf("publishing event %s: %w", events[i].ID, errs[i])
			span.RecordError(errs[i])
			span.SetStatus(codes.Error, "not acknowledged")
		}
		span.End()
	}
	return errs
}

// publishBatch has the broker take all the events or none. Its errors need no
// distinguishing: whether the batch was refused (one of its ids is known, error
// 10201; the stream or the server knows no batches; the stream is missing) or its
// answer was lost, publishing the events singly is safe, because those that did
// get in are known by their ids.
func (b *Bus) publishBatch(ctx context.Context, msgs []*nats.Msg) error {
	if !b.conn.IsConnected() {
		return nats.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	defer b.denied.watch(msgs, cancel)() // the broker does not answer a denied batch
	// The library writes its headers into the messages. It gets copies: a message
	// with a stray batch header would not be stored singly.
	batch := make([]*nats.Msg, len(msgs))
	for i, msg := range msgs {
		batch[i] = &nats.Msg{Subject: msg.Subject, Data: msg.Data, Header: maps.Clone(msg.Header)}
	}
	// Nor does the library observe ctx while it waits for the first acknowledgement. The rest
	// of a batch that was denied is refused, as one of its events is missing.
	ended := make(chan error, 1)
	go func() {
		ack, err := jetstreamext.PublishMsgBatch(ctx, b.js, batch, jetstreamext.BatchFlowControl{AckFirst: true, AckTimeout: batchTimeout})
		if err == nil && ack.Stream != b.stream.Name {
			err = fmt.Errorf("stream %s took it", ack.Stream)
		}
		ended <- err
	}()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("publishing a batch of %d: %w", len(msgs), err)
	}
	return nil
}

// publishSingly publishes all, then awaits all acknowledgements; and does so a
// second time for what met no stream, after making it.
func (b *Bus) publishSingly(ctx context.Context, msgs []*nats.Msg) []error {
	errs := b.publishOnce(ctx, msgs)
	var missing []int
	var again []*nats.Msg
	for i, err := range errs {
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			missing, again = append(missing, i), append(again, msgs[i])
		}
	}
	if len(missing) == 0 {
		return errs
	}
	if err := b.EnsureStream(ctx); err != nil {
		for _, i := range missing {
			errs[i] = fmt.Errorf("%w: %w", errs[i], err)
		}
		return errs
	}
	for j, err := range b.publishOnce(ctx, again) {
		errs[missing[j]] = err
	}
	return errs
}

func (b *Bus) publishOnce(ctx context.Context, msgs []*nats.Msg) []error {
	errs := make([]error, len(msgs))
	acks := make([]jetstream.PubAckFuture, len(msgs))
	b.denied.forget(msgs)
	for i, msg := range msgs {
		// The library need not wait for a stream by itself: the caller makes it.
		acks[i], errs[i] = b.js.PublishMsgAsync(msg, jetstream.WithRetryAttempts(0))
	}
	b.await(ctx, msgs, acks, errs)
	return errs
}

const (
	// stragglerWait is how long to wait, after the last acknowledgement of a set, before its
	// remaining events count as refused.
	stragglerWait = time.Second
	// lookEvery is how soon acknowledgements are seen that came behind a missing one.
	lookEvery = 20 * time.Millisecond
)

// await waits for the acknowledgements of events that have no error yet, and sets the error
// of those that get none.
func (b *Bus) await(ctx context.Context, msgs []*nats.Msg, acks []jetstream.PubAckFuture, errs []error) {
	var open []int
	for i := range acks {
		if errs[i] == nil {
			open = append(open, i)
		}
	}
	connections := b.conn.Stats().Reconnects
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var last time.Time // of an acknowledgement
	for len(open) > 0 {
		// Mostly they come in their order.
		select {
		case <-acks[open[0]].Ok():
			last, open = time.Now(), open[1:]
			continue
		case errs[open[0]] = <-acks[open[0]].Err():
			open = open[1:]
			continue
		case <-ctx.Done():
		case <-look.C:
		}
		open = slices.DeleteFunc(open, func(i int) bool {
			select {
			case <-acks[i].Ok():
				last = time.Now()
				return true
			case errs[i] = <-acks[i].Err():
				return true
			default:
				if b.denied.has(msgs[i].Subject) {
					errs[i] = errDenied
				}
				return errs[i] != nil
			}
		})
		var fault error
		switch {
		case ctx.Err() != nil:
			fault = fmt.Errorf("%w: %w", errNoAck, ctx.Err())
		case last.IsZero() || time.Since(last) < stragglerWait:
			continue
		case !b.conn.IsConnected() || b.conn.Stats().Reconnects != connections:
			fault = nats.ErrDisconnected
		default:
			fault = fmt.Errorf("%w, though others have one", errNoAck)
		}
		for _, i := range open {
			errs[i] = fault
		}
		return
	}
}

// startPublish opens a producer span, to be ended by the caller. Its parent is the
// call that caused the event, however long ago that was.
func startPublish(ctx context.Context, event Event) (context.Context, trace.Span) {
	if event.TraceParent != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": event.TraceParent})
	}
	return otel.Tracer(tracerName).Start(ctx, "publish "+event.Type, trace.WithSpanKind(trace.SpanKindProducer), //nolint:spancheck // ended by the caller
		trace.WithAttributes(attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", event.Subject),
			attribute.String("messaging.message.id", event.ID)))
}
