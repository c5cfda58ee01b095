package messaging

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// maxBatch bounds one transaction, so that a burst cannot make one that runs
// into the statement time-out.
const maxBatch = 512

// committer is the group commit of submissions.
//
// What is promised: Submit returns stored only after the commit of the
// transaction that holds the submission. Submissions of one transaction succeed
// together; one that the database refuses fails alone. To a caller whose deadline
// has passed, a retry with the same idempotency key shows whether its submission is stored.
//
// How: a batch ([batch.Group]) is one round trip (see store.insertSubmissions). When the
// database refuses a batch's data, each half is tried on its own, down to single rows.
//
// When it breaks: a connection lost during the commit leaves the outcome unknown;
// the batch is then written again, which is safe because rows that were stored
// lose the conflict on (member, key) against themselves and are recognised by
// their ids. If that fails too, every caller of the batch gets the error.
type committer struct {
	*batch.Group[*submission, time.Time]
	store *store
	// committed is called after each commit that stored something.
	committed func()
}

// newCommitter returns a committer whose Submit gives the time of storage: zero
// when the (member, key) was there already, perhaps by this very submission.
func newCommitter(s *store, committed func(), sizes metric.Int64Histogram) *committer {
	c := &committer{store: s, committed: committed}
	c.Group = batch.New(batch.Config[*submission, time.Time]{Do: c.insert, Most: maxBatch, Divide: postgres.IsBadRow, Sizes: sizes})
	return c
}

// insert stores a batch, and tries once more when the connection was lost, or the server
// has become one that can only be read: another connection leads to one that writes.
func (c *committer) insert(ctx context.Context, subs []*submission) ([]batch.Result[time.Time], error) {
	stored, err := c.store.insertSubmissions(ctx, subs)
	if err != nil && postgres.IsUnreachable(err) {
		slog.WarnContext(ctx, "writing again after a lost connection", "submissions", len(subs), "error", err)
		stored, err = c.store.insertSubmissions(ctx, subs)
	}
	if err != nil {
		return nil, err
	}
	if len(stored) > 0 {
		c.committed()
	}
	times := make([]batch.Result[time.Time], len(subs))
	for i, sub := range subs {
		times[i].Value = stored[sub.conversation.ID]
	}
	return times, nil
}
