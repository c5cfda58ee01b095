package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

const (
	// SlotWidth is the grain of digests.
	SlotWidth = 10 * time.Second
	// SettleTime is after how long a slot's set of events counts as final. An
	// event's time is that of the beginning of its transaction; a flush takes at
	// most ten seconds (batch.Config.Timeout). What should commit later still is found by whoever
	// compares a whole day again now and then.
	SettleTime = 30 * time.Second
	// digestsMost is the most slots in one answer: a day.
	digestsMost = 8640
	// MostEvents is the most events on one page.
	MostEvents = 1000
)

// Slot is a digest of the events of one slot.
type Slot struct {
	Start  time.Time `db:"start"`
	Count  int64     `db:"count"`
	Digest int64     `db:"digest"`
}

// Digests returns a digest for each slot in which events of these types were
// committed, and up to where that is final. It reads ids and times alone.
func (s *Store) Digests(ctx context.Context, types []string, from time.Time, before *time.Time) (slots []Slot, settled time.Time, err error) {
	// The clock is read first: what commits between the two is not settled yet.
	err = s.pool.QueryRow(ctx, `SELECT LEAST($1::timestamptz, date_bin($2::interval, now() - $3::interval, timestamptz 'epoch'))`,
		before, SlotWidth, SettleTime).Scan(&settled)
	if err != nil {
		return nil, settled, fmt.Errorf("reading the clock: %w", err)
	}
	slots, err = postgres.Many[Slot](ctx, s.pool, "digesting the event log", `
		SELECT date_bin($4::interval, created_at, timestamptz 'epoch') AS start, count(*) AS count,
		       bit_xor(('x' || encode(substring(sha256(uuid_send(id)) for 8), 'hex'))::bit(64)::bigint) AS digest
		FROM event_log WHERE type = ANY($1) AND created_at >= $2 AND created_at < $3
		GROUP BY 1 ORDER BY 1 LIMIT $5`, types, from, settled, SlotWidth, digestsMost)
	return slots, settled, err
}

// Events returns events of a range of time, in the order of times and ids, after the one
// with a time and an id; from the first on if that time is zero.
func (s *Store) Events(ctx context.Context, types []string, from, before, after time.Time, afterID uuid.UUID, limit int) ([]Row, error) {
	args := pgx.NamedArgs{"types": types, "from": from, "before": before, "limit": limit}
	next := ``
	if !after.IsZero() {
		next = ` AND (created_at, id) > (@at, @id)`
		args["at"], args["id"] = after, afterID
	}
	return postgres.Many[Row](ctx, s.pool, "reading the event log", `
		SELECT id, type, caisse, conversation_id, payload, '' AS trace, created_at FROM event_log
		WHERE type = ANY(@types) AND created_at >= @from AND created_at < @before`+next+`
		ORDER BY created_at, id LIMIT @limit`, args)
}
