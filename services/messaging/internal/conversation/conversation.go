// Package conversation is shared by everything about conversations: their rows, with columns
// matched by name, who may see them, their events, their audit and their entity tags, and how
// they are shown.
//
// A column is added by a migration and a field of [Row] (of [Opened] if submissions give
// it); statements take it from there.
package conversation

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Opened is what a submission gives of a row of the table conversation.
type Opened struct {
	ID              uuid.UUID `db:"id"`
	MemberID        string    `db:"member_id"`
	Reference       string    `db:"reference"`
	Caisse          string    `db:"caisse"`
	Audience        int16     `db:"audience"`
	TaxonomyVersion int32     `db:"taxonomy_version"`
	Theme           string    `db:"theme"`
	ThemeLabel      string    `db:"theme_label"`
	Topic           string    `db:"topic"`
	TopicLabel      string    `db:"topic_label"`
	Reason          string    `db:"reason"`
	ReasonLabel     string    `db:"reason_label"`
	Queue           string    `db:"queue"`
	QueueLabel      string    `db:"queue_label"`
	AnswerDays      int16     `db:"answer_days"`
	// KeyID is the key that its texts are sealed by (package vault).
	KeyID uuid.UUID `db:"key_id"`
	// RetentionYears is how long it is kept after its end, by the taxonomy when it was
	// selected; nil: as long as the setting says.
	RetentionYears *int16 `db:"retention_years"`
}

// Row is a row of the table conversation.
type Row struct {
	Opened
	Status       int16      `db:"status"`
	Version      int32      `db:"version"`
	Hidden       bool       `db:"hidden"`
	LastReplyID  *uuid.UUID `db:"last_reply_id"`
	Unread       bool       `db:"unread"`
	FirstReplyAt *time.Time `db:"first_reply_at"`
	ErasedAt     *time.Time `db:"erased_at"`
	// HeldAt: it is on hold since, whatever its term is; HoldNote says why, sealed.
	HeldAt       *time.Time `db:"held_at"`
	HoldNote     []byte     `db:"hold_note"`
	ClaimedBy    *string    `db:"claimed_by"`
	ClaimedName  *string    `db:"claimed_name"`
	ClaimExpires *time.Time `db:"claim_expires"`
	// ClaimHeld: the claim has not lapsed, by the database's clock.
	ClaimHeld bool      `db:"claim_held" sql:"coalesce(claim_expires > now(), false)"`
	CreatedAt time.Time `db:"created_at"`
	UpdatedAt time.Time `db:"updated_at"`
}

// Columns are those of a Row.
var Columns = postgres.Columns[Row]()

// Message is a row of the table message.
type Message struct {
	ID             uuid.UUID `db:"id"`
	ConversationID uuid.UUID `db:"conversation_id"`
	Author         int16     `db:"author"`
	AgentID        *string   `db:"agent_id"`
	Final          bool      `db:"final"`
	Body           []byte    `db:"body"`
	CreatedAt      time.Time `db:"created_at"`
}

// MessageColumns are those of a Message.
var MessageColumns = postgres.Columns[Message]()

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

// Full is a conversation with what was written in it, oldest first.
type Full struct {
	Row
	Messages []Message
	Notes    []Note
}

// QueueRead queues the statements that read the messages and notes of a conversation into full.
func QueueRead(batch *pgx.Batch, id uuid.UUID, full *Full) {
	batch.Queue(`SELECT `+MessageColumns+` FROM message WHERE conversation_id = $1 ORDER BY created_at, id`, id).Query(func(rows pgx.Rows) (err error) {
		full.Messages, err = pgx.CollectRows(rows, pgx.RowToStructByName[Message])
		return err
	})
	batch.Queue(`SELECT `+NoteColumns+` FROM note WHERE conversation_id = $1 ORDER BY created_at, id`, id).Query(func(rows pgx.Rows) (err error) {
		full.Notes, err = pgx.CollectRows(rows, pgx.RowToStructByName[Note])
		return err
	})
}
