package conversation

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
)

// Audited is that an agent did something to a conversation.
type Audited struct {
	AgentID        string           `db:"agent_id"`
	Action         lifecycle.Action `db:"action"`
	ConversationID uuid.UUID        `db:"conversation_id"`
}

var auditedRows = postgres.RowsOf[Audited]()

// QueueAudit queues the statement that records agents' actions.
func QueueAudit(batch *pgx.Batch, done []Audited) {
	batch.Queue(`INSERT INTO audit (`+auditedRows.Columns()+`) SELECT * FROM `+auditedRows.From("given", 1), auditedRows.Args(done)...)
}

// Audit records one action at once.
func Audit(ctx context.Context, tx pgx.Tx, agent string, action lifecycle.Action, id uuid.UUID) error {
	batch := &pgx.Batch{}
	QueueAudit(batch, []Audited{{agent, action, id}})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("auditing: %w", err)
	}
	return nil
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
