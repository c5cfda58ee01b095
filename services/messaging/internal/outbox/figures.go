package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Stale reports whether the oldest event that is still tried has waited for longer.
// It reads one row of each table: ids are in the order of time. It begins where the relay
// does, or it would read what an older snapshot keeps.
func (s *Store) Stale(ctx context.Context, from uuid.UUID, than time.Duration) (stale bool, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT coalesce((SELECT created_at < now() - $1::interval FROM outbox WHERE id >= $2 ORDER BY id LIMIT 1), false)
		    OR coalesce((SELECT created_at < now() - $1::interval FROM outbox_refused WHERE set_aside_at IS NULL ORDER BY id LIMIT 1), false)`, than, from).Scan(&stale)
	if err != nil {
		return false, fmt.Errorf("looking at the outbox: %w", err)
	}
	return stale, nil
}

// Figures are how many events wait, how old the oldest is, and how many more are set
// aside.
type Figures struct {
	Waiting  int64   `db:"waiting"`
	Oldest   float64 `db:"oldest"` // seconds
	SetAside int64   `db:"set_aside"`
}

// mostCounted bounds how many are counted: a scrape must not read the backlog of an
// outage. From there on it is what PostgreSQL estimates, which vacuums the table often.
const mostCounted = 10_000

// Figures counts no more than mostCounted rows of each table, from an id on as [Store.Stale]
// does. The oldest is the first: ids are in the order of time.
func (s *Store) Figures(ctx context.Context, from uuid.UUID) (Figures, error) {
	return postgres.One[Figures](ctx, s.pool, "measuring the outbox", `
		SELECT o.n + r.n AS waiting, coalesce(extract(epoch FROM now() - least(o.oldest, r.oldest)), 0)::float8 AS oldest, r.aside AS set_aside
		FROM (SELECT CASE WHEN begun.n < $1 THEN begun.n ELSE greatest($1, (SELECT reltuples::bigint FROM pg_class WHERE oid = 'outbox'::regclass)) END AS n, (SELECT created_at FROM outbox WHERE id >= $2 ORDER BY id LIMIT 1) AS oldest
		      FROM (SELECT count(*) AS n FROM (SELECT FROM outbox WHERE id >= $2 ORDER BY id LIMIT $1) AS waiting) AS begun) AS o,
		     (SELECT count(*) FILTER (WHERE set_aside_at IS NULL) AS n, min(created_at) FILTER (WHERE set_aside_at IS NULL) AS oldest,
		             count(set_aside_at) AS aside FROM (SELECT set_aside_at, created_at FROM outbox_refused ORDER BY created_at, id LIMIT $1) AS refused) AS r`, mostCounted, from)
}
