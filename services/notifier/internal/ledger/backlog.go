package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// How much waits, and how many dead letters there are of which kind, is kept, not counted:
// triggers of migrations 00005, 00007, 00008, 00010 and 00011 note each change in a table of changes, in
// the transaction of the change and whichever program makes it, and the sweeper adds them up
// in a table of counts. Both together are what there is, at any time.
//
// Until the sweeper has counted once what was there before, who asks counts.

const (
	// foldBatch is how many changes are added up at once.
	foldBatch = 10_000
	// FoldEvery is how often.
	FoldEvery = 5 * time.Second
)

// tally is a number kept for each key, in the tables name_change and name_count.
type tally struct {
	// name is that of the tables, key their columns beside n. A count of which each
	// column of the key is empty says that what was there before has been counted.
	name, key, mark string
	// count is the relation (key, n), counted.
	count string
}

var (
	tallyBacklog = tally{"backlog", "channel, state", "'', ''", `
		SELECT channel, state, count(*) AS n FROM delivery WHERE state IN ('planned', 'retry', 'unknown', 'sending') GROUP BY channel, state
		UNION ALL SELECT channel, 'dead', count(*) FROM delivery WHERE ` + isDeadLetter + ` GROUP BY channel
		UNION ALL SELECT '', 'aside', count(*) FROM set_aside WHERE ended_at IS NULL HAVING count(*) > 0`}
	tallyDeadLetters = tally{"dead_letter", "channel, reason, provider", "'', '', ''", `
		SELECT channel, reason, provider, count(*) AS n FROM delivery WHERE ` + isDeadLetter + ` GROUP BY channel, reason, provider
		UNION ALL SELECT '` + Event + `', reason, '', count(*) FROM set_aside WHERE ended_at IS NULL GROUP BY reason`}
	// tallyDeadDays are the same by days, UTC.
	tallyDeadDays = tally{"dead_letter_day", "day, channel, reason, provider", "date 'epoch', '', '', ''", `
		SELECT (updated_at AT TIME ZONE 'UTC')::date AS day, channel, reason, provider, count(*) AS n FROM delivery WHERE ` + isDeadLetter + ` GROUP BY day, channel, reason, provider
		UNION ALL SELECT (set_aside_at AT TIME ZONE 'UTC')::date AS day, '` + Event + `', reason, '', count(*) FROM set_aside WHERE ended_at IS NULL GROUP BY day, reason`}
)

// counted is the condition that what was there before has been counted.
func (k tally) counted() string {
	return `EXISTS (SELECT FROM ` + k.name + `_count WHERE (` + k.key + `) = (` + k.mark + `))`
}

// kept is a relation of (key, n), to be summed up.
func (k tally) kept() string {
	return `(
		SELECT ` + k.key + `, n FROM ` + k.name + `_count WHERE (` + k.key + `) <> (` + k.mark + `)
		UNION ALL SELECT ` + k.key + `, n FROM ` + k.name + `_change WHERE (SELECT ` + k.counted() + `)
		UNION ALL SELECT ` + k.key + `, n FROM (` + k.count + `) AS counted WHERE NOT (SELECT ` + k.counted() + `)
	) AS kept`
}

// Fold adds what has changed, and was tried, to what is kept.
func (l *Ledger) Fold(ctx context.Context) error {
	return errors.Join(l.fold(ctx, tallyBacklog), l.fold(ctx, tallyDeadLetters), l.fold(ctx, tallyDeadDays), l.foldAttempts(ctx))
}

// fold adds changes to the counts, set by set. One process does at a time. The first time
// it counts all there is, in one statement, and so of one moment: the changes that this
// deletes are those that it has counted, and the others stay.
func (l *Ledger) fold(ctx context.Context, k tally) error {
	for {
		folded := 0
		err := pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
			alone, err := postgres.One[bool](ctx, tx, "locking", `SELECT pg_try_advisory_xact_lock('`+k.name+`_count'::regclass::oid::bigint)`)
			if err != nil || !alone {
				return err
			}
			counted, err := postgres.One[bool](ctx, tx, "looking for the first count", `SELECT `+k.counted())
			if err != nil {
				return err
			}
			if !counted {
				_, err := postgres.Exec(ctx, tx, "counting", `
					WITH known AS (DELETE FROM `+k.name+`_change)
					INSERT INTO `+k.name+`_count (`+k.key+`, n) SELECT `+k.key+`, n FROM (`+k.count+`) AS counted
					UNION ALL SELECT `+k.mark+`, 0`)
				return err
			}
			folded, err = postgres.One[int](ctx, tx, "adding changes", `
				WITH change AS (
					DELETE FROM `+k.name+`_change WHERE ctid = ANY (ARRAY(SELECT ctid FROM `+k.name+`_change LIMIT $1))
					RETURNING `+k.key+`, n
				), added AS (
					INSERT INTO `+k.name+`_count (`+k.key+`, n)
					SELECT `+k.key+`, sum(n) FROM change GROUP BY `+k.key+` HAVING sum(n) <> 0
					ON CONFLICT (`+k.key+`) DO UPDATE SET n = `+k.name+`_count.n + excluded.n
				)
				SELECT count(*) FROM change`, foldBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("adding up the %s: %w", k.name, err)
		}
		if folded < foldBatch {
			return nil
		}
	}
}

// Waiting is what the ledger still has to do for one channel and state.
type Waiting struct {
	Channel Channel `db:"channel"`
	State   State   `db:"state"`
	Rows    int64   `db:"rows"`
	// Overdue is how long the oldest has been due; 0 if none is.
	Overdue float64 `db:"overdue"`
}

// Waiting returns how many deliveries of each channel and state have not ended, and how long
// the first of them has been due, which is the first of an index.
func (l *Ledger) Waiting(ctx context.Context) ([]Waiting, error) {
	return postgres.Many[Waiting](ctx, l.pool, "counting deliveries", `
		SELECT channel, state, n AS rows, COALESCE(GREATEST(0, EXTRACT(epoch FROM now() - due)), 0)::float8 AS overdue
		FROM (SELECT channel, state, sum(n)::bigint AS n FROM `+tallyBacklog.kept()+` WHERE state NOT IN ('dead', 'aside') GROUP BY channel, state HAVING sum(n) > 0) AS w
		LEFT JOIN LATERAL (
			SELECT COALESCE(next_attempt_at, lease_until) AS due FROM delivery AS d
			WHERE d.channel = w.channel AND d.state = w.state AND d.state IN ('planned', 'retry', 'unknown', 'sending')
			ORDER BY next_attempt_at, lease_until LIMIT 1) AS first ON true`)
}

// DeadLetterCount is how many dead letters there are: deliveries, and events set aside.
func (l *Ledger) DeadLetterCount(ctx context.Context) (int64, error) {
	return postgres.One[int64](ctx, l.pool, "counting dead letters", `SELECT COALESCE(sum(n), 0)::bigint FROM `+tallyBacklog.kept()+` WHERE state IN ('dead', 'aside')`)
}
