package member

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// EraseMyData implements MessagingService.
func (m *Members) EraseMyData(ctx context.Context, _ *messagingpb.EraseMyDataRequest) (*messagingpb.EraseMyDataResponse, error) {
	member := auth.FromContext(ctx).Subject
	erased, err := m.erase(ctx, member)
	if err != nil {
		return nil, err
	}
	if erased > 0 {
		m.Wake()
		// The events no longer say whose the conversations were.
		m.Hints.Send(watch.Hint{Mark: watch.MarkOf(member)})
	}
	return &messagingpb.EraseMyDataResponse{Conversations: int32(erased)}, nil //nolint:gosec // a person's conversations
}

// ErasedKeyLife is how long the retry of an erased submission is recognised: far longer than
// any client retries by itself. The key of a submission that was not erased is recognised as
// long as the conversation is kept.
const ErasedKeyLife = 30 * 24 * time.Hour

// KeyDigest is what is left of a member's idempotency key.
const KeyDigest = `sha256(convert_to(member_id || ' ' || idempotency_key::text, 'UTF8'))`

// CheckErased is [conversation.ErrErased] if what was submitted under the key was erased,
// else [pgx.ErrNoRows].
func CheckErased(ctx context.Context, db postgres.Querier, member string, key uuid.UUID) error {
	_, err := postgres.One[int32](ctx, db, "looking for an erased key", `SELECT 1 FROM erased_key, (SELECT $1::text AS member_id, $2::uuid AS idempotency_key) AS given WHERE digest = `+KeyDigest, member, key)
	if err == nil {
		return conversation.ErrErased
	}
	return err
}

// ForgetErasedKeys deletes some of the keys that are older than life.
func ForgetErasedKeys(ctx context.Context, db postgres.Querier, life time.Duration) (int64, error) {
	return postgres.Exec(ctx, db, "deleting old keys", `DELETE FROM erased_key WHERE digest = ANY (ARRAY(
		SELECT digest FROM erased_key WHERE erased_at <= now() - $1::interval ORDER BY erased_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
		life, postgres.ForgetBatch)
}

// erase erases what a member wrote and how they are reached, in one
// transaction. The conversations lose their data keys and their member; their
// selection, times and state stay, because figures are made of them. A call
// under way may still hold a data key in memory until it ends.
func (m *Members) erase(ctx context.Context, member string) (erased int, err error) {
	err = pgx.BeginFunc(ctx, m.DB, func(tx pgx.Tx) error {
		if _, err := postgres.Many[uuid.UUID](ctx, tx, "locking conversations", `SELECT id FROM conversation WHERE member_id = $1 ORDER BY id FOR UPDATE`, member); err != nil {
			return err
		}
		rows, err := postgres.Many[conversation.Row](ctx, tx, "erasing conversations", `
			UPDATE conversation SET
				member_id = 'erased:' || id, data_key = '', erased_at = clock_timestamp(), status = 7, hidden = true,
				claimed_by = NULL, claimed_name = NULL, claim_expires = NULL, version = version + 1, updated_at = clock_timestamp()
			WHERE member_id = $1 RETURNING `+conversation.Columns, member)
		if err != nil {
			return err
		}
		erased = len(rows)
		ids := make([]uuid.UUID, len(rows))
		for i, row := range rows {
			ids[i] = row.ID
		}
		// Behind the update, so that the keys are those of what it has erased, neither more nor
		// fewer; a repeat waits for the end of this (see failErasedSQL).
		if _, err := tx.Exec(ctx, `INSERT INTO erased_key (digest)
			SELECT `+KeyDigest+` FROM (SELECT $1::text AS member_id, idempotency_key FROM conversation WHERE id = ANY($2)) AS c ON CONFLICT DO NOTHING`,
			member, ids); err != nil {
			return fmt.Errorf("keeping the keys of what is erased: %w", err)
		}
		return eraseRows(ctx, tx, member, rows)
	})
	return erased, err
}

func eraseRows(ctx context.Context, tx pgx.Tx, member string, rows []conversation.Row) error {
	batch := &pgx.Batch{}
	var events []outbox.Event
	for i := range rows {
		happened, err := conversation.Erased(ctx, rows[i])
		if err != nil {
			return err
		}
		batch.Queue(`UPDATE message SET body = '' WHERE conversation_id = $1`, rows[i].ID)
		events = append(events, happened)
	}
	if len(events) > 0 {
		outbox.Append(batch, events)
	}
	batch.Queue(`DELETE FROM draft WHERE member_id = $1`, member)
	batch.Queue(`DELETE FROM watch_ticket WHERE subject = $1`, member)
	batch.Queue(`DELETE FROM member WHERE id = $1`, member)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("erasing %d conversations: %w", len(rows), err)
	}
	return nil
}
