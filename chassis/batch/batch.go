// Package batch is group commit: callers hand in work one by one, and one goroutine does
// whatever has arrived while it did the last. There is no timer: work that comes alone is
// done at once, and the busier what does it, the larger the batches, so that the price of a
// commit is shared by many.
//
// # What is promised
//
// [Group.Submit] returns what became of its item, which was done at most once by the
// group, in a batch with others or alone. A caller never gets the error of another's item
// where the handler tells which errors are an item's own (Config.Divide). Of two items that
// conflict (Config.Conflict), the one that came first is done first, and the second in a
// batch that begins after that one's end.
//
// Everything is bounded: how much waits, how large a batch is, how long it takes, and how
// long the end takes. A caller whose context ends gets its error at once. Work that has
// waited for half of its caller's time is not begun and gets [ErrCrowded]: the other half
// is for the answer, or where more comes than can be done, all would be done for callers
// who have left. At the end ([Group.Run]) what waits is done, and what comes later gets
// [ErrStopped], which always means that the item was not begun.
//
// # How
//
// Items wait in a channel. A batch takes what is there, without waiting for more, leaves
// out those whose callers have left, and goes to the handler, whose context has the
// batch's deadline and none of the callers'. When the handler's error is one that Divide
// knows, the halves are tried apart, down to the item that cannot be done: of n items with
// one bad one, all but that one are done in about 2·log₂(n) more calls.
//
// # When it breaks
//
// A caller that has left, or gets the error of a whole batch, does not know whether its
// item was done: give items a key by which they are recognised. A handler that does not
// heed its context holds up all that waits. With the process, what waits is lost.
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
	// ErrCrowded is what work gets that has waited for half of its caller's time; it was
	// not begun.
	ErrCrowded = errors.New("more waits to be done than can be in time")
	// ErrStopped is what work gets that arrives at the end, or for which the end had no
	// time; it was not begun.
	ErrStopped = errors.New("the batches have ended")
)

// defaultTimeout is what a batch may take where nothing else is said.
const defaultTimeout = 10 * time.Second

// Config is how a group works. Do and Most must be set.
type Config[T, R any] struct {
	// Do does items and returns what became of each, in their order. An error means that
	// nothing was done, or that nobody knows; every caller gets it, unless it is divided.
	// One batch is done at a time. Items are not kept by the group after it.
	Do func(ctx context.Context, items []T) ([]Result[R], error)
	// Most is the most items in a batch; with a Weight, about the most weight: the item
	// that reaches it is the last.
	Most int
	// Weight is an item's share of Most; nil: each is 1.
	Weight func(T) int
	// Queue is the most items that wait, beside the batch under way; 4 × Most if zero.
	Queue int
	// Timeout bounds a batch, with what its division and its conflicts add to it; 10 s if
	// zero.
	Timeout time.Duration
	// Drain bounds what is done after the end of Run's context, beside the batch then under
	// way; as Timeout if zero.
	Drain time.Duration
	// Divide reports whether an error of a batch may be the fault of one item, so that the
	// halves are to be tried apart; nil: never.
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

// Submit has an item done and returns what became of it.
func (g *Group[T, R]) Submit(ctx context.Context, item T) (R, error) {
	c, err := g.enqueue(ctx, item)
	if err != nil {
		var none R
		return none, err
	}
	return g.await(ctx, c)
}

// Enqueue hands in an item, waiting for room alone. What became of it is what await
// returns, which need not be called.
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

// Waiting is how many items wait for a batch to begin.
func (g *Group[T, R]) Waiting() int { return len(g.queue) }

// await returns the outcome of what is in the queue.
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

// Run does batches until ctx ends and, for at most Config.Drain, what waits then. Stop
// what submits first. A group is run once.
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

// flush does a batch: first what conflicts with nothing before it, then the rest.
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

// live are the calls that are worth beginning.
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

// apart are those of the calls that can be in one batch, and those that come after.
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

// do does calls in one, divided where that helps, and answers them.
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
