package taxonomy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// store is the versions in PostgreSQL, with the current one in memory, and the
// counts of what members did with proposals.
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

// refreshTimeout bounds one look for a newer version.
const refreshTimeout = 10 * time.Second

// refresh takes the current version into memory if it is not there.
func (s *store) refresh(ctx context.Context) error {
	var version int
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
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
var errUnavailable = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_STORE_UNAVAILABLE, "older versions of the taxonomy cannot be read now; try again")

// version reads one version from the database.
func (s *store) version(ctx context.Context, version int) (*catalogue, error) {
	var content string
	var published time.Time
	err := s.pool.QueryRow(ctx, `SELECT content, published_at FROM taxonomy_version WHERE version = $1`, version).Scan(&content, &published)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errNoVersion
	}
	if err != nil {
		err = fmt.Errorf("reading taxonomy %d: %w", version, err)
		if postgres.IsUnreachable(err) {
			return nil, errUnavailable.Because(err)
		}
		return nil, err
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

// errNoCounts is told to who counts an outcome or reads the counts while the
// database is away.
var errNoCounts = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_STORE_UNAVAILABLE, "what became of proposals can be neither counted nor read now; try again")

// count adds one outcome to those of its day in Paris, by the database's clock, unless its
// key is known: fresh reports whether it did. The key and the count are written together. A
// key that stands for another outcome is errKeyReused.
func (s *store) count(ctx context.Context, o outcome) (fresh bool, err error) {
	var request []byte
	// Who waits for another call with the same key does not see that call's row, and asks again.
	for tries := 0; tries < 3 && !fresh && request == nil; tries++ {
		err = s.pool.QueryRow(ctx, `
			WITH begun AS (
				INSERT INTO outcome_key (digest, request) VALUES ($7, $8) ON CONFLICT (digest) DO NOTHING RETURNING 1
			), counted AS (
				INSERT INTO suggestion_outcome AS o
					(day, audience, theme, topic, reason, service, shown, followed, wrote_anyway, changed_selection)
				SELECT (now() AT TIME ZONE 'Europe/Paris')::date, $1, $2, $3, $4, $5,
					(outcome = 1)::integer, (outcome = 2)::integer, (outcome = 3)::integer, (outcome = 4)::integer
				FROM (VALUES ($6::integer)) AS given (outcome) WHERE EXISTS (SELECT FROM begun)
				ON CONFLICT (day, audience, theme, topic, reason, service) DO UPDATE SET
					shown             = o.shown + excluded.shown,
					followed          = o.followed + excluded.followed,
					wrote_anyway      = o.wrote_anyway + excluded.wrote_anyway,
					changed_selection = o.changed_selection + excluded.changed_selection
			)
			SELECT EXISTS (SELECT FROM begun), (SELECT request FROM outcome_key WHERE digest = $7)`,
			int32(o.at.audience), o.at.theme, o.at.topic, o.at.reason, o.service, int32(o.what), o.key[:], o.request[:]).Scan(&fresh, &request)
		if err != nil {
			return false, noCounts(ctx, fmt.Errorf("counting an outcome: %w", err))
		}
	}
	switch {
	case fresh || bytes.Equal(request, o.request[:]):
		return fresh, nil
	case request == nil:
		return false, errNoCounts
	}
	return false, errKeyReused
}

// forgetKeys deletes some of the keys that were used longer ago, oldest first.
func (s *store) forgetKeys(ctx context.Context, term time.Duration) (int64, error) {
	tag, err := s.pool.Exec(ctx, `
		DELETE FROM outcome_key WHERE digest = ANY (ARRAY(
			SELECT digest FROM outcome_key WHERE counted_at < now() - $1::interval ORDER BY counted_at LIMIT $2))`, term, postgres.ForgetBatch)
	if err != nil {
		return 0, fmt.Errorf("forgetting keys of outcomes: %w", err)
	}
	return tag.RowsAffected(), nil
}

// leastOutcomes is the shortest term of outcomes: figures reach back so far.
const leastOutcomes = 366 * 24 * time.Hour

// forgetOutcomes deletes some of the counts of days that are longer ago, oldest first.
func (s *store) forgetOutcomes(ctx context.Context, keep time.Duration) (int64, error) {
	tag, err := s.pool.Exec(ctx, `
		DELETE FROM suggestion_outcome WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM suggestion_outcome WHERE day < (now() - $1::interval)::date ORDER BY day LIMIT $2))`, keep, postgres.ForgetBatch)
	if err != nil {
		return 0, fmt.Errorf("forgetting outcomes: %w", err)
	}
	return tag.RowsAffected(), nil
}

// figures sums up the last days, today in Paris included, most shown first. Its
// services have nothing but the code, which stands for the name too. A sum beyond
// what the wire takes stays at the most it takes.
func (s *store) figures(ctx context.Context, days int32) ([]*taxonomypb.SuggestionFigures, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT audience, theme, topic, reason, service,
			least(sum(shown), $3)::integer, least(sum(followed), $3)::integer,
			least(sum(wrote_anyway), $3)::integer, least(sum(changed_selection), $3)::integer
		FROM suggestion_outcome
		WHERE day > (now() AT TIME ZONE 'Europe/Paris')::date - $1::integer
		GROUP BY audience, theme, topic, reason, service
		ORDER BY sum(shown) DESC, audience, theme, topic, reason, service
		LIMIT $2`, days, maxFigures, math.MaxInt32)
	if err != nil {
		return nil, noCounts(ctx, fmt.Errorf("reading outcomes: %w", err))
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*taxonomypb.SuggestionFigures, error) {
		f := &taxonomypb.SuggestionFigures{}
		var audience int32
		var service string
		err := row.Scan(&audience, &f.Theme, &f.Topic, &f.Reason, &service, &f.Shown, &f.Followed, &f.WroteAnyway, &f.ChangedSelection)
		f.Audience = taxonomypb.Audience(audience)
		f.Service = &taxonomypb.OnlineService{Code: service, Name: service}
		return f, err
	})
	if err != nil {
		return nil, noCounts(ctx, fmt.Errorf("reading outcomes: %w", err))
	}
	return list, nil
}

// noCounts is what a caller is told; one whose time is over, or who went away,
// tells nothing of the database.
func noCounts(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if !postgres.IsUnreachable(err) {
		return err
	}
	return errNoCounts.Because(err)
}
