package bus

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
)

// hearMost bounds the messages that wait for handle; more are dropped.
const hearMost = 8192

// Tell sends a message to all who [Bus.Hear] a subject at this moment: NATS's own publishing
// without JetStream, which confirms nothing. An error means that it was not sent. The subject
// must be outside the stream, which would store it.
func (b *Bus) Tell(subject string, data []byte) error {
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

// Hear hands out what is sent to a subject, by this process too, until ctx is done: each
// message at most once, and none that is sent while the broker is away. attached is called
// whenever it begins, or begins again, and after it has dropped messages that came faster
// than handle took them. Neither may block.
//
// Nothing is heard on a subject that the broker's permissions deny, and there is no error: a
// caller that must know sends a message and sees whether it comes back.
func (b *Bus) Hear(ctx context.Context, subject string, attached func(), handle func(data []byte)) {
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
		err = sub.SetPendingLimits(hearMost, -1)
	}
	if err != nil { // the connection was closed, or the subject is invalid
		slog.ErrorContext(ctx, "hearing nothing", "subject", subject, "error", err)
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		// A caller that reads the state after attached must hear of every later change.
		// Without an answer, the connection is made again.
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
