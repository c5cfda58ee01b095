package messaging

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

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

// errDraining is what a submission gets that arrives while the process stops.
var errDraining = errors.New("the committer has stopped")

// committer coalesces concurrent submissions into one transaction each time it
// writes (group commit).
//
// What is promised: submit returns stored only after the commit of the
// transaction that holds the submission. Submissions of one transaction succeed
// together; one that the database refuses fails alone. A caller whose deadline
// passes gets its context's error, and its submission may or may not be stored:
// the idempotency key tells.
//
// How: one goroutine takes whatever has arrived while the last commit was under
// way, and writes it with one statement. There is no timer: a lone submission is
// written at once, and the busier the database, the larger the batches. When the
// database refuses a batch's data, the halves are tried apart, down to the rows.
//
// When it breaks: a connection lost during the commit leaves the outcome unknown;
// the batch is then written again, which is safe because rows that were stored
// lose the conflict on (member, key) against themselves and are recognised by
// their ids. If that fails too, every caller of the batch gets the error.
type committer struct {
	store   *store
	queue   chan *pending
	stopped chan struct{}
	// committed is called after each commit that stored something.
	committed func()
	sizes     metric.Int64Histogram
}

type pending struct {
	ctx    context.Context //nolint:containedctx // the caller's, to skip those that have left
	sub    *submission
	result chan flushed // has room for one
}

// flushed is the outcome of one submission: when it was stored, or the zero time
// when its (member, key) was there already.
type flushed struct {
	at  time.Time
	err error
}

// answer tells the caller, who has not been told yet.
func (p *pending) answer(done flushed) {
	select {
	case p.result <- done:
	default: // only when answered too soon, see seeded.AnswerBeforeCommit
	}
}

func newCommitter(s *store, committed func(), sizes metric.Int64Histogram) *committer {
	return &committer{store: s, queue: make(chan *pending, 4*maxBatch), stopped: make(chan struct{}), committed: committed, sizes: sizes}
}

// submit stores a submission and returns when that was. A zero time means that
// its (member, key) is stored already, perhaps by this very submission.
func (c *committer) submit(ctx context.Context, sub *submission) (time.Time, error) {
	p := &pending{ctx, sub, make(chan flushed, 1)}
	select {
	case c.queue <- p:
	case <-c.stopped:
		return time.Time{}, errDraining
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
	return c.await(ctx, p)
}

// await returns the outcome of a submission that is in the queue.
func (c *committer) await(ctx context.Context, p *pending) (time.Time, error) {
	select {
	case done := <-p.result:
		return done.at, done.err
	case <-c.stopped:
		// The answer may have come just before the end.
		select {
		case done := <-p.result:
			return done.at, done.err
		default:
			return time.Time{}, errDraining
		}
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// run writes batches until ctx is done and the queue is empty. Stop the servers
// first: a submission that comes later gets errDraining.
func (c *committer) run(ctx context.Context) error {
	defer close(c.stopped)
	for {
		select {
		case first := <-c.queue:
			c.flush(c.gather(first))
		case <-ctx.Done():
			for {
				select {
				case first := <-c.queue:
					c.flush(c.gather(first))
				default:
					return nil
				}
			}
		}
	}
}

// gather takes what is waiting, without waiting for more.
func (c *committer) gather(first *pending) []*pending {
	batch := []*pending{first}
	for len(batch) < maxBatch {
		select {
		case next := <-c.queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

func (c *committer) flush(batch []*pending) {
	live := batch[:0]
	for _, p := range batch {
		if p.ctx.Err() == nil {
			live = append(live, p)
		}
	}
	if len(live) == 0 {
		return
	}
	if seeded.On(seeded.AnswerBeforeCommit) {
		for _, p := range live {
			p.result <- flushed{at: time.Now()}
		}
	}
	c.sizes.Record(context.Background(), int64(len(live)))
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	c.write(ctx, live)
}

// write stores a batch and answers its callers.
func (c *committer) write(ctx context.Context, batch []*pending) {
	stored, err := c.attempt(ctx, batch)
	switch {
	case err == nil:
		if len(stored) > 0 {
			c.committed()
		}
		for _, p := range batch {
			p.answer(flushed{at: stored[p.sub.conversation.ID]})
		}
	case isBadRow(err) && len(batch) > 1:
		half := len(batch) / 2
		c.write(ctx, batch[:half])
		c.write(ctx, batch[half:])
	default:
		for _, p := range batch {
			p.answer(flushed{err: err})
		}
	}
}

// attempt writes a batch, and once more when the connection was lost.
func (c *committer) attempt(ctx context.Context, batch []*pending) (map[uuid.UUID]time.Time, error) {
	subs := make([]*submission, len(batch))
	for i, p := range batch {
		subs[i] = p.sub
	}
	stored, err := c.store.insertSubmissions(ctx, subs)
	if err != nil && isUnreachable(err) {
		slog.WarnContext(ctx, "writing again after a lost connection", "submissions", len(subs), "error", err)
		stored, err = c.store.insertSubmissions(ctx, subs)
	}
	return stored, err
}
