package taxonomy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
)

// store is the versions in PostgreSQL, with the current one in memory.
type store struct {
	pool    *pgxpool.Pool
	current atomic.Pointer[catalogue]
}

// publish makes a file the current version if its number is new. The same number
// with other content is an error: conversations keep the number, so what it means
// must not change. A lower number than the current one is left alone, so that an
// old binary started again does not take a version back.
func (s *store) publish(ctx context.Context, f *file, content []byte) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// Of replicas that start at once, one publishes and the others find it done.
		if _, err := tx.Exec(ctx, `LOCK TABLE taxonomy_version IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return fmt.Errorf("publishing taxonomy %d: %w", f.Version, err)
		}
		var newest int
		var same *bool
		err := tx.QueryRow(ctx, `
			SELECT coalesce(max(version), 0), bool_or(content = $2) FILTER (WHERE version = $1)
			FROM taxonomy_version`, f.Version, string(content)).Scan(&newest, &same)
		if err != nil {
			return fmt.Errorf("reading the versions: %w", err)
		}
		switch {
		case same != nil && !*same:
			return fmt.Errorf("taxonomy %d is published with other content: raise `version` to %d to publish the change", f.Version, newest+1)
		case f.Version < newest:
			slog.InfoContext(ctx, "a newer taxonomy is published; going on with it", "file", f.Version, "current", newest)
			return nil
		case same != nil:
			return nil
		}
		if _, err := tx.Exec(ctx, `INSERT INTO taxonomy_version (version, content) VALUES ($1, $2)`, f.Version, string(content)); err != nil {
			return fmt.Errorf("publishing taxonomy %d: %w", f.Version, err)
		}
		slog.InfoContext(ctx, "taxonomy published", "version", f.Version)
		return nil
	})
}

// refresh takes the current version into memory if it is not there.
func (s *store) refresh(ctx context.Context) error {
	var version int
	err := s.pool.QueryRow(ctx, `SELECT max(version) FROM taxonomy_version`).Scan(&version)
	if err != nil {
		return fmt.Errorf("reading the current version: %w", err)
	}
	if held := s.current.Load(); held != nil && int(held.whole.GetVersion()) == version {
		return nil
	}
	next, err := s.version(ctx, version)
	if err != nil {
		return err
	}
	s.current.Store(next)
	return nil
}

// errNoVersion is returned for a version that was never published.
var errNoVersion = errors.New("no such version")

// errUnavailable is told to who asks for an older version while the database is
// away.
var errUnavailable = rpc.Refuse(codes.Unavailable, "STORE_UNAVAILABLE", "older versions of the taxonomy cannot be read now; try again")

// version reads one version from the database.
func (s *store) version(ctx context.Context, version int) (*catalogue, error) {
	var content string
	var published time.Time
	err := s.pool.QueryRow(ctx, `SELECT content, published_at FROM taxonomy_version WHERE version = $1`, version).Scan(&content, &published)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errNoVersion
	}
	if err != nil {
		return nil, errUnavailable.Because(fmt.Errorf("reading taxonomy %d: %w", version, err))
	}
	f, err := read([]byte(content))
	if err != nil {
		return nil, fmt.Errorf("reading taxonomy %d: %w", version, err)
	}
	return newCatalogue(f, published), nil
}

// follow keeps memory up to date with what other replicas publish, until ctx is
// done. While the database is away, what is in memory goes on.
func (s *store) follow(ctx context.Context, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := s.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !away:
			slog.WarnContext(ctx, "newer versions of the taxonomy cannot be read; going on with the one in memory", "error", err)
		case err == nil && away:
			slog.InfoContext(ctx, "newer versions of the taxonomy can be read again")
		}
		away = err != nil
	}
}
