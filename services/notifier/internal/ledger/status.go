package ledger

import (
	"context"
	"fmt"
)

// Schema is the version of the schema, and how far behind the reconciliation is in
// seconds, if it has begun.
func (l *Ledger) Schema(ctx context.Context) (schema int64, lag *float64, err error) {
	err = l.pool.QueryRow(ctx, `SELECT (SELECT max(version_id) FROM goose_db_version WHERE is_applied),
		(SELECT extract(epoch FROM now() - settled_until)::float8 FROM reconciliation)`).Scan(&schema, &lag)
	if err != nil {
		return 0, nil, fmt.Errorf("reading the status: %w", err)
	}
	return schema, lag, nil
}
