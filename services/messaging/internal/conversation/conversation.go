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
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
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
	// NewestMessageID is the last message, for lists; nil in rows of earlier binaries, which do
	// not keep it up to date either.
	NewestMessageID *uuid.UUID `db:"newest_message_id"`
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
	// WaitsSince is since when it waits for the fund, or when it last began to.
	WaitsSince time.Time `db:"waits_since" sql:"coalesce(waits_since, created_at)"`
}

// Columns are those of a Row.
var Columns = postgres.Columns[Row]()

// Message is a row of the table message.
type Message struct {
	ID             uuid.UUID `db:"id"`
	ConversationID uuid.UUID `db:"conversation_id"`
	Author         int16     `db:"author"`
	AgentID        *string   `db:"agent_id"`
	// AgentName and Machine say who an agent or a machine was, as colleagues know them, and
	// Service which one was in charge; nil for a member, and for what an earlier version has
	// stored.
	AgentName *string   `db:"agent_name"`
	Machine   *bool     `db:"machine"`
	Service   *string   `db:"service"`
	Final     bool      `db:"final"`
	Body      []byte    `db:"body"`
	CreatedAt time.Time `db:"created_at"`
}

// MessageColumns are those of a Message.
var MessageColumns = postgres.Columns[Message]()

// Standing is what a conversation's messages say of it to who would answer.
type Standing struct {
	// LastMessageID is the last message of the member or of an agent.
	LastMessageID uuid.UUID `db:"last_message_id"`
	// Answered: the member's last message has a final answer.
	Answered bool `db:"answered"`
}

// StandingOf is that of a conversation with these messages, oldest first.
func StandingOf(messages []Message) (standing Standing) {
	for i := range messages {
		standing.add(messages[i].ID, messages[i].Author == int16(messagingpb.Author_MEMBER), messages[i].Final)
	}
	return standing
}

// add counts one more message.
func (s *Standing) add(id uuid.UUID, ofMember, final bool) {
	s.LastMessageID, s.Answered = id, !ofMember && (s.Answered || final)
}

// After is what it is once a message was added.
func (s Standing) After(message *Message) Standing {
	s.add(message.ID, message.Author == int16(messagingpb.Author_MEMBER), message.Final)
	return s
}

// Listed is a row in a list of agents: with its last message, zero if that has just gone.
type Listed struct {
	Row
	LastMessageID uuid.UUID `db:"last_message_id" sql:"coalesce(conversation.newest_message_id, (SELECT message.id FROM message WHERE message.conversation_id = conversation.id ORDER BY message.created_at DESC, message.id DESC LIMIT 1), '00000000-0000-0000-0000-000000000000')"`
}

// ListedColumns are those of a Listed.
var ListedColumns = postgres.Columns[Listed]()

// Account is what is stored of who writes, sealed: see package member.
type Account struct {
	// KeyID is the key that both are sealed by.
	KeyID uuid.UUID `db:"key_id"`
	// Contact is what their account says, and Chosen how they wish to be notified.
	Contact []byte `db:"contact"`
	Chosen  []byte `db:"chosen"`
}

var accountColumns = postgres.Columns[Account]()

// Full is a conversation with what was written in it, oldest first.
type Full struct {
	Row
	Standing
	Messages []Message
	Notes    []Note
	// Account is that of the member, for agents alone; nil if nothing is stored of them.
	Account *Account
}

// QueueRead queues the statements that read the messages and notes of a conversation into full.
func QueueRead(batch *pgx.Batch, id uuid.UUID, full *Full) {
	batch.Queue(`SELECT `+MessageColumns+` FROM message WHERE conversation_id = $1 ORDER BY created_at, id`, id).Query(func(rows pgx.Rows) (err error) {
		full.Messages, err = pgx.CollectRows(rows, pgx.RowToStructByName[Message])
		full.Standing = StandingOf(full.Messages)
		return err
	})
	batch.Queue(`SELECT `+NoteColumns+` FROM note WHERE conversation_id = $1 ORDER BY created_at, id`, id).Query(func(rows pgx.Rows) (err error) {
		full.Notes, err = pgx.CollectRows(rows, pgx.RowToStructByName[Note])
		return err
	})
}

// QueueAccount queues the statement that reads who writes into full.
func QueueAccount(batch *pgx.Batch, member string, full *Full) {
	batch.Queue(`SELECT `+accountColumns+` FROM member WHERE id = $1`, member).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[Account])
		if len(found) > 0 {
			full.Account = found[0]
		}
		return err
	})
}
