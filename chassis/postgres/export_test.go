package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// AskIdle does what a pool does before it uses a connection that has been idle.
func AskIdle(ctx context.Context, pool *pgxpool.Pool, conn *pgx.Conn) (silent bool) {
	all := &connections{}
	all.pool.Store(pool)
	return all.shouldPing(ctx, pgxpool.ShouldPingParams{Conn: conn, IdleDuration: askAfter})
}
