package load

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
)

// First are those who call as soon as they may.
type First struct{ calls *callers }

// NewFirst prepares so many of them, so that nothing is left to do when they call. Call Close.
func NewFirst(f *fleet.Fleet, n int) (*First, error) {
	c, err := newCallers(f)
	if err != nil {
		return nil, err
	}
	for i := range n {
		if _, err := c.token(Member(i)); err != nil {
			c.close()
			return nil, err
		}
	}
	c.http.Timeout = callPatience
	return &First{c}, nil
}

// Submit has so many members submit at once, each once, half of them over gRPC.
func (f *First) Submit(ctx context.Context, n int) Summary {
	var phase Phase
	for i := range n {
		phase.group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, callPatience)
			defer cancel()
			begun := time.Now()
			_, _, err := f.calls.submit(ctx, &message{member: Member(i), key: uuid.NewString(), text: "Bonjour. Où en est ma demande ?"}, i%2 == 0)
			phase.note("submit", time.Since(begun), err)
		})
	}
	phase.Wait()
	return phase.Summary()
}

// Close ends their connections.
func (f *First) Close() { f.calls.close() }
