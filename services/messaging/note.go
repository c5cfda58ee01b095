package messaging

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
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// AddNote adds an internal note. It changes nothing that the member could see, not
// even when the conversation was last changed, so neither a colleague's claim nor
// the conversation's end stands in its way.
func (s *agentServer) AddNote(ctx context.Context, req *messagingpb.AddNoteRequest) (*messagingpb.AddNoteResponse, error) {
	id := auth.FromContext(ctx)
	key := rpc.IdempotencyKey(ctx)
	written, err := text.OfNote.Normalise(req.GetText())
	if err != nil {
		return nil, err
	}
	if err := s.noteOnce(ctx, id, uuid.MustParse(req.GetId()), key, written); err != nil {
		return nil, statusOf(err)
	}
	found, err := s.store.readForAgent(ctx, scopeOf(id), id.Subject, uuid.MustParse(req.GetId()))
	if err != nil {
		return nil, statusOf(err)
	}
	full, err := s.inFull(ctx, found, id)
	if err != nil {
		return nil, statusOf(err)
	}
	return &messagingpb.AddNoteResponse{Conversation: full}, nil
}

// noteOnce stores a note unless the same is stored under this key.
func (s *agentServer) noteOnce(ctx context.Context, id *auth.Identity, within, key uuid.UUID, written text.Text) error {
	note, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("drawing a note's id: %w", err)
	}
	row := conversation.Note{ID: note, ConversationID: within, AgentID: id.Subject, AgentName: id.Name}
	stored, wrapped, err := s.store.addNote(ctx, scopeOf(id), row, key, written.Chars, func(wrapped []byte) ([]byte, error) {
		if len(wrapped) == 0 {
			return nil, errErased
		}
		key, err := s.vault.Key(within, wrapped)
		if err != nil {
			return nil, err
		}
		return key.SealNote(note, written.Body)
	})
	if err != nil {
		return err
	}
	if stored.ID == note {
		s.hints.Tell(watch.Hint{Conversation: within, Agents: true})
		return nil
	}
	if stored.ConversationID != within {
		return errKeyReused
	}
	opened, err := s.openNotes(within, wrapped, []conversation.Note{stored})
	if err == nil && opened[0].GetText() != written.Body {
		return errKeyReused
	}
	if err == nil {
		rpc.Replayed(ctx)
	}
	return err
}

func (s *agentServer) openNotes(within uuid.UUID, wrapped []byte, rows []conversation.Note) ([]*messagingpb.Note, error) {
	key, err := s.vault.Key(within, wrapped)
	if err != nil {
		return nil, err
	}
	notes := make([]*messagingpb.Note, len(rows))
	for i := range rows {
		body, err := key.OpenNote(rows[i].ID, rows[i].Body)
		if err != nil {
			return nil, err
		}
		notes[i] = &messagingpb.Note{Id: rows[i].ID.String(), Agent: rows[i].AgentName, Text: body, CreateTime: timestamppb.New(rows[i].CreatedAt)}
	}
	return notes, nil
}

// addNote stores a note of a conversation within the agent's scope, with its
// audit, in one transaction. It returns what is stored under the agent's key,
// which is another note when the key was taken, and the wrapped data key. seal
// gets that key; until the end of the transaction nobody can destroy it.
func (s *store) addNote(ctx context.Context, sc conversation.Scope, row conversation.Note, key uuid.UUID, chars int, seal func(wrapped []byte) ([]byte, error)) (stored conversation.Note, wrapped []byte, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		args := sc.Args()
		args["id"] = row.ConversationID
		err := tx.QueryRow(ctx, `SELECT data_key FROM conversation WHERE id = @id AND `+conversation.WithinScope+` FOR SHARE`, args).Scan(&wrapped)
		if errors.Is(err, pgx.ErrNoRows) {
			return errNotFound
		}
		if err != nil {
			return fmt.Errorf("locking conversation %s: %w", row.ConversationID, err)
		}
		if row.Body, err = seal(wrapped); err != nil {
			return err
		}
		stored, err = postgres.One[conversation.Note](ctx, tx, "reading a note", `
			INSERT INTO note (id, conversation_id, agent_id, agent_name, idempotency_key, body, body_chars)
			VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (agent_id, idempotency_key) DO NOTHING RETURNING `+conversation.NoteColumns,
			row.ID, row.ConversationID, row.AgentID, row.AgentName, key, row.Body, chars)
		if errors.Is(err, errNotFound) { // the key is taken
			stored, err = postgres.One[conversation.Note](ctx, tx, "reading a note", `SELECT `+conversation.NoteColumns+` FROM note WHERE agent_id = $1 AND idempotency_key = $2`, row.AgentID, key)
			return err
		}
		if err != nil {
			return fmt.Errorf("storing note %s: %w", row.ID, err)
		}
		return conversation.Audit(ctx, tx, row.AgentID, lifecycle.Note, row.ConversationID)
	})
	return stored, wrapped, err
}
