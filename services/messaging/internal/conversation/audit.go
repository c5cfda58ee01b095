package conversation

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
)

// Audit notes in the transaction that an agent did something to a conversation.
func Audit(ctx context.Context, tx pgx.Tx, agent string, action lifecycle.Action, id uuid.UUID) error {
	_, err := postgres.Exec(ctx, tx, "auditing", `INSERT INTO audit (agent_id, action, conversation_id) VALUES ($1, $2, $3)`, agent, action, id)
	return err
}

// Act is an entry of the audit.
type Act struct {
	Action lifecycle.Action `db:"action"`
	At     time.Time        `db:"at"`
}

// Acts returns what agents did to a conversation, readings aside.
func Acts(ctx context.Context, db postgres.Querier, id uuid.UUID) ([]Act, error) {
	return postgres.Many[Act](ctx, db, "reading the audit",
		`SELECT action, at FROM audit WHERE conversation_id = $1 AND action <> $2 ORDER BY at, seq`, id, lifecycle.Read)
}
