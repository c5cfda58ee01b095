package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errNoneFree: others had every connection of the pool for too long.
var errNoneFree = errors.New("no connection of the pool was free in half of the time")

// tracer traces queries, and has a statement wait for a connection for half of the time
// that it has left. Connections are given in the order of asking: where more ask than can
// be served, who had waited for nearly all of its time would get one, be cut off by its
// deadline on it, and take the connection along, so that the next would wait for longer
// still, and a crowd be served by nobody long after what had held it up was over.
type tracer struct{ *otelpgx.Tracer }

// acquiring is a context of half of the time that a whole one has left.
type acquiring struct {
	context.Context                 //nolint:containedctx // it is one
	whole           context.Context //nolint:containedctx // whose half it is
}

// Err tells the end of the half from that of the whole.
func (a acquiring) Err() error {
	err := a.Context.Err()
	if errors.Is(err, context.DeadlineExceeded) && a.whole.Err() == nil {
		return errNoneFree
	}
	return err
}

type cancelKey struct{}

// TraceAcquireStart implements [pgxpool.AcquireTracer]. The context that it returns is the
// acquisition's alone.
func (tracer) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return ctx
	}
	half, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
	return acquiring{context.WithValue(half, cancelKey{}, cancel), ctx}
}

// TraceAcquireEnd implements [pgxpool.AcquireTracer].
func (tracer) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireEndData) {
	if cancel, ok := ctx.Value(cancelKey{}).(context.CancelFunc); ok {
		cancel()
	}
}
