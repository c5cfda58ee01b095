package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// AddNote adds an internal note. It changes nothing that the member could see, not
// even when the conversation was last changed, so neither a colleague's claim nor a
// closed conversation prevents it.
func (s *Server) AddNote(ctx context.Context, req *messagingpb.AddNoteRequest) (*messagingpb.AddNoteResponse, error) {
	id := auth.FromContext(ctx)
	written, err := text.OfNote.Normalise(req.GetText())
	if err != nil {
		return nil, err
	}
	within, key := uuid.MustParse(req.GetId()), rpc.IdempotencyKey(ctx)
	found, added, err := s.addNote(ctx, id, within, key, written)
	var needed *vault.NeededError
	if errors.As(err, &needed) { // and not under the conversation's lock
		if _, err = s.Vault.Key(ctx, needed.Member, needed.ID); err == nil {
			found, added, err = s.addNote(ctx, id, within, key, written)
		}
	}
	if err != nil {
		return nil, err
	}
	if added {
		s.Hints.Send(watch.Hint{Conversation: found.ID, Agents: true})
	} else {
		rpc.Replayed(ctx)
	}
	full, err := s.inFull(ctx, found, id)
	if err != nil {
		return nil, err
	}
	return &messagingpb.AddNoteResponse{Conversation: full}, nil
}

// storedNote is what is given of a row of the table note.
type storedNote struct {
	ID             uuid.UUID `db:"id"`
	ConversationID uuid.UUID `db:"conversation_id"`
	AgentID        string    `db:"agent_id"`
	AgentName      string    `db:"agent_name"`
	IdempotencyKey uuid.UUID `db:"idempotency_key"`
	Body           []byte    `db:"body"`
	BodyChars      int16     `db:"body_chars"`
}

var (
	storedNotes = postgres.RowsOf[storedNote]()

	addNoteSQL = `INSERT INTO note (` + storedNotes.Columns() + `) SELECT * FROM ` + storedNotes.From("given", 1) + `
		ON CONFLICT (agent_id, idempotency_key) DO NOTHING`
)

// addNote stores a note of a conversation within the agent's scope, with its audit, unless
// the same is stored under this key, and reads the conversation, in one transaction. Until
// its end nobody can erase the conversation.
func (s *Server) addNote(ctx context.Context, id *auth.Identity, within, key uuid.UUID, written text.Text) (found conversation.Full, added bool, err error) {
	note, err := uuid.NewV7()
	if err != nil {
		return found, false, fmt.Errorf("drawing a note's id: %w", err)
	}
	err = pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		args := conversation.ScopeOf(id).Args()
		args["id"] = within
		found.Row, err = postgres.One[conversation.Row](ctx, tx, "locking a conversation",
			`SELECT `+conversation.Columns+` FROM conversation WHERE id = @id AND `+conversation.WithinScope+` FOR SHARE`, args)
		if err != nil {
			return err
		}
		texts, err := conversation.HeldTextsOf(s.Vault, &found.Row)
		if err != nil {
			return err
		}
		sealed, err := texts.SealNote(note, written.Body)
		if err != nil {
			return err
		}
		stored, err := postgres.Exec(ctx, tx, "storing a note", addNoteSQL, storedNotes.Args([]storedNote{{
			ID: note, ConversationID: within, AgentID: id.Subject, AgentName: id.Name, IdempotencyKey: key, Body: sealed, BodyChars: int16(written.Chars), //nolint:gosec // at most 2,000
		}})...)
		if err != nil {
			return err
		}
		action := lifecycle.Note
		if added = stored == 1; !added {
			action = lifecycle.Read // a retry shows the conversation again
			if err := sameNote(ctx, tx, texts, id.Subject, within, key, written); err != nil {
				return err
			}
		}
		batch := &pgx.Batch{}
		conversation.QueueAudit(batch, []conversation.Audited{{AgentID: id.Subject, Action: action, ConversationID: within}})
		conversation.QueueRead(batch, within, &found)
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("reading what was written: %w", err)
		}
		return nil
	})
	return found, added, err
}

// sameNote refuses a key under which another note is stored, be it in another conversation.
func sameNote(ctx context.Context, tx pgx.Tx, texts vault.Texts, agent string, within, key uuid.UUID, written text.Text) error {
	stored, err := postgres.One[conversation.Note](ctx, tx, "reading a note",
		`SELECT `+conversation.NoteColumns+` FROM note WHERE agent_id = $1 AND idempotency_key = $2`, agent, key)
	if err != nil {
		return err
	}
	if stored.ConversationID != within {
		return conversation.ErrKeyReused
	}
	body, err := texts.OpenNote(stored.ID, stored.Body)
	if err == nil && body != written.Body {
		return conversation.ErrKeyReused
	}
	return err
}

func (s *Server) openNotes(ctx context.Context, within *conversation.Row, rows []conversation.Note) ([]*messagingpb.Note, error) {
	texts, err := conversation.TextsOf(ctx, s.Vault, within)
	if err != nil {
		return nil, err
	}
	notes := make([]*messagingpb.Note, len(rows))
	for i := range rows {
		body, err := texts.OpenNote(rows[i].ID, rows[i].Body)
		if err != nil {
			return nil, err
		}
		notes[i] = &messagingpb.Note{Id: rows[i].ID.String(), Agent: rows[i].AgentName, Text: body, CreateTime: timestamppb.New(rows[i].CreatedAt)}
	}
	return notes, nil
}
