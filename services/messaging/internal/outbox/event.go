package outbox

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Event is one row of the event log and of the outbox.
type Event struct {
	ID             uuid.UUID `db:"id"`
	Type           string    `db:"type"`
	Caisse         string    `db:"caisse"`
	ConversationID uuid.UUID `db:"conversation_id"`
	Payload        []byte    `db:"payload"`
	// Trace is the W3C traceparent of the call that caused it, so that the trace goes on at
	// whoever consumes the event.
	Trace string `db:"trace"`
}

// eventRows are events as they are written.
var eventRows = postgres.RowsOf[Event]()

// Append queues the statement that writes events to the log and the outbox.
func Append(batch *pgx.Batch, events []Event) {
	batch.Queue(`
		WITH happened AS (
			SELECT * FROM `+eventRows.From("given", 1)+`
		), logged AS (
			INSERT INTO event_log (id, type, caisse, conversation_id, payload)
			SELECT id, type, caisse, conversation_id, payload FROM happened
		)
		INSERT INTO outbox (`+eventRows.Columns()+`) SELECT `+eventRows.Columns()+` FROM happened`, eventRows.Args(events)...)
}
