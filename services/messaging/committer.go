package messaging

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/seeded"
)

const (
	// maxBatch bounds one transaction, so that a burst cannot make one that runs
	// into the statement time-out.
	maxBatch = 512
	// flushTimeout bounds one flush. It does not come from a caller: the batch
	// belongs to many.
	flushTimeout = 10 * time.Second
)

// errCrowded is what work gets that has waited for too long; it was not begun.
var errCrowded = errors.New("more waits to be written than can be in time")

// errDraining is what a submission gets that arrives while the process stops.
var errDraining = errors.New("the committer has stopped")

// group is a group commit: callers hand in work, and one goroutine writes whatever
// has arrived while it wrote the last. There is no timer: work that comes alone is
// written at once, and the busier the database, the larger the batches.
//
// A caller whose deadline passes gets its context's error, and its work may or may
// not be done. Work that has waited for half of its caller's time is not begun and gets
// errCrowded: the other half is for the answer, or where more comes than can be written, all
// would be done for callers who have left. Work that came before the end is done, work that
// comes later gets errDraining.
type group[T, R any] struct {
	queue   chan *pending[T, R]
	stopped chan struct{}
	most    int
	sizes   metric.Int64Histogram
	// write does a batch and answers everyone in it.
	write func(ctx context.Context, batch []*pending[T, R])
}

// pending is the work of one caller.
type pending[T, R any] struct {
	ctx    context.Context //nolint:containedctx // the caller's, to skip those that have left
	until  time.Time       // after this it is not begun; zero: at any time
	work   T
	result chan flushed[R] // has room for one
}

// flushed is what became of it.
type flushed[R any] struct {
	value R
	err   error
}

// answer tells the caller, who has not been told yet.
func (p *pending[T, R]) answer(value R, err error) {
	select {
	case p.result <- flushed[R]{value, err}:
	default: // only when answered too soon, see seeded.AnswerBeforeCommit
	}
}

func newGroup[T, R any](most int, sizes metric.Int64Histogram) group[T, R] {
	return group[T, R]{queue: make(chan *pending[T, R], 4*most), stopped: make(chan struct{}), most: most, sizes: sizes}
}

// submit hands in work and returns what became of it.
func (g *group[T, R]) submit(ctx context.Context, work T) (result R, err error) {
	p := newPending[T, R](ctx, work)
	var late <-chan time.Time
	if !p.until.IsZero() {
		timer := time.NewTimer(time.Until(p.until))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case g.queue <- p:
	case <-late:
		return result, errCrowded
	case <-g.stopped:
		return result, errDraining
	case <-ctx.Done():
		return result, ctx.Err()
	}
	return g.await(ctx, p)
}

func newPending[T, R any](ctx context.Context, work T) *pending[T, R] {
	p := &pending[T, R]{ctx: ctx, work: work, result: make(chan flushed[R], 1)}
	if deadline, bounded := ctx.Deadline(); bounded {
		p.until = time.Now().Add(time.Until(deadline) / 2)
	}
	return p
}

// await returns the outcome of work that is in the queue.
func (g *group[T, R]) await(ctx context.Context, p *pending[T, R]) (result R, err error) {
	select {
	case done := <-p.result:
		return done.value, done.err
	case <-g.stopped:
		// The answer may have come just before the end.
		select {
		case done := <-p.result:
			return done.value, done.err
		default:
			return result, errDraining
		}
	case <-ctx.Done():
		return result, ctx.Err()
	}
}

// run writes batches until ctx is done and the queue is empty. Stop the servers
// first.
func (g *group[T, R]) run(ctx context.Context) error {
	defer close(g.stopped)
	for {
		select {
		case first := <-g.queue:
			g.flush(g.gather(first))
		case <-ctx.Done():
			for {
				select {
				case first := <-g.queue:
					g.flush(g.gather(first))
				default:
					return nil
				}
			}
		}
	}
}

// gather takes what is waiting, without waiting for more.
func (g *group[T, R]) gather(first *pending[T, R]) []*pending[T, R] {
	batch := []*pending[T, R]{first}
	for len(batch) < g.most {
		select {
		case next := <-g.queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

func (g *group[T, R]) flush(batch []*pending[T, R]) {
	live := batch[:0]
	for _, p := range batch {
		switch {
		case !p.until.IsZero() && time.Now().After(p.until):
			var none R
			p.answer(none, errCrowded)
		case p.ctx.Err() == nil:
			live = append(live, p)
		}
	}
	if len(live) == 0 {
		return
	}
	g.sizes.Record(context.Background(), int64(len(live)))
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	g.write(ctx, live)
}

// committer is the group commit of submissions.
//
// What is promised: submit returns stored only after the commit of the
// transaction that holds the submission. Submissions of one transaction succeed
// together; one that the database refuses fails alone. To a caller whose deadline
// has passed, the idempotency key tells whether its submission is stored.
//
// How: a batch is one statement (see store.insertSubmissions). When the database
// refuses a batch's data, the halves are tried apart, down to the rows.
//
// When it breaks: a connection lost during the commit leaves the outcome unknown;
// the batch is then written again, which is safe because rows that were stored
// lose the conflict on (member, key) against themselves and are recognised by
// their ids. If that fails too, every caller of the batch gets the error.
type committer struct {
	group[*submission, time.Time]
	store *store
	// committed is called after each commit that stored something.
	committed func()
}

// newCommitter returns a committer whose submit gives the time of storage: zero
// when the (member, key) was there already, perhaps by this very submission.
func newCommitter(s *store, committed func(), sizes metric.Int64Histogram) *committer {
	c := &committer{group: newGroup[*submission, time.Time](maxBatch, sizes), store: s, committed: committed}
	c.write = c.insert
	return c
}

// insert stores a batch and answers its callers.
func (c *committer) insert(ctx context.Context, batch []*pending[*submission, time.Time]) {
	if seeded.On(seeded.AnswerBeforeCommit) {
		for _, p := range batch {
			p.answer(time.Now(), nil)
		}
	}
	stored, err := c.attempt(ctx, batch)
	switch {
	case err == nil:
		if len(stored) > 0 {
			c.committed()
		}
		for _, p := range batch {
			p.answer(stored[p.work.conversation.ID], nil)
		}
	case isBadRow(err) && len(batch) > 1:
		half := len(batch) / 2
		c.insert(ctx, batch[:half])
		c.insert(ctx, batch[half:])
	default:
		for _, p := range batch {
			p.answer(time.Time{}, err)
		}
	}
}

// attempt writes a batch, and once more when the connection was lost, or the server
// has become one that can only be read: another connection leads to one that writes.
func (c *committer) attempt(ctx context.Context, batch []*pending[*submission, time.Time]) (map[uuid.UUID]time.Time, error) {
	subs := make([]*submission, len(batch))
	for i, p := range batch {
		subs[i] = p.work
	}
	stored, err := c.store.insertSubmissions(ctx, subs)
	if err != nil && postgres.IsUnreachable(err) {
		slog.WarnContext(ctx, "writing again after a lost connection", "submissions", len(subs), "error", err)
		stored, err = c.store.insertSubmissions(ctx, subs)
	}
	return stored, err
}
