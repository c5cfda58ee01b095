// Package waiting keeps how many conversations wait for an agent, by caisse, queue and status.
//
// # What is promised
//
// The counts are those of one moment, whichever program changes conversations, and reading
// them costs as much as there are queues, not as there are conversations.
//
// # How
//
// Triggers of migration 00009 record each change in waiting_change, in the transaction of the
// change, and processes fold these rows into waiting_count every few seconds ([Fold]). The
// sum of both is what waits, at any time.
//
// # When it breaks
//
// Until a backfill has counted the conversations from before the triggers ([CountSQL]), every
// read counts conversations. Changes that are not folded make reads slower, never wrong.
package waiting

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
)

// foldBatch is how many changes are added up at once.
const foldBatch = 10_000

// Backfill is the name of the backfill that counts what waits.
const Backfill = "waiting_count"

// CountSQL counts what waits, as a backfill does. It is one statement, and so of one moment:
// the changes it deletes are those that it has counted, and the others stay.
var CountSQL = `
	WITH counted AS (
		INSERT INTO waiting_count (caisse, queue, status, n)
		SELECT caisse, queue, status, sum(n) FROM (
			SELECT caisse, queue, status, 1 AS n FROM conversation WHERE ` + lifecycle.WaitingSQL + `
			UNION ALL SELECT caisse, queue, status, 0 FROM waiting_count) AS now
		GROUP BY caisse, queue, status
		ON CONFLICT (caisse, queue, status) DO UPDATE SET n = excluded.n
	), known AS (
		DELETE FROM waiting_change
	)
	SELECT $1::uuid WHERE $2::integer IS NULL`

// Kept is a relation of (caisse, queue, status, n), to be summed up.
var Kept = `(
	SELECT caisse, queue, status, n FROM waiting_count WHERE (SELECT ` + counted + `)
	UNION ALL SELECT caisse, queue, status, n FROM waiting_change WHERE (SELECT ` + counted + `)
	UNION ALL SELECT caisse, queue, status, 1 FROM conversation WHERE ` + lifecycle.WaitingSQL + ` AND NOT (SELECT ` + counted + `)
) AS kept`

const counted = `EXISTS (SELECT FROM backfill WHERE name = '` + Backfill + `' AND ended_at IS NOT NULL)`

// Fold adds changes to the counts, set by set. One process does at a time.
func Fold(ctx context.Context, db *pgxpool.Pool) error {
	for {
		var folded int64
		err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			_, err := postgres.One[string](ctx, tx, "looking whether it is counted", `SELECT name FROM backfill WHERE name = $1 AND ended_at IS NOT NULL FOR UPDATE SKIP LOCKED`, Backfill)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil // not counted yet, or another process is at it
			}
			if err != nil {
				return err
			}
			return tx.QueryRow(ctx, `
				WITH change AS (
					DELETE FROM waiting_change WHERE ctid = ANY (ARRAY(SELECT ctid FROM waiting_change LIMIT $1))
					RETURNING caisse, queue, status, n
				), added AS (
					INSERT INTO waiting_count (caisse, queue, status, n)
					SELECT caisse, queue, status, sum(n) FROM change GROUP BY caisse, queue, status HAVING sum(n) <> 0
					ON CONFLICT (caisse, queue, status) DO UPDATE SET n = waiting_count.n + excluded.n
				)
				SELECT count(*) FROM change`, foldBatch).Scan(&folded)
		})
		if err != nil {
			return fmt.Errorf("adding up what waits: %w", err)
		}
		if folded < foldBatch {
			return nil
		}
	}
}

// Queue is what waits for agents everywhere.
type Queue struct {
	Counts map[messagingpb.Status]int64
	// Unanswered is the age in seconds of the oldest that nobody has answered at all;
	// 0 when there is none.
	Unanswered float64
}

// Everywhere returns what waits for agents.
func Everywhere(ctx context.Context, db *pgxpool.Pool) (Queue, error) {
	found := Queue{Counts: make(map[messagingpb.Status]int64)}
	err := db.QueryRow(ctx, `
		SELECT coalesce((SELECT jsonb_object_agg(status, n) FROM (SELECT status, sum(n) AS n FROM `+Kept+` GROUP BY status HAVING sum(n) > 0) AS positive), '{}'),
		       coalesce((`+OldestUnanswered+`), 0)`).Scan(&found.Counts, &found.Unanswered)
	if err != nil {
		return found, fmt.Errorf("measuring the queue: %w", err)
	}
	return found, nil
}

// OldestUnanswered is how old in seconds the oldest is that nobody has answered; it reads one row, in the order and with literally the predicate of the
// index conversation_unanswered.
var OldestUnanswered = `SELECT extract(epoch FROM now() - created_at)::float8 FROM conversation
	WHERE ` + lifecycle.WaitingSQL + ` AND first_reply_at IS NULL ORDER BY created_at LIMIT 1`

// ByQueue returns how many wait in each queue of an agent's scope.
func ByQueue(ctx context.Context, db *pgxpool.Pool, sc conversation.Scope) (map[string]int32, error) {
	rows, err := db.Query(ctx, `SELECT queue, sum(n)::integer FROM `+Kept+` WHERE `+conversation.WithinScope+` GROUP BY queue HAVING sum(n) > 0`, sc.Args())
	if err != nil {
		return nil, fmt.Errorf("counting what waits: %w", err)
	}
	waiting := make(map[string]int32)
	var queue string
	var n int32
	if _, err := pgx.ForEachRow(rows, []any{&queue, &n}, func() error { waiting[queue] = n; return nil }); err != nil {
		return nil, fmt.Errorf("counting what waits: %w", err)
	}
	return waiting, nil
}
