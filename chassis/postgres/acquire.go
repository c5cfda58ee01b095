package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errNoneFree: all connections of the pool were in use for too long.
var errNoneFree = errors.New("no connection of the pool was free in half of the time")

// tracer traces queries, and bounds a statement's wait for a connection to half of the time
// that it has left. Connections are given in the order of asking. Under overload, without
// that bound, a statement would get a connection after nearly all of its time, be cut off by
// its deadline, and have the connection closed with it; the next would wait even longer, and
// the backlog would go unserved long after its cause had passed.
type tracer struct{ *otelpgx.Tracer }

// acquiring is a context with half of the time that another one has left.
type acquiring struct {
	context.Context                 //nolint:containedctx // it is one
	whole           context.Context //nolint:containedctx // the other one
}

// Err is errNoneFree if only the half is over.
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
