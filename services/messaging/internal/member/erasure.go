package member

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
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

// erase erases what a member wrote and how they are reached: first the keys that it was sealed
// by, then, in one transaction, the rows. Of the conversations, their selection, times and state
// stay, without a member, because figures are made of them. What the member writes from now
// on has another key. A call under way may still hold a key in memory until it ends.
func (m *Members) erase(ctx context.Context, member string) (erased int, err error) {
	keys, err := m.keysOf(ctx, member)
	if err != nil {
		return 0, err
	}
	if keys, err = m.Vault.Erase(ctx, member, keys); err != nil {
		return 0, fmt.Errorf("erasing a member's keys: %w", err)
	}
	// What an earlier version has sealed has no key to be told by.
	with := append(slices.Clip(keys), uuid.Nil)
	err = pgx.BeginFunc(ctx, m.DB, func(tx pgx.Tx) error {
		ids, err := postgres.Many[uuid.UUID](ctx, tx, "locking conversations",
			`SELECT id FROM conversation WHERE member_id = $1 AND key_id = ANY($2) ORDER BY id FOR UPDATE`, member, with)
		if err != nil {
			return err
		}
		erased = len(ids)
		if err := eraseConversations(ctx, tx, ids); err != nil {
			return err
		}
		batch := &pgx.Batch{}
		batch.Queue(`DELETE FROM draft WHERE member_id = $1 AND key_id = ANY($2)`, member, with)
		batch.Queue(`DELETE FROM watch_ticket WHERE subject = $1`, member)
		batch.Queue(`DELETE FROM member WHERE id = $1 AND key_id = ANY($2)`, member, with)
		// It names the member, whose keys are gone already. There is no index: rows live for a day.
		batch.Queue(`DELETE FROM unused_key WHERE member_id = $1`, member)
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		return m.Vault.Ended(ctx, tx, keys)
	})
	if err != nil {
		return 0, fmt.Errorf("erasing a member's rows: %w", err)
	}
	return erased, nil
}

// keysOf returns the ids of the keys that anything of a member's is sealed by.
func (m *Members) keysOf(ctx context.Context, member string) ([]uuid.UUID, error) {
	return postgres.Many[uuid.UUID](ctx, m.DB, "looking for a member's keys", `
		SELECT key_id FROM (
			SELECT key_id FROM conversation WHERE member_id = $1
			UNION SELECT key_id FROM draft WHERE member_id = $1
			UNION SELECT key_id FROM member WHERE id = $1
		) AS sealed WHERE key_id <> $2`, member, uuid.Nil)
}

// eraseConversations erases conversations that are locked, and has the audit say so of each,
// without by whom.
func eraseConversations(ctx context.Context, tx pgx.Tx, ids []uuid.UUID) error {
	// A repeat of an erased submission waits for the end of this (see failErasedSQL).
	if _, err := postgres.Exec(ctx, tx, "keeping the keys of what is erased",
		`INSERT INTO erased_key (digest) SELECT `+KeyDigest+` FROM conversation WHERE id = ANY($1) ON CONFLICT DO NOTHING`, ids); err != nil {
		return err
	}
	rows, err := postgres.Many[conversation.Row](ctx, tx, "erasing conversations", `
		UPDATE conversation SET
			member_id = 'erased:' || id, data_key = NULL, erased_at = clock_timestamp(), status = 7, hidden = true,
			claimed_by = NULL, claimed_name = NULL, claim_expires = NULL, held_at = NULL, hold_note = NULL, version = version + 1, updated_at = clock_timestamp()
		WHERE id = ANY($1) RETURNING `+conversation.Columns, ids)
	if err != nil {
		return err
	}
	events, done := make([]outbox.Event, len(rows)), make([]conversation.Audited, len(rows))
	for i := range rows {
		done[i] = conversation.Audited{Caisse: rows[i].Caisse, Action: lifecycle.Erase, ConversationID: rows[i].ID, Service: rows[i].QueueLabel}
		if events[i], err = conversation.Erased(ctx, rows[i]); err != nil {
			return err
		}
	}
	batch := &pgx.Batch{}
	batch.Queue(`UPDATE message SET body = '' WHERE conversation_id = ANY($1)`, ids)
	batch.Queue(`UPDATE note SET body = '' WHERE conversation_id = ANY($1)`, ids)
	batch.Queue(`DELETE FROM agent_draft WHERE conversation_id = ANY($1)`, ids)
	if len(events) > 0 {
		outbox.Append(batch, events)
		conversation.QueueAudit(batch, done)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("erasing %d conversations: %w", len(rows), err)
	}
	return nil
}

const (
	// reconcileEvery is how often it is looked whether the two databases know the same
	// erasures, and reconcileTimeout bounds one step of what follows from it.
	reconcileEvery   = 5 * time.Minute
	reconcileTimeout = 10 * time.Second
	// againPage is how many conversations are looked at in one step.
	againPage = 2000
)

// EraseAgain erases all that keys have sealed which are gone, as [vault.Vault.Reconcile]
// returns them when messaging's database came back from before. Whose that was is not known
// any more: all conversations are looked at, page by page.
func (m *Members) EraseAgain(ctx context.Context, keys []uuid.UUID) error {
	if len(keys) == 0 {
		return nil
	}
	slog.WarnContext(ctx, "erasing again what was erased: the database came back from before, or an erasure was cut off", "keys", len(keys))
	for after, more := uuid.Nil, true; more; {
		var err error
		if after, more, err = m.eraseAgainAfter(ctx, after, keys); err != nil {
			return fmt.Errorf("erasing again: %w", err)
		}
	}
	m.Wake()
	return m.Vault.Ended(ctx, m.DB, keys)
}

// eraseAgainAfter does so for the conversations after an id, and returns the last it looked
// at.
func (m *Members) eraseAgainAfter(ctx context.Context, after uuid.UUID, keys []uuid.UUID) (last uuid.UUID, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	err = pgx.BeginFunc(ctx, m.DB, func(tx pgx.Tx) error {
		page, err := postgres.Many[struct {
			ID  uuid.UUID `db:"id"`
			Key uuid.UUID `db:"key_id"`
		}](ctx, tx, "looking for what was erased", `SELECT id, key_id FROM conversation WHERE id > $1 ORDER BY id LIMIT $2`, after, againPage)
		if err != nil {
			return err
		}
		if len(page) == 0 { // what is small comes last
			batch := &pgx.Batch{}
			batch.Queue(`DELETE FROM draft WHERE key_id = ANY($1)`, keys)
			batch.Queue(`DELETE FROM member WHERE key_id = ANY($1)`, keys)
			batch.Queue(`DELETE FROM unused_key WHERE id = ANY($1)`, keys)
			return tx.SendBatch(ctx, batch).Close()
		}
		last, more = page[len(page)-1].ID, true
		var found []uuid.UUID
		for _, row := range page {
			if slices.Contains(keys, row.Key) {
				found = append(found, row.ID)
			}
		}
		if len(found) == 0 {
			return nil
		}
		if found, err = postgres.Many[uuid.UUID](ctx, tx, "locking conversations",
			`SELECT id FROM conversation WHERE id = ANY($1) AND erased_at IS NULL ORDER BY id FOR UPDATE`, found); err != nil {
			return err
		}
		return eraseConversations(ctx, tx, found)
	})
	return last, more && err == nil, err
}

// KeepReconciled compares the erasures of the two databases now and then until ctx is done.
func (m *Members) KeepReconciled(ctx context.Context) {
	for chassis.Sleep(ctx, reconcileEvery) {
		again, err := m.Vault.Reconcile(ctx)
		if err == nil {
			err = m.EraseAgain(ctx, again)
		}
		if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "comparing the erasures of the two databases; it is tried again", "error", err)
		}
	}
}
