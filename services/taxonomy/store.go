package taxonomy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

// store is the versions in PostgreSQL, with the current one in memory, and the
// counts of what members did with proposals and of their searches.
type store struct {
	pool    *pgxpool.Pool
	current atomic.Pointer[catalogue]
}

// publish makes the content of a file the current version if its number is new. The same number
// with other content is an error: conversations keep the number, so what it means
// must not change. A lower number than the current one is left alone, so that an
// old binary started again does not take a version back.
func (s *store) publish(ctx context.Context, version int, content []byte) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// Of replicas that start at once, one publishes and the others find it done.
		if _, err := tx.Exec(ctx, `LOCK TABLE taxonomy_version IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return fmt.Errorf("publishing taxonomy %d: %w", version, err)
		}
		published, err := postgres.One[struct {
			Newest int   `db:"newest"`
			Same   *bool `db:"same"`
		}](ctx, tx, "reading the versions", `
			SELECT coalesce(max(version), 0) AS newest, bool_or(content = $2) FILTER (WHERE version = $1) AS same
			FROM taxonomy_version`, version, string(content))
		if err != nil {
			return err
		}
		switch {
		case published.Same != nil && !*published.Same:
			return fmt.Errorf("taxonomy %d is published with other content: raise `version` to %d to publish the change", version, published.Newest+1)
		case version < published.Newest:
			slog.InfoContext(ctx, "a newer taxonomy is published; going on with it", "file", version, "current", published.Newest)
			return nil
		case published.Same != nil:
			return nil
		}
		if _, err := postgres.Exec(ctx, tx, fmt.Sprintf("publishing taxonomy %d", version),
			`INSERT INTO taxonomy_version (version, content) VALUES ($1, $2)`, version, string(content)); err != nil {
			return err
		}
		slog.InfoContext(ctx, "taxonomy published", "version", version)
		return nil
	})
}

// refreshTimeout bounds one look for a newer version.
const refreshTimeout = 10 * time.Second

// refresh takes the current version into memory if it is not there.
func (s *store) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	version, err := postgres.One[int](ctx, s.pool, "reading the current version", `SELECT max(version) FROM taxonomy_version`)
	if err != nil {
		return err
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

// errUnavailable is for callers that ask for an older version while the database is away.
var errUnavailable = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_STORE_UNAVAILABLE, "older versions of the taxonomy cannot be read now; try again")

// version reads one version from the database.
func (s *store) version(ctx context.Context, version int) (*catalogue, error) {
	row, err := postgres.One[struct {
		Content     string    `db:"content"`
		PublishedAt time.Time `db:"published_at"`
	}](ctx, s.pool, fmt.Sprintf("reading taxonomy %d", version), `SELECT content, published_at FROM taxonomy_version WHERE version = $1`, version)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, errNoVersion
	case postgres.IsUnreachable(err):
		return nil, errUnavailable.Because(err)
	case err != nil:
		return nil, err
	}
	f, err := taxonomyfile.Read([]byte(row.Content))
	if err != nil {
		return nil, fmt.Errorf("reading taxonomy %d: %w", version, err)
	}
	return newCatalogue(f, row.PublishedAt), nil
}

// follow keeps memory up to date with what other replicas publish, until ctx is
// done. While the database is away, the version in memory stays current.
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

// errNoCounts is for callers that record something or read the counts while the database is
// away.
var errNoCounts = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_STORE_UNAVAILABLE, "what became of proposals and searches can be neither counted nor read now; try again")

// errKeyReused: the caller has used the key for something else.
var errKeyReused = rpc.Refuse(codes.AlreadyExists, errorpb.ErrorReason_IDEMPOTENCY_KEY_REUSED, "the caller has used this idempotency key before, for something else")

// keyTerm is how long a call that was counted is recognised.
const keyTerm = 24 * time.Hour

// call is one that is counted once: digests of the caller with their key, and of what they
// ask for.
type call struct{ key, request [sha256.Size]byte }

// keyRow is what a statement that counts a call finds of its key: whether it is new, and else
// what it stands for.
type keyRow struct {
	Fresh   bool   `db:"fresh"`
	Request []byte `db:"request"`
}

// once counts a call by a statement that writes its key to outcome_key with the count, unless
// the key is known: fresh reports whether it did. A key that stands for something else is
// errKeyReused.
func (c call) once(ctx context.Context, count func() (keyRow, error)) (fresh bool, err error) {
	var known keyRow
	// A call that waited for another with the same key does not see that one's row, and reads again.
	for tries := 0; tries < 3 && !known.Fresh && known.Request == nil; tries++ {
		if known, err = count(); err != nil {
			return false, noCounts(ctx, err)
		}
	}
	switch {
	case known.Fresh || bytes.Equal(known.Request, c.request[:]):
		return known.Fresh, nil
	case known.Request == nil:
		return false, errNoCounts
	}
	return false, errKeyReused
}

// outcomeRow is what one outcome adds to a row of suggestion_outcome; the day is the
// database's.
type outcomeRow struct {
	Audience         int32  `db:"audience"`
	Theme            string `db:"theme"`
	Topic            string `db:"topic"`
	Reason           string `db:"reason"`
	Service          string `db:"service"`
	Shown            int32  `db:"shown"`
	Followed         int32  `db:"followed"`
	WroteAnyway      int32  `db:"wrote_anyway"`
	ChangedSelection int32  `db:"changed_selection"`
}

var outcomeRows = postgres.RowsOf[outcomeRow]()

// row is what the outcome adds.
func (o *outcome) row() outcomeRow {
	times := func(counted taxonomypb.SuggestionOutcome) int32 {
		if o.what == counted {
			return 1
		}
		return 0
	}
	return outcomeRow{
		Audience: int32(o.at.audience), Theme: o.at.theme, Topic: o.at.topic, Reason: o.at.reason, Service: o.service,
		Shown: times(taxonomypb.SuggestionOutcome_SHOWN), Followed: times(taxonomypb.SuggestionOutcome_FOLLOWED),
		WroteAnyway: times(taxonomypb.SuggestionOutcome_WROTE_ANYWAY), ChangedSelection: times(taxonomypb.SuggestionOutcome_CHANGED_SELECTION),
	}
}

// count adds one outcome to those of its day in Paris, by the database's clock, once for its
// key: fresh reports whether it did.
func (s *store) count(ctx context.Context, o outcome) (fresh bool, err error) {
	return o.once(ctx, func() (keyRow, error) {
		return postgres.One[keyRow](ctx, s.pool, "counting an outcome", `
			WITH begun AS (
				INSERT INTO outcome_key (digest, request) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING RETURNING 1
			), counted AS (
				INSERT INTO suggestion_outcome AS o (day, `+outcomeRows.Columns()+`)
				SELECT `+today+`, `+outcomeRows.Columns()+`
				FROM `+outcomeRows.From("given", 3)+` WHERE EXISTS (SELECT FROM begun)
				ON CONFLICT (day, audience, theme, topic, reason, service) DO UPDATE SET
					shown             = o.shown + excluded.shown,
					followed          = o.followed + excluded.followed,
					wrote_anyway      = o.wrote_anyway + excluded.wrote_anyway,
					changed_selection = o.changed_selection + excluded.changed_selection
			)
			SELECT EXISTS (SELECT FROM begun) AS fresh, (SELECT request FROM outcome_key WHERE digest = $1) AS request`,
			outcomeRows.Args([]outcomeRow{o.row()}, o.key[:], o.request[:])...)
	})
}

// forgetKeys deletes some of the keys that were used longer ago, oldest first.
func (s *store) forgetKeys(ctx context.Context, term time.Duration) (int64, error) {
	return postgres.Exec(ctx, s.pool, "forgetting keys of outcomes", `
		DELETE FROM outcome_key WHERE digest = ANY (ARRAY(
			SELECT digest FROM outcome_key WHERE counted_at < now() - $1::interval ORDER BY counted_at LIMIT $2))`, term, postgres.ForgetBatch)
}

// leastOutcomes is the shortest term of outcomes: figures reach back that far.
const leastOutcomes = 366 * 24 * time.Hour

// forgetOutcomes deletes some of the counts of older days, oldest first.
func (s *store) forgetOutcomes(ctx context.Context, keep time.Duration) (int64, error) {
	return postgres.Exec(ctx, s.pool, "forgetting outcomes", `
		DELETE FROM suggestion_outcome WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM suggestion_outcome WHERE day < (now() - $1::interval)::date ORDER BY day LIMIT $2))`, keep, postgres.ForgetBatch)
}

// noCounts is the answer to a caller. That a call's time is over, or its caller has gone, says
// nothing about the database.
func noCounts(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if !postgres.IsUnreachable(err) {
		return err
	}
	return errNoCounts.Because(err)
}
