package ledger

import (
	"context"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Standing is the version of the schema, and how far the reconciliation is behind.
type Standing struct {
	Schema int64 `db:"schema"`
	// Lag is in seconds; nil: it has not begun.
	Lag *float64 `db:"lag"`
}

// Standing reads it.
func (l *Ledger) Standing(ctx context.Context) (Standing, error) {
	return postgres.One[Standing](ctx, l.pool, "reading the status", `
		SELECT (SELECT max(version_id) FROM goose_db_version WHERE is_applied) AS schema,
		       (SELECT extract(epoch FROM now() - settled_until)::float8 FROM reconciliation) AS lag`)
}
