package providertest

import (
	"context"
	"sync"
)

// Expiring returns a context whose deadline passes when the test says so: however slow
// the machine, what is to have happened before has happened.
func Expiring(parent context.Context) (ctx context.Context, expire func()) {
	done := make(chan struct{})
	return expiring{parent, done}, sync.OnceFunc(func() { close(done) })
}

type expiring struct {
	context.Context //nolint:containedctx // it is one
	done            chan struct{}
}

func (c expiring) Done() <-chan struct{} { return c.done }

// Err is that of a deadline that has passed.
func (c expiring) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
