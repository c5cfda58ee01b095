package ledger

import (
	"context"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// ReportLifetime is how long a report is known again: well above the age at
// which one is still believed.
const ReportLifetime = 30 * 24 * time.Hour

// LeastRetention is the shortest term of the ledger: above what anything in it is still
// waited for, reported about or compared.
const LeastRetention = ReportLifetime

// EmptyDays is how long the count of a day is kept when it has come down to 0.
const EmptyDays = 48 * time.Hour

// ForgetDeliveries deletes some of the events that happened longer ago, oldest first, with
// their deliveries, attempts and reports, and returns how many events. One of which anything
// waits stays, and so does one that somebody else has locked: a replay is under way. It
// notes up to where events were forgotten.
func (l *Ledger) ForgetDeliveries(ctx context.Context, term time.Duration) (int64, error) {
	// Every event that makes deliveries makes one by e-mail. Its other rows are locked as
	// well before anything is believed of them, in the order in which all do.
	return postgres.One[int64](ctx, l.pool, "forgetting deliveries", `
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
		SELECT cardinality(list) FROM ids`, term, postgres.ForgetBatch)
}

// ForgottenUntil is the newest time of the sender's log of which an event was forgotten; zero
// while none was.
func (l *Ledger) ForgottenUntil(ctx context.Context) (until time.Time, err error) {
	newest, err := postgres.One[*time.Time](ctx, l.pool, "reading what was forgotten", `SELECT (SELECT until FROM forgotten)`)
	if newest != nil {
		until = *newest
	}
	return until, err
}

// ForgetAside deletes some events that were set aside longer ago, whether or not they were
// read since: nobody is told about them any more.
func (l *Ledger) ForgetAside(ctx context.Context, term time.Duration) (int64, error) {
	return l.forgetSome(ctx, `DELETE FROM set_aside WHERE id = ANY (ARRAY(
		SELECT id FROM set_aside WHERE set_aside_at < now() - $1::interval ORDER BY set_aside_at LIMIT $2))`, term)
}

// ForgetReports deletes some reports that no provider repeats any more, but for those that
// go with their event just now.
func (l *Ledger) ForgetReports(ctx context.Context, term time.Duration) (int64, error) {
	return l.forgetSome(ctx, `DELETE FROM report WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM report WHERE received_at < now() - $1::interval ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, term)
}

// ForgetInterventions deletes some of what operators did longer ago. Numbers are in the
// order of time: only the first are looked at.
func (l *Ledger) ForgetInterventions(ctx context.Context, term time.Duration) (int64, error) {
	return l.forgetSome(ctx, `DELETE FROM intervention WHERE at < now() - $1::interval AND id = ANY (ARRAY(
		SELECT id FROM intervention ORDER BY id LIMIT $2))`, term)
}

// ForgetDays deletes counts of days of which no dead letter is left. A change that comes later
// begins them anew.
func (l *Ledger) ForgetDays(ctx context.Context, term time.Duration) (int64, error) {
	return l.forgetSome(ctx, `DELETE FROM dead_letter_day_count WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM dead_letter_day_count WHERE n = 0 AND channel <> '' AND day < ((now() - $1::interval) AT TIME ZONE 'UTC')::date ORDER BY day LIMIT $2 FOR UPDATE SKIP LOCKED))`, term)
}

func (l *Ledger) forgetSome(ctx context.Context, sql string, term time.Duration) (int64, error) {
	return postgres.Exec(ctx, l.pool, "forgetting", sql, term, postgres.ForgetBatch)
}
