package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

const (
	// daysAhead is for how many days to come the event log has partitions.
	daysAhead = 7
	// keepEvery is how often they are looked after, keepTimeout what that may take.
	keepEvery   = time.Hour
	keepTimeout = 2 * time.Minute
)

// KeepDays makes the event log's days to come and drops those that are older than the
// retention (0: none), until ctx is done. Any number of processes may do so.
func (s *Store) KeepDays(ctx context.Context, retention time.Duration) {
	for {
		round, cancel := context.WithTimeout(ctx, keepTimeout)
		err := s.arrangeDays(round, daysAhead, retention)
		cancel()
		if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "keeping the event log's days; the default partition takes what has none", "error", err)
		}
		if !chassis.Sleep(ctx, keepEvery) {
			return
		}
	}
}

// arrangeDays makes the event log's partitions from today on, and drops the days that
// ended longer than retention ago. A day that cannot be made at once, because the
// table is busy, is made another time: until then its rows go into the default
// partition, and once one is there the day stays there.
func (s *Store) arrangeDays(ctx context.Context, ahead int, retention time.Duration) error {
	var today time.Time
	if err := s.pool.QueryRow(ctx, `SELECT date_trunc('day', now(), 'UTC')`).Scan(&today); err != nil {
		return fmt.Errorf("reading the day: %w", err)
	}
	today = today.UTC()
	var faults []error
	for i := range ahead + 1 {
		day := today.AddDate(0, 0, i)
		err := s.onDays(ctx, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s PARTITION OF event_log FOR VALUES FROM ('%s') TO ('%s')`,
			dayName(day), day.Format(time.RFC3339), day.AddDate(0, 0, 1).Format(time.RFC3339)))
		var fault *pgconn.PgError
		if errors.As(err, &fault) && fault.Code == "23514" {
			continue // it has begun in the default partition
		}
		faults = append(faults, err)
	}
	if retention > 0 {
		faults = append(faults, s.DropDays(ctx, today.Add(-retention)))
	}
	return errors.Join(faults...)
}

// dayName is the partition of the event log for a day (UTC).
func dayName(day time.Time) string { return "event_log_" + day.Format("20060102") }

// DropDays drops what is older than a time, whole days at once.
func (s *Store) DropDays(ctx context.Context, before time.Time) error {
	names, err := postgres.Many[struct {
		Name string `db:"name"`
	}](ctx, s.pool, "listing the event log's days", `
		SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'event_log'::regclass AND c.relname ~ '^event_log_[0-9]{8}$' AND c.relname < $1
		ORDER BY 1`, dayName(before.UTC()))
	faults := []error{err}
	for _, day := range names {
		faults = append(faults, s.onDays(ctx, `DROP TABLE IF EXISTS `+pgx.Identifier{day.Name}.Sanitize()))
	}
	return errors.Join(faults...)
}

const (
	// dayPatience is how long a change of the partitions waits for the log's table, and so
	// does whoever submits behind it; dayTries is how often it is tried, dayPause the rest
	// between.
	dayPatience = 50 * time.Millisecond
	dayTries    = 20
	dayPause    = 500 * time.Millisecond
)

// onDays changes the partitions. It gives up rather than wait for long: whoever
// waits for the table's lock makes every submission wait behind it.
func (s *Store) onDays(ctx context.Context, sql string) error {
	var err error
	for range dayTries {
		err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `SELECT set_config('lock_timeout', $1, true)`, dayPatience.String()); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, sql)
			return err
		})
		var fault *pgconn.PgError
		if busy := errors.As(err, &fault) && fault.Code == "55P03"; !busy || !chassis.Sleep(ctx, dayPause) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("changing the event log's days: %w", err)
	}
	return nil
}

// ForgetDayless deletes some of the events that came when their day had no partition.
func (s *Store) ForgetDayless(ctx context.Context, term time.Duration) (int64, error) {
	tag, err := s.pool.Exec(ctx, `DELETE FROM event_log_default WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM event_log_default WHERE created_at < now() - $1::interval LIMIT $2))`, term, postgres.ForgetBatch)
	if err != nil {
		return 0, fmt.Errorf("dropping old events: %w", err)
	}
	return tag.RowsAffected(), nil
}
