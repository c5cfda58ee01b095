package upkeep

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// The table conversation_kind has the queue, theme, topic, reason and profile of every
// conversation there is, so that lists of agents know where to look. Triggers of migration
// 00024 add what is stored or changed; what was there before them is added here, and what no
// conversation has any more is deleted.

const (
	// kindBackfill is the name of the backfill of kinds.
	kindBackfill = "conversation_kind"
	// unusedKindAge is how long a kind is marked as unused before it is deleted: much longer than
	// any transaction, so that whoever did not see the mark has stored what has the kind.
	unusedKindAge = 24 * time.Hour
)

// FillKinds adds the kinds of conversations from before the triggers, unless that was done.
// Whoever lists conversations before does not find them: it comes before a process serves. It
// goes from each number of a kind to the next in the index conversation_kind_waits, and reads as
// much as there are kinds. Any number of processes may do so at once.
func (u *Upkeep) FillKinds(ctx context.Context) error {
	return pgx.BeginFunc(ctx, u.DB, func(tx pgx.Tx) error {
		ended, err := postgres.One[bool](ctx, tx, "reading whether kinds are filled in", `SELECT EXISTS (SELECT FROM backfill WHERE name = $1 AND ended_at IS NOT NULL)`, kindBackfill)
		if err != nil || ended {
			return err
		}
		if _, err := postgres.Exec(ctx, tx, "filling in kinds", `
			WITH RECURSIVE kind AS (
				(SELECT `+kindColumns+`, `+kindNumber+` AS number FROM conversation ORDER BY `+kindNumber+` LIMIT 1)
				UNION ALL
				SELECT next.* FROM kind, LATERAL (
					SELECT `+kindColumns+`, `+kindNumber+` FROM conversation WHERE `+kindNumber+` > kind.number ORDER BY `+kindNumber+` LIMIT 1) AS next
			)
			INSERT INTO conversation_kind (`+kindColumns+`) SELECT `+kindColumns+` FROM kind ORDER BY `+kindColumns+` ON CONFLICT DO NOTHING`); err != nil {
			return err
		}
		_, err = postgres.Exec(ctx, tx, "noting that kinds are filled in", `INSERT INTO backfill (name, ended_at) VALUES ($1, now()) ON CONFLICT (name) DO UPDATE SET ended_at = now()`, kindBackfill)
		return err
	})
}

const (
	kindColumns = `caisse, queue, theme, topic, reason, audience`
	// kindNumber is literally as the indexes have it.
	kindNumber = `kind_number(` + kindColumns + `)`
)

// forgetKinds marks kinds that no conversation has, and deletes those that have been marked for
// the term and that none has either. A conversation that is stored meanwhile takes the mark
// away: its transaction waits for the deletion, or the deletion for it.
func (u *Upkeep) forgetKinds(ctx context.Context, term time.Duration) (int64, error) {
	const unused = `NOT EXISTS (SELECT FROM conversation AS c WHERE kind_number(c.caisse, c.queue, c.theme, c.topic, c.reason, c.audience) = kind_number(k.caisse, k.queue, k.theme, k.topic, k.reason, k.audience))`
	if _, err := postgres.Exec(ctx, u.DB, "marking unused kinds", `UPDATE conversation_kind AS k SET unused_since = now() WHERE unused_since IS NULL AND `+unused); err != nil {
		return 0, fmt.Errorf("forgetting kinds: %w", err)
	}
	return postgres.Exec(ctx, u.DB, "forgetting kinds", `DELETE FROM conversation_kind AS k WHERE unused_since < now() - $1::interval AND `+unused, term)
}
