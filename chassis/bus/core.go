package bus

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
)

// corePending bounds the messages of a subscription that wait for handle; more are dropped.
const corePending = 8192

// PublishCore sends a message to those who are subscribed to a subject at this moment (see
// [Bus.SubscribeCore]). This is core NATS, without JetStream: nothing is stored or
// acknowledged. An error means that the message was not sent. The subject must be outside the
// stream, which would store it.
func (b *Bus) PublishCore(subject string, data []byte) error {
	if err := b.conn.Publish(subject, data); err != nil {
		return fmt.Errorf("sending to %s: %w", subject, err)
	}
	return nil
}

// Flush returns when the broker has read all that was sent before, or after three seconds,
// with an error.
func (b *Bus) Flush(ctx context.Context) error {
	if err := within(ctx, apiTimeout, b.conn.FlushWithContext); err != nil {
		return fmt.Errorf("waiting for the broker to read: %w", err)
	}
	return nil
}

// SubscribeCore calls handle with each message sent to a subject with [Bus.PublishCore], by
// this process too, until ctx is done: at most once, and not for messages sent while the
// broker is away. attached is called when the subscription begins, when it begins again after
// a lost connection, and after messages were dropped because they came faster than handle
// took them. Neither function may block.
//
// A subject that the broker's permissions deny yields no message and no error. A caller that
// must know publishes a message and checks that it comes back.
func (b *Bus) SubscribeCore(ctx context.Context, subject string, attached func(), handle func(data []byte)) {
	again := b.conn.StatusChanged(nats.CONNECTED)
	defer b.conn.RemoveStatusListener(again)
	dropped := 0
	sub, err := b.conn.Subscribe(subject, func(msg *nats.Msg) {
		if n, err := msg.Sub.Dropped(); err == nil && n != dropped {
			dropped = n
			attached()
		}
		handle(msg.Data)
	})
	if err == nil {
		err = sub.SetPendingLimits(corePending, -1)
	}
	if err != nil { // the connection was closed, or the subject is invalid
		slog.ErrorContext(ctx, "subscribing", "subject", subject, "error", err)
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		// A caller that reads the state after attached must get every later
		// message. Without an answer, the client reconnects, and this is tried again.
		if err := b.Flush(ctx); err == nil {
			attached()
		}
		select {
		case _, open := <-again:
			if !open {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
