package ledger

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// replayMost bounds one replay of each kind.
const replayMost = 10_000

// Replay plans anew the deliveries among the dead letters that a filter selects.
// It goes by the ledger's own rows under their locks: one that is no dead letter
// any more, because it was replayed a moment ago or a report has come, stays as it
// is. Doubts are kept, so that the provider is asked before anything is sent that
// it may have taken.
func (l *Ledger) Replay(ctx context.Context, operator string, f Filter) (int32, error) {
	f.Deliveries = true
	where, args := f.where()
	args["limit"], args["operator"], args["sms"], args["email"] = replayMost, operator, smsLifetime, emailLifetime
	return postgres.One[int32](ctx, l.pool, "replaying dead letters", `
		WITH chosen AS (
			SELECT id, channel, state AS was FROM `+deadDeliveries+` AS letter WHERE `+where+` ORDER BY ended_at, id, channel LIMIT @limit
		), locked AS (
			SELECT d.event_id, d.channel FROM delivery AS d JOIN chosen ON d.event_id = chosen.id AND d.channel = chosen.channel
			WHERE d.state = chosen.was AND d.dropped_at IS NULL
			ORDER BY d.event_id, d.channel FOR UPDATE OF d
		), again AS (
			UPDATE delivery AS d
			SET state = 'planned', attempts = 0, reason = '', next_attempt_at = now(), lease_until = NULL, updated_at = now(),
			    expires_at = now() + CASE d.channel WHEN 'SMS' THEN @sms::interval ELSE @email::interval END
			FROM locked WHERE d.event_id = locked.event_id AND d.channel = locked.channel
			RETURNING d.event_id, d.channel
		), noted AS (
			INSERT INTO intervention (operator, action, target) SELECT @operator, 'replay', event_id || '.' || channel FROM again
		)
		SELECT count(*) FROM again`, args)
}

// Drop takes a dead letter off the list for good and reports whether it was on it.
func (l *Ledger) Drop(ctx context.Context, operator string, id uuid.UUID, channel, note string) (bool, error) {
	change := `UPDATE delivery SET dropped_at = now(), drop_note = @note FROM chosen WHERE event_id = chosen.id AND delivery.channel = chosen.channel AND dropped_at IS NULL
		AND delivery.state IN ('refused', 'expired', 'bounced', 'suppressed') RETURNING 1`
	if channel == Event {
		change = `UPDATE set_aside SET ended_at = now(), note = @note FROM chosen WHERE set_aside.id = chosen.id AND ended_at IS NULL RETURNING 1`
	}
	dropped, err := postgres.Exec(ctx, l.pool, "dropping a dead letter", `
		WITH chosen AS (SELECT id, channel FROM `+deadOf[channel == Event]+` AS letter WHERE id = @id AND channel = @channel), dropped AS (`+change+`)
		INSERT INTO intervention (operator, action, target, note) SELECT @operator, 'drop', @id::text || '.' || @channel::text, @note FROM dropped`,
		pgx.NamedArgs{"id": id, "channel": channel, "note": note, "operator": operator})
	return dropped > 0, err
}
