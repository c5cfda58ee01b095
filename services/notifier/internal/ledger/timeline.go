package ledger

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Entry is a delivery as a conversation's timeline shows it.
type Entry struct {
	EventID   uuid.UUID `db:"event_id"`
	Channel   Channel   `db:"channel"`
	EventType EventType `db:"event_type"`
	State     State     `db:"state"`
	Reason    string    `db:"reason"`
	// Attempts counts the one under way.
	Attempts   int       `db:"attempts"`
	OccurredAt time.Time `db:"occurred_at"`
	UpdatedAt  time.Time `db:"updated_at"`
}

// Timeline returns deliveries of a conversation, oldest first, after a place; nil is the
// beginning.
func (l *Ledger) Timeline(ctx context.Context, conversation uuid.UUID, after *Place, limit int) ([]Entry, error) {
	args := pgx.NamedArgs{"conversation": conversation, "limit": limit}
	from := ``
	if after != nil {
		from = ` AND (occurred_at, event_id, channel) > (@at, @event, @channel)`
		args["at"], args["event"], args["channel"] = after.At, after.ID, after.Channel
	}
	return postgres.Many[Entry](ctx, l.pool, "reading a timeline", `
		SELECT `+postgres.Columns[Entry]()+` FROM delivery
		WHERE conversation_id = @conversation`+from+` ORDER BY occurred_at, event_id, channel LIMIT @limit`, args)
}
