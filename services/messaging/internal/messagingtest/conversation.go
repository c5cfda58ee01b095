package messagingtest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/uuidv7"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// IDAt is an id of a row that was made at a time.
func IDAt(at time.Time) uuid.UUID {
	id, random := uuidv7.First(at), uuid.New()
	id[6], id[8] = 0x70, 0x80
	copy(id[9:], random[9:])
	return id
}

// Insert stores a conversation of msa-75 about health, with its first message and its event,
// none of which can be opened, unless it is there.
func Insert(ctx context.Context, db postgres.Querier, member string, id uuid.UUID) error {
	_, err := postgres.Exec(ctx, db, "storing a conversation", `
		WITH opened AS (
			INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, queue, queue_label)
			VALUES ($1, $2, gen_random_uuid(), 'MSA-' || $1::uuid::text, 'msa-75', 1, 1, 'sante', 'Santé', 'sante', 'Service santé')
			ON CONFLICT DO NOTHING RETURNING id
		), logged AS (
			INSERT INTO event_log (id, type, caisse, conversation_id, payload) SELECT gen_random_uuid(), 'message-submitted', 'msa-75', id, '' FROM opened RETURNING *
		), sent AS (
			INSERT INTO outbox (id, type, caisse, conversation_id, payload) SELECT id, type, caisse, conversation_id, payload FROM logged
		)
		INSERT INTO message (id, conversation_id, author, body, body_chars) SELECT gen_random_uuid(), id, 1, '\x00', 10 FROM opened`, id, member)
	return err
}

// Converse stores a conversation, see [Insert].
func Converse(t testing.TB, db postgres.Querier, member string) uuid.UUID {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	if err := Insert(t.Context(), db, member, id); err != nil {
		t.Fatal(err)
	}
	return id
}

// Seal gives a conversation its member's key, and has its first message say something.
func Seal(t testing.TB, db *pgxpool.Pool, keys *vault.Vault, id uuid.UUID, said string) {
	t.Helper()
	member, err := postgres.One[string](t.Context(), db, "reading a member", `SELECT member_id FROM conversation WHERE id = $1`, id)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.Of(t.Context(), member)
	if err != nil {
		t.Fatal(err)
	}
	message, err := postgres.One[uuid.UUID](t.Context(), db, "giving a conversation a key",
		`UPDATE conversation c SET key_id = $2 FROM message m WHERE c.id = $1 AND m.conversation_id = c.id RETURNING m.id`, id, key.ID)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := key.Texts(id)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := texts.SealMessage(message, 1, said)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), `UPDATE message SET body = $2 WHERE id = $1`, message, sealed); err != nil {
		t.Fatal(err)
	}
}
