package bus

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
)

// hearMost bounds what waits to be heard; what comes beyond is dropped.
const hearMost = 8192

// Tell says something to all who [Bus.Hear] a subject at this moment. It is written to the
// connection, and nobody says whether it arrived: an error means that it has not. The
// subject must be outside the stream, which would keep it.
func (b *Bus) Tell(subject string, data []byte) error {
	if err := b.conn.Publish(subject, data); err != nil {
		return fmt.Errorf("telling %s: %w", subject, err)
	}
	return nil
}

// Flush returns when the broker has read all that was told before, or after three seconds,
// with an error.
func (b *Bus) Flush(ctx context.Context) error {
	if err := within(ctx, apiTimeout, b.conn.FlushWithContext); err != nil {
		return fmt.Errorf("waiting for the broker to read: %w", err)
	}
	return nil
}

// Hear hands out what is told on a subject, by this process too, until ctx is done: each
// at most once, and nothing of what is told while the broker is away. attached is called
// whenever it begins, or begins again, and after it has dropped what came faster than
// handle took it. Neither may block.
//
// Of a subject that the broker's permissions deny nothing is heard, without an error: who
// must know says something and sees whether it comes back.
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
	if err != nil { // the connection was closed, or the subject is none
		slog.ErrorContext(ctx, "hearing nothing", "subject", subject, "error", err)
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		// Whoever looks after attached must hear of what comes then. Without an answer,
		// the connection is made again.
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
