package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

const (
	// reportLifetime is how long a report is known again: well above the age at
	// which one is still believed.
	reportLifetime = 30 * 24 * time.Hour
	// leastLedger is the shortest term of the ledger: above what anything in it is still
	// waited for, reported about or compared.
	leastLedger = reportLifetime
	// emptyDays is how long the count of a day is kept when it has come down to 0.
	emptyDays = 48 * time.Hour
	// beyondLog is how much longer than the event log the ledger must keep an event: the
	// log drops whole days, and some hours late.
	beyondLog = 48 * time.Hour
)

// errLedgerTerm: the ledger would forget what the event log still has, and the comparison
// of the two would send it again.
var errLedgerTerm = errors.New("LEDGER_RETENTION must be 0 or at least 48h longer than messaging's EVENT_LOG_RETENTION: what the log has and the ledger has forgotten would be sent again")

// terms is how long things are kept; 0: for ever.
type terms struct {
	ledger        time.Duration
	interventions time.Duration
	// agreed: the event log is known to keep its events for less than the ledger. Until
	// then the ledger forgets nothing. told: it was so when this process started.
	agreed, told atomic.Bool
}

// agree holds the ledger's term against the event log's, as messaging tells it (nil: it
// does not, being of a version before). A term that is too short from the beginning is an
// error. Where the log's became longer meanwhile, this process goes on sending, and
// forgets nothing.
func (t *terms) agree(log *durationpb.Duration) error {
	if log == nil {
		return nil
	}
	kept := log.AsDuration()
	fits := t.ledger == 0 || kept != 0 && t.ledger >= kept+beyondLog
	if !fits && !t.told.Load() {
		return fmt.Errorf("%w (it is %s, and the event log's %s)", errLedgerTerm, t.ledger, kept)
	}
	t.told.Store(true)
	if was := t.agreed.Swap(fits); was && !fits {
		slog.Error("the event log is kept for longer than before; nothing is deleted from the ledger", "ledger", t.ledger, "log", kept)
	}
	return nil
}

// of are the terms of the ledger's tables.
func (t *terms) of(book *ledger) []postgres.Term {
	held := func() bool { return !t.agreed.Load() }
	return []postgres.Term{
		{What: "deliveries", Keep: t.ledger, Held: held, Step: book.ForgetDeliveries},
		{What: "events set aside", Keep: t.ledger, Held: held, Step: book.ForgetAside},
		{What: "reports", Keep: reportLifetime, Step: book.ForgetReports},
		{What: "interventions", Keep: t.interventions, Step: book.ForgetInterventions},
		{What: "days without dead letters", Keep: emptyDays, Step: book.ForgetDays},
	}
}

// ForgetDeliveries deletes some of the events that happened longer ago, oldest first, with
// their deliveries, attempts and reports, and returns how many events. One of which anything
// waits stays, and so does one that somebody else has locked: a replay is under way. It
// notes up to where events were forgotten.
func (l *ledger) ForgetDeliveries(ctx context.Context, term time.Duration) (n int64, err error) {
	// Every event that makes deliveries makes one by e-mail. Its other rows are locked as
	// well before anything is believed of them, in the order in which all do.
	err = l.pool.QueryRow(ctx, `
		WITH candidate AS MATERIALIZED (
			SELECT event_id, COALESCE(logged_at, occurred_at) AS at FROM delivery AS d WHERE channel = 'EMAIL' AND COALESCE(logged_at, occurred_at) < now() - $1::interval
			  AND NOT EXISTS (SELECT FROM delivery AS w WHERE w.event_id = d.event_id AND w.state IN ('planned', 'retry', 'unknown', 'sending'))
			ORDER BY COALESCE(logged_at, occurred_at) LIMIT $2
		), locked AS MATERIALIZED (
			SELECT event_id, state FROM delivery WHERE event_id = ANY (ARRAY(SELECT event_id FROM candidate))
			ORDER BY event_id, channel FOR UPDATE SKIP LOCKED
		), old AS MATERIALIZED (
			SELECT event_id, at FROM candidate AS c
			JOIN (SELECT event_id, count(*) AS n, bool_or(state IN ('planned', 'retry', 'unknown', 'sending')) AS waits FROM locked GROUP BY event_id) AS l USING (event_id)
			WHERE NOT l.waits AND l.n = (SELECT count(*) FROM delivery AS d WHERE d.event_id = c.event_id)
		), noted AS ( -- before anything is deleted: see PlanMissing
			INSERT INTO forgotten (until) SELECT max(at) FROM old HAVING max(at) IS NOT NULL
			ON CONFLICT (only_row) DO UPDATE SET until = GREATEST(forgotten.until, excluded.until) RETURNING until
		), ids AS (
			SELECT ARRAY(SELECT event_id FROM old WHERE EXISTS (SELECT FROM noted)) AS list
		), attempts AS (
			DELETE FROM attempt WHERE event_id = ANY ((SELECT list FROM ids)::uuid[])
		), reports AS (
			DELETE FROM report WHERE event_id = ANY ((SELECT list FROM ids)::uuid[])
		), deliveries AS (
			DELETE FROM delivery WHERE event_id = ANY ((SELECT list FROM ids)::uuid[])
		)
		SELECT cardinality(list) FROM ids`, term, postgres.ForgetBatch).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("forgetting deliveries: %w", err)
	}
	return n, nil
}

// ForgottenUntil is the newest time of the sender's log of which an event was forgotten; zero
// while none was.
func (l *ledger) ForgottenUntil(ctx context.Context) (until time.Time, err error) {
	var newest *time.Time
	if err := l.pool.QueryRow(ctx, `SELECT (SELECT until FROM forgotten)`).Scan(&newest); err != nil {
		return until, fmt.Errorf("reading what was forgotten: %w", err)
	}
	if newest != nil {
		until = *newest
	}
	return until, nil
}

// ForgetAside deletes some events that were set aside longer ago, whether or not they were
// read since: nobody is told about them any more.
func (l *ledger) ForgetAside(ctx context.Context, term time.Duration) (int64, error) {
	return l.forgetSome(ctx, `DELETE FROM set_aside WHERE id = ANY (ARRAY(
		SELECT id FROM set_aside WHERE set_aside_at < now() - $1::interval ORDER BY set_aside_at LIMIT $2))`, term)
}

// ForgetReports deletes some reports that no provider repeats any more, but for those that
// go with their event just now.
func (l *ledger) ForgetReports(ctx context.Context, term time.Duration) (int64, error) {
	return l.forgetSome(ctx, `DELETE FROM report WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM report WHERE received_at < now() - $1::interval ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, term)
}

// ForgetInterventions deletes some of what operators did longer ago. Numbers are in the
// order of time: only the first are looked at.
func (l *ledger) ForgetInterventions(ctx context.Context, term time.Duration) (int64, error) {
	return l.forgetSome(ctx, `DELETE FROM intervention WHERE at < now() - $1::interval AND id = ANY (ARRAY(
		SELECT id FROM intervention ORDER BY id LIMIT $2))`, term)
}

// ForgetDays deletes counts of days of which no dead letter is left. A change that comes later
// begins them anew.
func (l *ledger) ForgetDays(ctx context.Context, term time.Duration) (int64, error) {
	return l.forgetSome(ctx, `DELETE FROM dead_letter_day_count WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM dead_letter_day_count WHERE n = 0 AND channel <> '' AND day < ((now() - $1::interval) AT TIME ZONE 'UTC')::date ORDER BY day LIMIT $2 FOR UPDATE SKIP LOCKED))`, term)
}

func (l *ledger) forgetSome(ctx context.Context, sql string, term time.Duration) (int64, error) {
	tag, err := l.pool.Exec(ctx, sql, term, postgres.ForgetBatch)
	if err != nil {
		return 0, fmt.Errorf("forgetting: %w", err)
	}
	return tag.RowsAffected(), nil
}
