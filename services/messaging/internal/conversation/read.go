package conversation

import (
	"context"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// OfMember returns a conversation of this member's.
func OfMember(ctx context.Context, db postgres.Querier, member string, id uuid.UUID) (Row, error) {
	return postgres.One[Row](ctx, db, "reading a conversation", `SELECT `+Columns+` FROM conversation WHERE id = $1 AND member_id = $2`, id, member)
}

// Messages returns the messages of a conversation, oldest first.
func Messages(ctx context.Context, db postgres.Querier, id uuid.UUID) ([]Message, error) {
	return postgres.Many[Message](ctx, db, "reading messages",
		`SELECT `+MessageColumns+` FROM message WHERE conversation_id = $1 ORDER BY created_at, id`, id)
}

// Unread counts a member's conversations with an unread reply.
func Unread(ctx context.Context, db postgres.Querier, member string) (int32, error) {
	return postgres.One[int32](ctx, db, "counting unread conversations", `SELECT count(*)::integer FROM conversation WHERE member_id = $1 AND unread`, member)
}
