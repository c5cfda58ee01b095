package messaging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
)

// How many conversations wait is kept, not counted: triggers of migration 00009 note each
// change in waiting_change, in the transaction of the change and whichever program makes it,
// and this process adds them up in waiting_count now and then. Both together are what waits,
// at any time.
//
// Until the process has counted once what was there before (a backfill), who asks counts.

const (
	// foldEvery is how often changes are added to the counts, foldBatch how many at once.
	foldEvery = 5 * time.Second
	foldBatch = 10_000
	// foldTimeout bounds one time.
	foldTimeout = 5 * time.Second
)

// countWaiting is the backfill that counts what waits. It is one statement, and so of one
// moment: the changes it deletes are those that it has counted, and the others stay.
const countWaiting = "waiting_count"

var countWaitingSQL = `
	WITH counted AS (
		INSERT INTO waiting_count (caisse, queue, status, n)
		SELECT caisse, queue, status, sum(n) FROM (
			SELECT caisse, queue, status, 1 AS n FROM conversation WHERE ` + lifecycle.WaitingSQL + `
			UNION ALL SELECT caisse, queue, status, 0 FROM waiting_count) AS now
		GROUP BY caisse, queue, status
		ON CONFLICT (caisse, queue, status) DO UPDATE SET n = excluded.n
	), known AS (
		DELETE FROM waiting_change
	)
	SELECT $1::uuid WHERE $2::integer IS NULL`

// keptWaiting is a relation of (caisse, queue, status, n), to be summed up.
var keptWaiting = `(
	SELECT caisse, queue, status, n FROM waiting_count WHERE (SELECT ` + waitingCounted + `)
	UNION ALL SELECT caisse, queue, status, n FROM waiting_change WHERE (SELECT ` + waitingCounted + `)
	UNION ALL SELECT caisse, queue, status, 1 FROM conversation WHERE ` + lifecycle.WaitingSQL + ` AND NOT (SELECT ` + waitingCounted + `)
) AS kept`

const waitingCounted = `EXISTS (SELECT FROM backfill WHERE name = '` + countWaiting + `' AND ended_at IS NOT NULL)`

// fold adds changes to the counts until ctx is done. Any number of processes may do so.
func fold(ctx context.Context, s *store) error {
	for chassis.Sleep(ctx, foldEvery) {
		round, cancel := context.WithTimeout(ctx, foldTimeout)
		err := errors.Join(s.foldWaiting(round), s.foldSubmissions(round))
		cancel()
		if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "adding up; it is known all the same", "error", err)
		}
	}
	return nil
}

// foldWaiting adds changes to the counts, set by set. One process does at a time.
func (s *store) foldWaiting(ctx context.Context) error {
	for {
		var folded int64
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			_, err := postgres.One[struct {
				Name string `db:"name"`
			}](ctx, tx, "looking whether it is counted", `SELECT name FROM backfill WHERE name = $1 AND ended_at IS NOT NULL FOR UPDATE SKIP LOCKED`, countWaiting)
			if errors.Is(err, errNotFound) {
				return nil // not counted yet, or another process is at it
			}
			if err != nil {
				return err
			}
			return tx.QueryRow(ctx, `
				WITH change AS (
					DELETE FROM waiting_change WHERE ctid = ANY (ARRAY(SELECT ctid FROM waiting_change LIMIT $1))
					RETURNING caisse, queue, status, n
				), added AS (
					INSERT INTO waiting_count (caisse, queue, status, n)
					SELECT caisse, queue, status, sum(n) FROM change GROUP BY caisse, queue, status HAVING sum(n) <> 0
					ON CONFLICT (caisse, queue, status) DO UPDATE SET n = waiting_count.n + excluded.n
				)
				SELECT count(*) FROM change`, foldBatch).Scan(&folded)
		})
		if err != nil {
			return fmt.Errorf("adding up what waits: %w", err)
		}
		if folded < foldBatch {
			return nil
		}
	}
}

// queueState is what waits for agents everywhere.
type queueState struct {
	counts map[messagingpb.Status]int64
	// unanswered is the age in seconds of the oldest that nobody has answered at all;
	// 0 when there is none.
	unanswered float64
}

// queueState tells what waits for agents.
func (s *store) queueState(ctx context.Context) (queueState, error) {
	found := queueState{counts: make(map[messagingpb.Status]int64)}
	err := s.pool.QueryRow(ctx, `
		SELECT coalesce((SELECT jsonb_object_agg(status, n) FROM (SELECT status, sum(n) AS n FROM `+keptWaiting+` GROUP BY status HAVING sum(n) > 0) AS positive), '{}'),
		       coalesce((`+oldestUnanswered+`), 0)`).Scan(&found.counts, &found.unanswered)
	if err != nil {
		return found, fmt.Errorf("measuring the queue: %w", err)
	}
	return found, nil
}

// oldestUnanswered reads one row, in the order and with literally the predicate of the
// index conversation_unanswered.
var oldestUnanswered = `SELECT extract(epoch FROM now() - created_at)::float8 FROM conversation
	WHERE ` + lifecycle.WaitingSQL + ` AND first_reply_at IS NULL ORDER BY created_at LIMIT 1`

// waitingByQueue tells how many wait in each queue of an agent's scope.
func (s *store) waitingByQueue(ctx context.Context, sc conversation.Scope) (map[string]int32, error) {
	rows, err := s.pool.Query(ctx, `SELECT queue, sum(n)::integer FROM `+keptWaiting+` WHERE `+conversation.WithinScope+` GROUP BY queue HAVING sum(n) > 0`, sc.Args())
	if err != nil {
		return nil, fmt.Errorf("counting what waits: %w", err)
	}
	waiting := make(map[string]int32)
	var queue string
	var n int32
	if _, err := pgx.ForEachRow(rows, []any{&queue, &n}, func() error { waiting[queue] = n; return nil }); err != nil {
		return nil, fmt.Errorf("counting what waits: %w", err)
	}
	return waiting, nil
}
