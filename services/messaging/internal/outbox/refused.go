package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

const (
	// refusedPoll is how often refused events that are due are looked for, refusedBatch
	// how many are tried at once: as few as the broker gets one by one.
	refusedPoll  = 500 * time.Millisecond
	refusedBatch = 50
	// refusedTimeout bounds one try of them.
	refusedTimeout = 3 * time.Second
	// asideTries is how often an event is refused while others pass before it is set
	// aside: three minutes after it was first, as the wait doubles from a second to
	// refusedPauseMax.
	asideTries      = 8
	refusedPauseMax = time.Minute
	// refusingFor is how long a subject is known to be refused without being tried.
	refusingFor = 2 * refusedPauseMax
	// refusingMost bounds how many are known.
	refusingMost = 10_000
)

// refusals are what a relay knows about events that the broker refuses while it takes
// others: a subject that its permissions deny or its stream does not have, or an event
// that is too large.
//
// What is promised: they are lost only when an operator drops them, or when they are set
// aside and older than what the event log keeps, and they slow the others only until they
// are known. How: they move to a table of their own, where they are retried after a second,
// two and so on up to a minute. After eight times in which others
// passed an event is set aside: it is counted and shown separately, and of all that are set
// aside one of each subject is tried each minute. Once that one passes, the others are
// tried too, so that nothing must be done after the cause is gone. A try while nothing
// passes counts for nothing. When it breaks: a subject that is refused and one whose
// broker is slow look alike for a second; the latter's events are published by the next
// try.
type refusals struct {
	// acknowledged is when anything last was, in nanoseconds; 0: never.
	acknowledged atomic.Int64

	mu       sync.Mutex
	subjects map[string]knownRefusal
}

// reason is why a subject is known to be refused; empty if it is not.
func (r *refusals) reason(subject string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.subjects[subject]
	if ok && time.Now().After(known.until) {
		delete(r.subjects, subject)
		return ""
	}
	return known.reason
}

// learn notes what was shown about subjects.
func (r *refusals) learn(v verdict) {
	now := time.Now()
	if len(v.subjects) > 0 {
		r.acknowledged.Store(now.UnixNano())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for subject := range v.subjects {
		delete(r.subjects, subject)
	}
	for _, refusal := range v.refused {
		if refusal.ofSubject() && !refusal.known && !v.subjects[refusal.subject] {
			if len(r.subjects) >= refusingMost {
				clear(r.subjects)
			}
			r.subjects[refusal.subject] = knownRefusal{refusal.reason, now.Add(refusingFor)}
		}
	}
}

// quiet is how long ago anything was acknowledged last, as an interval of PostgreSQL's.
func (r *refusals) quiet() time.Duration {
	at := r.acknowledged.Load()
	if at == 0 {
		return 365 * 24 * time.Hour
	}
	return time.Since(time.Unix(0, at))
}

type knownRefusal struct {
	reason string
	until  time.Time
}

func newRefusals() *refusals { return &refusals{subjects: make(map[string]knownRefusal)} }

// refusal is an event that the broker does not take.
type refusal struct {
	id              uuid.UUID
	reason, subject string
	// known: it was not tried, as its subject is known to be refused.
	known bool
}

// ofSubject reports whether others of the same subject would be refused too.
func (r refusal) ofSubject() bool {
	return r.reason == bus.NoStream || r.reason == bus.NoAcknowledgement || r.reason == bus.Denied
}

// refuse moves events from the outbox to the refused ones.
func refuse(ctx context.Context, tx pgx.Tx, list []refusal) error {
	if len(list) == 0 {
		return nil
	}
	ids, reasons := columnsOf(list)
	if _, err := tx.Exec(ctx, `
		WITH moved AS (DELETE FROM outbox WHERE id = ANY($1) RETURNING `+columns+`)
		INSERT INTO outbox_refused (`+columns+`, reason)
		SELECT `+columns+`, r.reason FROM moved JOIN unnest($1::uuid[], $2::text[]) AS r (refused_id, reason) ON r.refused_id = id`,
		ids, reasons); err != nil {
		return fmt.Errorf("moving refused events: %w", err)
	}
	return nil
}

func columnsOf(list []refusal) (ids []uuid.UUID, reasons []string) {
	for _, r := range list {
		ids, reasons = append(ids, r.id), append(reasons, r.reason)
	}
	return ids, reasons
}

// Refused is an event that the broker has refused.
type Refused struct {
	Row
	Reason     string     `db:"reason"`
	Tries      int16      `db:"tries"`
	TriedAt    time.Time  `db:"tried_at"`
	SetAsideAt *time.Time `db:"set_aside_at"`
}

var refusedColumns = postgres.Columns[Refused]()

// retry gives refused events that are due to publish, as relayed does. quiet is how
// long ago anything was acknowledged.
func (s *Store) retry(ctx context.Context, quiet func() time.Duration, publish func([]Refused) verdict) (result verdict, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// A last try that is still to come was noted by a clock that went back since.
		rows, err := postgres.Many[Refused](ctx, tx, "reading refused events", `
			SELECT `+refusedColumns+` FROM outbox_refused AS r
			WHERE (next_try <= now() OR tried_at > now()) AND (set_aside_at IS NULL OR NOT EXISTS (
				SELECT FROM outbox_refused AS first
				WHERE first.type = r.type AND first.caisse = r.caisse AND first.reason = r.reason AND first.id < r.id AND first.set_aside_at IS NOT NULL))
			ORDER BY next_try LIMIT $1 FOR UPDATE SKIP LOCKED`, refusedBatch)
		if err != nil || len(rows) == 0 {
			return err
		}
		result = publish(rows)
		return settleRefused(ctx, tx, rows, &result, quiet())
	})
	return result, err
}

// settleRefused deletes those that passed, gives others that were refused likewise
// another try at once, and has the rest wait.
func settleRefused(ctx context.Context, tx pgx.Tx, rows []Refused, result *verdict, quiet time.Duration) error {
	var tried []uuid.UUID
	var types, caisses, likewise []string
	for _, row := range rows {
		tried = append(tried, row.ID)
		if slices.Contains(result.acked, row.ID) {
			types, caisses, likewise = append(types, row.Type), append(caisses, row.Caisse), append(likewise, row.Reason)
		}
	}
	if len(result.acked) > 0 {
		if _, err := tx.Exec(ctx, `DELETE FROM outbox_refused WHERE id = ANY($1)`, result.acked); err != nil {
			return fmt.Errorf("deleting published events: %w", err)
		}
		if _, err := tx.Exec(ctx, `
			UPDATE outbox_refused SET next_try = now(), set_aside_at = NULL, tries = least(tries, $5 - 1)
			WHERE id IN (
				SELECT id FROM outbox_refused
				WHERE (type, caisse, reason) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[])) AND id <> ALL($4)
				  AND (next_try > now() OR set_aside_at IS NOT NULL)
				FOR UPDATE SKIP LOCKED)`,
			types, caisses, likewise, tried, asideTries); err != nil {
			return fmt.Errorf("having others of the same subjects tried: %w", err)
		}
	}
	ids, reasons := columnsOf(result.refused)
	// A try counts when anything was acknowledged since the last one.
	_, err := tx.Exec(ctx, `
		UPDATE outbox_refused AS r
		SET tries = r.tries + counted, tried_at = now(), reason = coalesce(v.reason, r.reason),
		    next_try = now() + least($4::interval, interval '1 second' * 2 ^ least(r.tries + counted, 12)),
		    set_aside_at = CASE WHEN r.tries + counted >= $5 THEN coalesce(r.set_aside_at, now()) ELSE r.set_aside_at END
		FROM (SELECT t.id, u.reason, CASE WHEN o.tries < 1000 AND u.reason IS NOT NULL AND o.tried_at < now() - $3::interval THEN 1 ELSE 0 END AS counted
		      FROM unnest($1::uuid[]) AS t (id) JOIN outbox_refused AS o USING (id)
		      LEFT JOIN unnest($2::uuid[], $6::text[]) AS u (id, reason) USING (id)) AS v
		WHERE r.id = v.id`, tried, ids, quiet, refusedPauseMax, asideTries, reasons)
	if err != nil {
		return fmt.Errorf("having refused events wait: %w", err)
	}
	return nil
}

// Refused returns refused events, oldest first, after the one with a time and an id.
func (s *Store) Refused(ctx context.Context, after time.Time, afterID uuid.UUID, limit int) ([]Refused, error) {
	return postgres.Many[Refused](ctx, s.pool, "listing refused events",
		`SELECT `+refusedColumns+` FROM outbox_refused WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3`, after, afterID, limit)
}

// Requeue has all refused events tried again at once, or some, as if for the first time.
func (s *Store) Requeue(ctx context.Context, all bool, ids []uuid.UUID) (int64, error) {
	return postgres.Exec(ctx, s.pool, "requeuing refused events", `
		UPDATE outbox_refused SET next_try = now(), set_aside_at = NULL, tries = 0
		WHERE id IN (SELECT id FROM outbox_refused WHERE $1 OR id = ANY($2) ORDER BY id FOR UPDATE)`, all, ids)
}

// Dropped is what a dropped event was about.
type Dropped struct {
	ConversationID uuid.UUID `db:"conversation_id"`
	Caisse         string    `db:"caisse"`
}

// Drop gives a refused event up, for good, and returns what it was about; [pgx.ErrNoRows]
// where it is not among them.
func Drop(ctx context.Context, tx pgx.Tx, id uuid.UUID) (Dropped, error) {
	return postgres.One[Dropped](ctx, tx, "dropping a refused event", `DELETE FROM outbox_refused WHERE id = $1 RETURNING conversation_id, caisse`, id)
}

// ForgetRefused deletes some of the events that are set aside and older than the term, that
// of the event log.
func (s *Store) ForgetRefused(ctx context.Context, term time.Duration) (int64, error) {
	tag, err := s.pool.Exec(ctx, `DELETE FROM outbox_refused WHERE id = ANY (ARRAY(
		SELECT id FROM outbox_refused WHERE set_aside_at IS NOT NULL AND created_at < now() - $1::interval
		ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, term, postgres.ForgetBatch)
	if err != nil {
		return 0, fmt.Errorf("dropping refused events: %w", err)
	}
	if tag.RowsAffected() > 0 {
		slog.WarnContext(ctx, "events were never published and are no longer kept", "events", tag.RowsAffected())
	}
	return tag.RowsAffected(), nil
}
