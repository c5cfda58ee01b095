// Package reading counts who of the fund reads how many conversations, and knows who reads
// much more than they usually do.
//
// # What is promised
//
// A reading is an entry of the audit by which somebody saw a conversation or looked for some
// ([lifecycle.Readings]). A reader is an agent or a machine within a caisse. They are unusual
// when in the last 24 hours they had more than 50 readings, and more than five times their
// usual number: the mean of the days on which they had any, of the 28 days before. Whoever
// has fewer than five such days, since they are new or seldom here, is measured by the mean
// of all readers' days in their caisse; while the caisse has none either, by nothing, and is
// not unusual. The 24 hours are hours of the clock, the one under way included, and days are
// those of Paris.
//
// Each reader is told in the log once a day, without who it is: their ids are in no log line,
// trace or figure. Supervisors of their caisse see them ([Unusual]).
//
// # How
//
// Once a minute one process of all, which holds the lock of the one row of reading_progress,
// counts the current and the previous hour anew from the audit, and overwrites what was
// counted of them: counting twice, by whichever process, changes nothing. The previous hour
// is for transactions that began in it and have ended since. Then it judges all readers, and
// keeps the result in unusual_reader, so that nobody else adds up four weeks.
//
// After a pause it goes on where counting had come to, some hours at a time, 29 days at most.
// Entries of binaries from before the audit knew the caisse count for that of their
// conversation.
//
// # When it breaks
//
// What is known stays as it was at the last count. Each round has a deadline, and the next
// begins where the last one that ended came to.
package reading

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
)

// Life is how long hours are kept: the 24 hours that are judged, and the 28 days before.
const Life = 29 * 24 * time.Hour

const (
	// every is how often readings are counted, and pause the rest after some hours of many.
	every = time.Minute
	pause = 50 * time.Millisecond
	// timeout bounds one round.
	timeout = 10 * time.Second
	// stride is how much of a time without counts is counted at once.
	stride = 6 * time.Hour
)

// Keep counts until ctx is done.
func Keep(ctx context.Context, db *pgxpool.Pool) {
	for chassis.Sleep(ctx, every) {
		for behind := true; behind; {
			round, cancel := context.WithTimeout(ctx, timeout)
			var told int64
			var err error
			behind, told, err = Count(round, db)
			cancel()
			if told > 0 {
				slog.WarnContext(ctx, "somebody of the fund reads more than five times as much as usual: messagerie audit says who", "readers", told)
			}
			if err != nil && ctx.Err() == nil {
				slog.WarnContext(ctx, "counting readings; what is known stays as it was", "error", err)
			}
			if behind && !chassis.Sleep(ctx, pause) {
				return
			}
		}
	}
}

// Count counts some hours, and judges all readers once it has come to the present; until then
// it is behind. It returns how many unusual readers the log has to tell of. While another
// process counts, it does nothing.
func Count(ctx context.Context, db *pgxpool.Pool) (behind bool, told int64, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		at, err := postgres.One[struct {
			Counted time.Time `db:"counted"`
			Current time.Time `db:"current"`
		}](ctx, tx, "looking how far it is", `
			SELECT greatest(counted, now() - $1::interval) AS counted, date_bin('1 hour', now(), timestamptz 'epoch') AS current
			FROM reading_progress FOR UPDATE SKIP LOCKED`, Life)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // another process is at it
		}
		if err != nil {
			return err
		}
		from := at.Counted.Truncate(time.Hour)
		to := from.Add(stride)
		if behind = !to.After(at.Current); !behind {
			to = at.Current.Add(time.Hour)
		}
		if err := countHours(ctx, tx, from.Add(-time.Hour), to); err != nil {
			return err
		}
		reached := at.Current
		if behind {
			reached = to
		} else if told, err = judge(ctx, tx); err != nil {
			return err
		}
		_, err = postgres.Exec(ctx, tx, "noting how far it is", `UPDATE reading_progress SET counted = $1`, reached)
		return err
	})
	if err != nil {
		return false, 0, fmt.Errorf("counting readings: %w", err)
	}
	return behind, told, nil
}

// countHours counts the hours of a time anew. The funds are found by going from each to the
// next in the index audit_of_caisse, so that no other entry is read.
func countHours(ctx context.Context, tx pgx.Tx, from, to time.Time) error {
	_, err := postgres.Exec(ctx, tx, "counting hours", `
		WITH RECURSIVE fund AS (
			(SELECT caisse FROM audit ORDER BY caisse LIMIT 1)
			UNION ALL
			SELECT next.* FROM fund, LATERAL (SELECT caisse FROM audit WHERE caisse > fund.caisse ORDER BY caisse LIMIT 1) AS next
		), reading AS (
			SELECT CASE WHEN caisse <> '' THEN caisse ELSE (SELECT c.caisse FROM conversation AS c WHERE c.id = a.conversation_id) END AS caisse,
			       agent_id, agent_name, date_bin('1 hour', at, timestamptz 'epoch') AS hour
			FROM audit AS a
			WHERE caisse = ANY (ARRAY(SELECT caisse FROM fund)) AND at >= $1 AND at < $2 AND action = ANY ($3)
		)
		INSERT INTO reading_hour (caisse, agent_id, hour, agent_name, n)
		SELECT caisse, agent_id, hour, max(agent_name), count(*) FROM reading WHERE caisse IS NOT NULL GROUP BY caisse, agent_id, hour
		ON CONFLICT (caisse, agent_id, hour) DO UPDATE SET agent_name = excluded.agent_name, n = excluded.n WHERE reading_hour.n <> excluded.n`,
		from, to, lifecycle.Readings)
	return err
}

// The 24 hours that are judged, and the 28 days that they are measured by. They are said in
// hours: a day of PostgreSQL's has 23 of them once a year.
const (
	lately = `hour > now() - interval '24 hours'`
	before = `hour > now() - interval '696 hours' AND hour <= now() - interval '24 hours'`
	day    = `(hour AT TIME ZONE 'Europe/Paris')::date`
)

// judge keeps who is unusual now, and returns how many of them were not told of for a day.
func judge(ctx context.Context, tx pgx.Tx) (told int64, err error) {
	// With many readers the planner would compile for as long as it then reads.
	if _, err := postgres.Exec(ctx, tx, "preparing to judge", `SET LOCAL jit = off`); err != nil {
		return 0, err
	}
	return postgres.One[int64](ctx, tx, "judging readers", `
		WITH busy AS MATERIALIZED (
			SELECT caisse, agent_id, (array_agg(agent_name ORDER BY hour DESC))[1] AS agent_name, sum(n) AS readings
			FROM reading_hour WHERE `+lately+` GROUP BY caisse, agent_id HAVING sum(n) > 50
		), own AS MATERIALIZED (
			SELECT busy.*, days, usual FROM busy, LATERAL (
				SELECT count(DISTINCT `+day+`) AS days, sum(n)::float8 / nullif(count(DISTINCT `+day+`), 0) AS usual
				FROM reading_hour AS r WHERE r.caisse = busy.caisse AND r.agent_id = busy.agent_id AND `+before+`) AS theirs
		), everybody AS MATERIALIZED (
			SELECT caisse, avg(n)::float8 AS usual FROM (
				SELECT caisse, sum(n) AS n FROM reading_hour
				WHERE caisse = ANY (ARRAY(SELECT caisse FROM own WHERE days < 5)) AND `+before+` GROUP BY caisse, agent_id, `+day+`) AS of_day
			GROUP BY caisse
		), found AS MATERIALIZED (
			SELECT * FROM (
				SELECT own.caisse, agent_id, agent_name, readings, CASE WHEN days < 5 THEN everybody.usual ELSE own.usual END AS usual
				FROM own LEFT JOIN everybody USING (caisse)) AS measured
			WHERE readings > 5 * usual
		), over AS (
			UPDATE unusual_reader AS u SET unusual = false
			WHERE unusual AND NOT EXISTS (SELECT FROM found AS f WHERE f.caisse = u.caisse AND f.agent_id = u.agent_id)
		), forgotten AS (
			DELETE FROM unusual_reader AS u
			WHERE NOT unusual AND told_at <= now() - interval '24 hours' AND NOT EXISTS (SELECT FROM found AS f WHERE f.caisse = u.caisse AND f.agent_id = u.agent_id)
		), kept AS (
			INSERT INTO unusual_reader AS u (caisse, agent_id, agent_name, readings, usual, unusual, told_at)
			SELECT caisse, agent_id, agent_name, readings, round(usual), true, now() FROM found
			ON CONFLICT (caisse, agent_id) DO UPDATE SET agent_name = excluded.agent_name, readings = excluded.readings, usual = excluded.usual, unusual = true,
				told_at = CASE WHEN u.told_at <= now() - interval '24 hours' THEN now() ELSE u.told_at END
			RETURNING told_at
		)
		SELECT count(*) FROM kept WHERE told_at = now()`)
}

// Reader is who reads much more than usual.
type Reader struct {
	AgentID   string `db:"agent_id"`
	AgentName string `db:"agent_name"`
	// Readings are those of the last 24 hours, and Usual those of a day, rounded.
	Readings int32 `db:"readings"`
	Usual    int32 `db:"usual"`
}

var readerColumns = postgres.Columns[Reader]()

// most is how many unusual readers are returned at most.
const most = 100

// Unusual returns the unusual readers of a caisse as of the last count, a minute ago at most,
// those with the most readings first; 100 at most.
func Unusual(ctx context.Context, db postgres.Querier, caisse string) ([]Reader, error) {
	return postgres.Many[Reader](ctx, db, "listing unusual readers",
		`SELECT `+readerColumns+` FROM unusual_reader WHERE caisse = $1 AND unusual ORDER BY readings DESC, agent_id LIMIT $2`, caisse, most)
}

// CountUnusual returns how many unusual readers there are in all caisses.
func CountUnusual(ctx context.Context, db postgres.Querier) (int64, error) {
	return postgres.One[int64](ctx, db, "counting unusual readers", `SELECT count(*) FROM unusual_reader WHERE unusual`)
}

// Forget deletes some of the hours that are older than life.
func Forget(ctx context.Context, db postgres.Querier, life time.Duration) (int64, error) {
	return postgres.Exec(ctx, db, "forgetting readings", `DELETE FROM reading_hour WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM reading_hour WHERE hour <= now() - $1::interval ORDER BY hour LIMIT $2 FOR UPDATE SKIP LOCKED))`, life, postgres.ForgetBatch)
}
