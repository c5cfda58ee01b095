package conversation

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Note is a row of the table note.
type Note struct {
	ID             uuid.UUID `db:"id"`
	ConversationID uuid.UUID `db:"conversation_id"`
	AgentID        string    `db:"agent_id"`
	AgentName      string    `db:"agent_name"`
	Body           []byte    `db:"body"`
	CreatedAt      time.Time `db:"created_at"`
}

// NoteColumns are those of a Note.
var NoteColumns = postgres.Columns[Note]()

// NewNote is what is given of a row of the table note.
type NewNote struct {
	ID             uuid.UUID `db:"id"`
	ConversationID uuid.UUID `db:"conversation_id"`
	AgentID        string    `db:"agent_id"`
	AgentName      string    `db:"agent_name"`
	IdempotencyKey uuid.UUID `db:"idempotency_key"`
	Body           []byte    `db:"body"`
	BodyChars      int16     `db:"body_chars"`
}

var (
	newNotes   = postgres.RowsOf[NewNote]()
	addNoteSQL = `INSERT INTO note (` + newNotes.Columns() + `) SELECT * FROM ` + newNotes.From("given", 1) + `
		ON CONFLICT (agent_id, idempotency_key) DO NOTHING`
)

// AddNote stores a note, and reports whether it did: not where the agent has used its key.
func AddNote(ctx context.Context, tx pgx.Tx, note NewNote) (stored bool, err error) {
	batch := &pgx.Batch{}
	QueueNote(batch, note, &stored)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return false, fmt.Errorf("storing a note: %w", err)
	}
	return stored, nil
}

// QueueNote queues the statement that stores a note, and sets stored as AddNote returns it.
func QueueNote(batch *pgx.Batch, note NewNote, stored *bool) {
	batch.Queue(addNoteSQL, newNotes.Args([]NewNote{note})...).Exec(func(tag pgconn.CommandTag) error {
		*stored = tag.RowsAffected() == 1
		return nil
	})
}
