package ledger

import (
	"context"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Status is the version of the schema, and how far the reconciliation is behind.
type Status struct {
	Schema int64 `db:"schema"`
	// Lag is in seconds; nil: it has not begun.
	Lag *float64 `db:"lag"`
}

// Status reads both.
func (l *Ledger) Status(ctx context.Context) (Status, error) {
	return postgres.One[Status](ctx, l.pool, "reading the status", `
		SELECT (SELECT max(version_id) FROM goose_db_version WHERE is_applied) AS schema,
		       (SELECT extract(epoch FROM now() - settled_until)::float8 FROM reconciliation) AS lag`)
}
