package notifier

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// How much waits is kept, not counted: triggers of migration 00005 note each change in
// backlog_change, in the transaction of the change and whichever program makes it, and the
// sweeper adds them up in backlog_count. Both together are what waits, at any time.
//
// Until the sweeper has counted once what was there before, who asks counts.

const (
	// foldBatch is how many changes are added up at once.
	foldBatch = 10_000
	// foldEvery is how often.
	foldEvery = 5 * time.Second
)

// keptBacklog is a relation of (channel, state, n), to be summed up.
const keptBacklog = `(
	SELECT channel, state, n FROM backlog_count WHERE state <> ''
	UNION ALL SELECT channel, state, n FROM backlog_change WHERE (SELECT ` + backlogCounted + `)
	UNION ALL SELECT channel, state, n FROM (` + countBacklog + `) AS counted WHERE NOT (SELECT ` + backlogCounted + `)
) AS kept`

const (
	backlogCounted = `EXISTS (SELECT FROM backlog_count WHERE channel = '' AND state = '')`

	// countBacklog reads the indexes of what waits, of dead letters and of events set aside.
	countBacklog = `
		SELECT channel, state, count(*) AS n FROM delivery WHERE state IN ('planned', 'retry', 'unknown', 'sending') GROUP BY channel, state
		UNION ALL SELECT channel, 'dead', count(*) FROM delivery WHERE ` + isDeadLetter + ` GROUP BY channel
		UNION ALL SELECT '', 'aside', count(*) FROM set_aside WHERE ended_at IS NULL HAVING count(*) > 0`
)

// Fold adds changes to the counts, set by set. One process does at a time. The first time
// it counts all that waits, in one statement, and so of one moment: the changes that this
// deletes are those that it has counted, and the others stay.
func (l *ledger) Fold(ctx context.Context) error {
	for {
		folded := 0
		err := pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
			var alone, counted bool
			if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock('backlog_count'::regclass::oid::bigint)`).Scan(&alone); err != nil || !alone {
				return err
			}
			if err := tx.QueryRow(ctx, `SELECT `+backlogCounted).Scan(&counted); err != nil {
				return err
			}
			if !counted {
				_, err := tx.Exec(ctx, `
					WITH known AS (DELETE FROM backlog_change)
					INSERT INTO backlog_count (channel, state, n) SELECT channel, state, n FROM (`+countBacklog+`) AS counted
					UNION ALL SELECT '', '', 0`)
				return err
			}
			return tx.QueryRow(ctx, `
				WITH change AS (
					DELETE FROM backlog_change WHERE ctid = ANY (ARRAY(SELECT ctid FROM backlog_change LIMIT $1))
					RETURNING channel, state, n
				), added AS (
					INSERT INTO backlog_count (channel, state, n)
					SELECT channel, state, sum(n) FROM change GROUP BY channel, state HAVING sum(n) <> 0
					ON CONFLICT (channel, state) DO UPDATE SET n = backlog_count.n + excluded.n
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

// waiting is what the ledger still has to do for one channel and state.
type waiting struct {
	Channel channel `db:"channel"`
	State   state   `db:"state"`
	Rows    int64   `db:"rows"`
	// Overdue is how long the oldest has been due; 0 if none is.
	Overdue float64 `db:"overdue"`
}

// Waiting tells how many deliveries of each channel and state have not ended, and how long
// the first of them has been due, which is the first of an index.
func (l *ledger) Waiting(ctx context.Context) ([]waiting, error) {
	rows, err := l.pool.Query(ctx, `
		SELECT channel, state, n AS rows, COALESCE(GREATEST(0, EXTRACT(epoch FROM now() - due)), 0)::float8 AS overdue
		FROM (SELECT channel, state, sum(n)::bigint AS n FROM `+keptBacklog+` WHERE state NOT IN ('dead', 'aside') GROUP BY channel, state HAVING sum(n) > 0) AS w
		LEFT JOIN LATERAL (
			SELECT COALESCE(next_attempt_at, lease_until) AS due FROM delivery AS d
			WHERE d.channel = w.channel AND d.state = w.state AND d.state IN ('planned', 'retry', 'unknown', 'sending')
			ORDER BY next_attempt_at, lease_until LIMIT 1) AS first ON true`)
	if err != nil {
		return nil, fmt.Errorf("counting deliveries: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[waiting])
	if err != nil {
		return nil, fmt.Errorf("counting deliveries: %w", err)
	}
	return list, nil
}

// DeadLetterCount is how many dead letters there are: deliveries, and events set aside.
func (l *ledger) DeadLetterCount(ctx context.Context) (n int64, err error) {
	err = l.pool.QueryRow(ctx, `SELECT COALESCE(sum(n), 0)::bigint FROM `+keptBacklog+` WHERE state IN ('dead', 'aside')`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting dead letters: %w", err)
	}
	return n, nil
}
