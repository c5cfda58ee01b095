// Package batch is group commit: callers submit items one by one, and one goroutine handles
// whatever has arrived while it handled the previous batch. There is no timer: an item that
// comes alone is handled at once, and under load the batches grow, so that many share the
// cost of a commit.
//
// # What is promised
//
// [Group.Submit] returns the result of its item, which the group handled at most once, in a
// batch with others or alone. A caller never gets the error of another's item if the handler
// says which errors may be one item's fault (Config.Divide). Of two items that conflict
// (Config.Conflict), the one that came first is handled first, and the second in a batch that
// begins when that one has ended.
//
// Everything is bounded: how many items wait, how large a batch is, how long it takes, and
// how long the end takes. A caller whose context ends gets its error at once. An item that
// has waited for half of its caller's time is not begun and gets [ErrCrowded]: the other half
// is for the answer. Otherwise, under overload, all items would be handled for callers that
// have left. At the end ([Group.Run]) items that wait are handled, and those that come later
// get [ErrStopped], which always means that the item was not begun.
//
// # How
//
// Items wait in a channel. A batch takes what is there, without waiting for more, leaves
// out those whose callers have left, and goes to the handler, whose context has the batch's
// deadline and not the callers'. If Divide accepts the handler's error, the halves are tried
// separately, down to the item that fails: of n items with one bad one, all others are
// handled in about 2·log₂(n) more calls.
//
// # When it breaks
//
// A caller that has left, or gets the error of a whole batch, does not know whether its
// item was handled: give items a key by which a repeat is recognised. A handler that ignores
// its context holds up everything that waits. Items that wait are lost with the process.
package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"
)

var (
	// ErrCrowded is for an item that has waited for half of its caller's time; it was not
	// begun.
	ErrCrowded = errors.New("more waits to be done than can be in time")
	// ErrStopped is for an item that came after the end, or was still waiting when the
	// drain's time was over; it was not begun.
	ErrStopped = errors.New("the batches have ended")
)

// defaultTimeout bounds a batch unless Config.Timeout does.
const defaultTimeout = 10 * time.Second

// Config is how a group works. Do and Most must be set.
type Config[T, R any] struct {
	// Do handles items and returns the result of each, in their order. An error means that
	// nothing was done, or that this is unknown; every caller gets it, unless the batch is
	// divided. One batch is handled at a time. The group does not keep items after it.
	Do func(ctx context.Context, items []T) ([]Result[R], error)
	// Most is the most items in a batch; with a Weight, about the most weight: the item
	// that reaches it is the last.
	Most int
	// Weight is an item's share of Most; nil: each is 1.
	Weight func(T) int
	// Queue is the most items that wait, besides the batch under way; 4 × Most if zero.
	Queue int
	// Timeout bounds a batch, its divisions and conflicts included; 10 s if zero.
	Timeout time.Duration
	// Drain bounds the work after the end of Run's context, besides the batch then under
	// way; as Timeout if zero.
	Drain time.Duration
	// Divide reports whether an error of a batch may be the fault of one item, so that the
	// halves are tried separately; nil: never.
	Divide func(error) bool
	// Conflict reports whether two items must not be in one batch, first being the one
	// that came first; nil: none do.
	Conflict func(first, second T) bool
	// Sizes records the number of items of each batch, if it is set.
	Sizes metric.Int64Histogram
}

// Result is what became of one item.
type Result[R any] struct {
	Value R
	Err   error
}

// Group is a group commit of items T that become R; see the package. Use [New].
type Group[T, R any] struct {
	config  Config[T, R]
	queue   chan *call[T, R]
	stopped chan struct{}
}

// call is an item with its caller.
type call[T, R any] struct {
	ctx    context.Context //nolint:containedctx // the caller's, to skip those that have left
	until  time.Time       // after this it is not begun; zero: at any time
	item   T
	result chan Result[R] // has room for one
}

// New returns a group. It does nothing until it is run.
func New[T, R any](config Config[T, R]) *Group[T, R] {
	if config.Queue == 0 {
		config.Queue = 4 * config.Most
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	if config.Drain == 0 {
		config.Drain = config.Timeout
	}
	return &Group[T, R]{config: config, queue: make(chan *call[T, R], config.Queue), stopped: make(chan struct{})}
}

// Submit has an item handled and returns its result.
func (g *Group[T, R]) Submit(ctx context.Context, item T) (R, error) {
	c, err := g.enqueue(ctx, item)
	if err != nil {
		var none R
		return none, err
	}
	return g.await(ctx, c)
}

// Enqueue adds an item to the queue, and waits only for room in it. await, which need not be
// called, waits for the result.
func (g *Group[T, R]) Enqueue(ctx context.Context, item T) (await func() (R, error), err error) {
	c, err := g.enqueue(ctx, item)
	if err != nil {
		return nil, err
	}
	return func() (R, error) { return g.await(ctx, c) }, nil
}

// Post hands in an item that nobody waits for: ctx bounds the wait for room alone, and what
// is in the queue is done however long that takes. An error always means that it was not
// begun.
func (g *Group[T, R]) Post(ctx context.Context, item T) error {
	return g.place(ctx, &call[T, R]{ctx: context.WithoutCancel(ctx), item: item, result: make(chan Result[R], 1)})
}

func (g *Group[T, R]) enqueue(ctx context.Context, item T) (*call[T, R], error) {
	c := &call[T, R]{ctx: ctx, item: item, result: make(chan Result[R], 1)}
	if deadline, bounded := ctx.Deadline(); bounded {
		c.until = time.Now().Add(time.Until(deadline) / 2)
	}
	if err := g.place(ctx, c); err != nil {
		return nil, err
	}
	return c, nil
}

// place puts a call into the queue, and waits for room until ctx ends or the call is late.
func (g *Group[T, R]) place(ctx context.Context, c *call[T, R]) error {
	select {
	case <-g.stopped: // also where there is room, in which nobody would look
		return ErrStopped
	default:
	}
	select {
	case g.queue <- c:
		return nil
	default: // full
	}
	var late <-chan time.Time
	if !c.until.IsZero() {
		timer := time.NewTimer(time.Until(c.until))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case g.queue <- c:
		return nil
	case <-late:
		return ErrCrowded
	case <-g.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Waiting returns how many items wait for a batch to begin.
func (g *Group[T, R]) Waiting() int { return len(g.queue) }

// await returns the result of an item in the queue.
func (g *Group[T, R]) await(ctx context.Context, c *call[T, R]) (none R, err error) {
	select {
	case done := <-c.result:
		return done.Value, done.Err
	case <-g.stopped:
		// The answer may have come just before the end.
		select {
		case done := <-c.result:
			return done.Value, done.Err
		default:
			return none, ErrStopped
		}
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// Run handles batches until ctx ends and, for at most Config.Drain, the items that wait
// then. Stop those who submit first. A group is run once.
func (g *Group[T, R]) Run(ctx context.Context) {
	defer close(g.stopped)
	lasting := context.WithoutCancel(ctx) // a batch belongs to many
	for ctx.Err() == nil {
		select {
		case first := <-g.queue:
			g.flush(lasting, g.gather(first))
		case <-ctx.Done():
		}
	}
	drain, cancel := context.WithTimeout(lasting, g.config.Drain)
	defer cancel()
	for drain.Err() == nil {
		select {
		case first := <-g.queue:
			g.flush(drain, g.gather(first))
		default:
			return
		}
	}
}

// gather takes what waits, without waiting for more.
func (g *Group[T, R]) gather(first *call[T, R]) []*call[T, R] {
	batch, weight := []*call[T, R]{first}, g.weight(first)
	for weight < g.config.Most {
		select {
		case next := <-g.queue:
			batch, weight = append(batch, next), weight+g.weight(next)
		default:
			return batch
		}
	}
	return batch
}

func (g *Group[T, R]) weight(c *call[T, R]) int {
	if g.config.Weight == nil {
		return 1
	}
	return g.config.Weight(c.item)
}

// flush handles a batch: first the items that conflict with none before them, then the rest.
func (g *Group[T, R]) flush(ctx context.Context, batch []*call[T, R]) {
	ctx, cancel := context.WithTimeout(ctx, g.config.Timeout)
	defer cancel()
	for live := g.live(batch); len(live) > 0; {
		var now, later []*call[T, R]
		if now = live; g.config.Conflict != nil {
			now, later = g.apart(live)
		}
		if g.config.Sizes != nil {
			g.config.Sizes.Record(ctx, int64(len(now)))
		}
		g.do(ctx, now)
		live = later
	}
}

// live returns the calls whose callers still wait, and have time left.
func (g *Group[T, R]) live(batch []*call[T, R]) []*call[T, R] {
	live := batch[:0]
	for _, c := range batch {
		switch {
		case !c.until.IsZero() && time.Now().After(c.until):
			c.result <- Result[R]{Err: ErrCrowded}
		case c.ctx.Err() == nil: // nobody waits for the others
			live = append(live, c)
		}
	}
	return live
}

// apart returns those of the calls that can be in one batch, and those that come after.
func (g *Group[T, R]) apart(calls []*call[T, R]) (now, later []*call[T, R]) {
	for _, c := range calls {
		before := func(other *call[T, R]) bool { return g.config.Conflict(other.item, c.item) }
		// Nor does it overtake what it conflicts with.
		if slices.ContainsFunc(now, before) || slices.ContainsFunc(later, before) {
			later = append(later, c)
		} else {
			now = append(now, c)
		}
	}
	return now, later
}

// do handles calls in one batch, divided if that helps, and answers them.
func (g *Group[T, R]) do(ctx context.Context, calls []*call[T, R]) {
	items := make([]T, len(calls))
	for i, c := range calls {
		items[i] = c.item
	}
	results, err := g.config.Do(ctx, items)
	switch {
	case err != nil && len(calls) > 1 && g.config.Divide != nil && g.config.Divide(err):
		half := len(calls) / 2
		g.do(ctx, calls[:half])
		g.do(ctx, calls[half:])
		return
	case err == nil && len(results) != len(calls):
		err = fmt.Errorf("a batch of %d items has %d results", len(calls), len(results))
	}
	for i, c := range calls {
		if err != nil {
			c.result <- Result[R]{Err: err}
			continue
		}
		c.result <- results[i]
	}
}
