package upkeep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
)

// A backfill fills in, for older rows, what a migration has added. A migration must not do so
// itself: it would lock its table for as long as that takes. The process does, some rows at
// a time, and records its progress. Any number of processes may try: one at a time works.
type backfill struct {
	name string
	// fill changes at most backfillBatch rows behind an id, whose locks it takes in the
	// order of ids, and returns the last id that it looked at; not valid when there is none.
	fill string
}

const (
	// backfillBatch is how many rows are looked at, and locked at most, at a time.
	backfillBatch = 500
	// backfillTimeout bounds a batch, backfillPause is the rest after each.
	backfillTimeout = 5 * time.Second
	backfillPause   = 20 * time.Millisecond
	// backfillRetry is the wait after a fault, or while another process works.
	backfillRetry = time.Minute
)

var backfills = []backfill{
	{"first_reply_at", `
		WITH page AS MATERIALIZED (
			SELECT id FROM conversation WHERE id > $1 ORDER BY id LIMIT $2
		), lacking AS (
			SELECT c.id FROM conversation c
			WHERE c.id = ANY (ARRAY(SELECT id FROM page)) AND c.last_reply_id IS NOT NULL AND c.first_reply_at IS NULL
			ORDER BY c.id FOR UPDATE OF c
		), filled AS (
			UPDATE conversation c SET first_reply_at = (SELECT min(created_at) FROM message WHERE conversation_id = c.id AND author = 2)
			FROM lacking WHERE c.id = lacking.id
		)
		SELECT id FROM page ORDER BY id DESC LIMIT 1`},
	{waiting.Backfill, waiting.CountSQL},
}

// runBackfills works until all have ended, or ctx is done.
func (u *Upkeep) runBackfills(ctx context.Context) {
	for _, b := range backfills {
		for ended := false; !ended; {
			pause := backfillPause
			batch, cancel := context.WithTimeout(ctx, backfillTimeout)
			err := postgres.Again(batch, func() (err error) { ended, err = u.backfill(batch, b, backfillBatch); return err })
			cancel()
			if err != nil {
				pause = backfillRetry
				if !errors.Is(err, errFilling) && ctx.Err() == nil {
					slog.WarnContext(ctx, "filling in what a migration has added", "backfill", b.name, "error", err)
				}
			}
			if !ended && !chassis.Sleep(ctx, pause) {
				return
			}
		}
	}
}

// errFilling: another process works at it.
var errFilling = errors.New("another process fills it in")

// backfill fills in one batch, and reports whether it was the last.
func (u *Upkeep) backfill(ctx context.Context, b backfill, batch int) (ended bool, err error) {
	err = pgx.BeginFunc(ctx, u.DB, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO backfill (name) VALUES ($1) ON CONFLICT DO NOTHING`, b.name); err != nil {
			return fmt.Errorf("beginning: %w", err)
		}
		at, err := postgres.One[struct {
			After uuid.UUID `db:"after"`
			Ended bool      `db:"ended"`
		}](ctx, tx, "reading how far it is", `SELECT after, ended_at IS NOT NULL AS ended FROM backfill WHERE name = $1 FOR UPDATE SKIP LOCKED`, b.name)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return errFilling
		case err != nil:
			return fmt.Errorf("reading how far it is: %w", err)
		case at.Ended:
			ended = true
			return nil
		}
		last := at.After
		err = tx.QueryRow(ctx, b.fill, at.After, batch).Scan(&last)
		if ended = errors.Is(err, pgx.ErrNoRows); err != nil && !ended {
			return fmt.Errorf("filling in: %w", err)
		}
		if _, err := tx.Exec(ctx, `UPDATE backfill SET after = $2, ended_at = CASE WHEN $3 THEN now() END WHERE name = $1`, b.name, last, ended); err != nil {
			return fmt.Errorf("noting how far it is: %w", err)
		}
		return nil
	})
	return ended && err == nil, err
}
