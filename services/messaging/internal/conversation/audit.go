package conversation

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
)

// Audited is that somebody did something to a conversation, or looked for some.
type Audited struct {
	// AgentID is empty for a member, whose acts are not told by whom.
	AgentID   string           `db:"agent_id"`
	AgentName string           `db:"agent_name"`
	Client    string           `db:"client"`
	Caisse    string           `db:"caisse"`
	Action    lifecycle.Action `db:"action"`
	// ConversationID is zero where none was found.
	ConversationID uuid.UUID `db:"conversation_id"`
	// Service is the label of the queue that was in charge.
	Service string `db:"service"`
	// Target is what it was done with: the code of a queue, or the id of a colleague.
	Target string `db:"target"`
}

// By is what an agent did to a conversation, as it was before.
func By(agent *auth.Identity, action lifecycle.Action, row *Row) Audited {
	return Audited{
		AgentID: agent.Subject, AgentName: AgentName(agent), Client: agent.Client, Caisse: row.Caisse,
		Action: action, ConversationID: row.ID, Service: row.QueueLabel,
	}
}

// AgentName is an agent as colleagues know them, or a machine by its client's name.
func AgentName(agent *auth.Identity) string { return cmp.Or(agent.Name, agent.Client, agent.Subject) }

var auditedRows = postgres.RowsOf[Audited]()

// QueueAudit queues the statement that records agents' actions.
func QueueAudit(batch *pgx.Batch, done []Audited) {
	// An end comes behind the sentence that goes with it, which is stored at its own time.
	batch.Queue(`INSERT INTO audit (`+auditedRows.Columns()+`, at)
		SELECT `+auditedRows.Columns()+`, CASE WHEN action = 'close' THEN clock_timestamp() ELSE now() END FROM `+auditedRows.From("given", 1), auditedRows.Args(done)...)
}

// Audit records one action at once.
func Audit(ctx context.Context, tx pgx.Tx, done Audited) error {
	batch := &pgx.Batch{}
	QueueAudit(batch, []Audited{done})
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

// readingsMost is how many readings of one conversation are counted at most, the last ones.
const readingsMost = 10_000

// Readings returns which services have read each of some conversations, the first reader first:
// as far as the audit is kept, and of each conversation the last 10,000 times. An entry of a
// binary from before the audit knew the service counts for the one that is in charge now.
func Readings(ctx context.Context, db postgres.Querier, ids []uuid.UUID) (map[uuid.UUID][]*messagingpb.Reading, error) {
	rows, err := postgres.Many[struct {
		ID      uuid.UUID `db:"id"`
		Service string    `db:"service"`
		Times   int32     `db:"times"`
		FirstAt time.Time `db:"first_at"`
		LastAt  time.Time `db:"last_at"`
	}](ctx, db, "reading who has read", `
		SELECT c.id, coalesce(nullif(a.service, ''), c.queue_label) AS service, count(*)::integer AS times, min(at) AS first_at, max(at) AS last_at
		FROM conversation AS c, LATERAL (
			SELECT service, at FROM audit WHERE conversation_id = c.id AND action = $2 ORDER BY at DESC LIMIT $3) AS a
		WHERE c.id = ANY ($1) GROUP BY 1, 2 ORDER BY 1, 4, 2`, ids, lifecycle.Read, readingsMost)
	if err != nil {
		return nil, err
	}
	found := make(map[uuid.UUID][]*messagingpb.Reading)
	for _, row := range rows {
		found[row.ID] = append(found[row.ID], &messagingpb.Reading{
			Service: row.Service, Times: row.Times, FirstTime: timestamppb.New(row.FirstAt), LastTime: timestamppb.New(row.LastAt),
		})
	}
	return found, nil
}
