package ledger

import (
	"context"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Slot summarises the events of one slot of ten seconds.
type Slot struct {
	Start  time.Time `db:"start"`
	Count  int64     `db:"count"`
	Digest int64     `db:"digest"`
}

// Digests returns what the ledger has of a range of the sender's log, by slots,
// in the form of EventLogService.ListDigests.
func (l *Ledger) Digests(ctx context.Context, from, before time.Time) ([]Slot, error) {
	return postgres.Many[Slot](ctx, l.pool, "digesting the ledger", `
		SELECT date_bin('10 seconds', COALESCE(logged_at, occurred_at), timestamptz 'epoch') AS start, count(*) AS count,
		       bit_xor(('x' || encode(substring(sha256(uuid_send(event_id)) for 8), 'hex'))::bit(64)::bigint) AS digest
		FROM delivery WHERE channel = 'EMAIL' AND COALESCE(logged_at, occurred_at) >= $1 AND COALESCE(logged_at, occurred_at) < $2
		GROUP BY 1 ORDER BY 1`, from, before)
}

// unsettled is how long ago a time must be to be noted as reconciled. It is less than
// the log takes to settle, and keeps a clock that is ahead from passing for progress.
const unsettled = 30 * time.Second

// ReconciledUntil returns up to where the ledger is known to have every event; window
// ago if nobody has looked yet. A time to come was noted while a clock was ahead: it is
// taken back, or all that happens until then would pass for known.
func (l *Ledger) ReconciledUntil(ctx context.Context, window time.Duration) (time.Time, error) {
	return postgres.One[time.Time](ctx, l.pool, "reading how far the ledger is complete", `
		WITH begun AS (
			INSERT INTO reconciliation (settled_until) VALUES (now() - $1::interval) ON CONFLICT DO NOTHING RETURNING settled_until
		), cut AS (
			UPDATE reconciliation SET settled_until = now() - $2::interval, updated_at = now() WHERE settled_until > now() RETURNING settled_until
		)
		SELECT settled_until FROM (
			SELECT settled_until FROM reconciliation UNION ALL SELECT settled_until FROM begun UNION ALL SELECT settled_until FROM cut) AS noted
		ORDER BY settled_until LIMIT 1`, window, unsettled)
}

// Reconciled notes that the ledger has every event before that time, or before
// unsettled ago where that is earlier. It does not go back.
func (l *Ledger) Reconciled(ctx context.Context, until time.Time) error {
	_, err := postgres.Exec(ctx, l.pool, "noting how far the ledger is complete", `
		UPDATE reconciliation SET settled_until = GREATEST(settled_until, LEAST($1, now() - $2::interval)), updated_at = now()`, until, unsettled)
	return err
}

// ReconcileLag is how far the known-complete part of the ledger is behind.
func (l *Ledger) ReconcileLag(ctx context.Context) (time.Duration, error) {
	seconds, err := postgres.One[float64](ctx, l.pool, "measuring the reconciliation",
		`SELECT COALESCE((SELECT EXTRACT(epoch FROM now() - settled_until)::float8 FROM reconciliation), 0)`)
	return time.Duration(seconds * float64(time.Second)), err
}
