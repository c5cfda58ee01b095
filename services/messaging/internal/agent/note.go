package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// noteOf is a note that goes with something else, in the form in which it is stored; none where
// nothing is written.
func noteOf(raw string) (text.Text, error) {
	if strings.TrimSpace(raw) == "" {
		return text.Text{}, nil
	}
	written, err := text.OfNote.Normalise(raw)
	var refusal *rpc.Error
	if errors.As(err, &refusal) {
		return written, refusal.On("note")
	}
	return written, err
}

// keepNote stores a note that came with a change for which there was nothing to do, unless it is
// there: a repeat of the change, and another note, which must not be lost, look alike.
func (s *Server) keepNote(ctx context.Context, row *conversation.Row, written text.Text) error {
	if written.Chars == 0 {
		return nil
	}
	id := auth.FromContext(ctx)
	mine, err := s.notesBy(ctx, row.ID, id.Subject)
	if err != nil {
		return err
	}
	notes, err := s.openNotes(ctx, row, mine)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(notes, func(n *messagingpb.Note) bool { return n.GetText() == written.Body }) {
		return nil
	}
	_, _, err = s.addNote(ctx, id, row.ID, uuid.New(), written)
	return err
}

// notesBy are the last notes of an agent on a conversation.
func (s *Server) notesBy(ctx context.Context, id uuid.UUID, agent string) ([]conversation.Note, error) {
	return postgres.Many[conversation.Note](ctx, s.DB, "reading an agent's notes",
		`SELECT `+conversation.NoteColumns+` FROM note WHERE conversation_id = $1 AND agent_id = $2 ORDER BY created_at DESC, id DESC LIMIT 20`, id, agent)
}

// noteFor seals a note that goes with a change of a conversation; nil for none. A repeat of the
// change finds nothing to do (see keepNote): the key is for the table alone.
func (s *Server) noteFor(row *conversation.Row, id *auth.Identity, written text.Text) (*conversation.NewNote, error) {
	if written.Chars == 0 {
		return nil, nil //nolint:nilnil // documented above
	}
	note, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("drawing a note's id: %w", err)
	}
	texts, err := conversation.HeldTextsOf(s.Vault, row)
	if err != nil {
		return nil, err
	}
	sealed, err := texts.SealNote(note, written.Body)
	return &conversation.NewNote{
		ID: note, ConversationID: row.ID, AgentID: id.Subject, AgentName: conversation.AgentName(id), IdempotencyKey: uuid.New(), Body: sealed, BodyChars: int16(written.Chars), //nolint:gosec // at most 2,000
	}, err
}

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
		added, err = conversation.AddNote(ctx, tx, conversation.NewNote{
			ID: note, ConversationID: within, AgentID: id.Subject, AgentName: conversation.AgentName(id), IdempotencyKey: key, Body: sealed, BodyChars: int16(written.Chars), //nolint:gosec // at most 2,000
		})
		if err != nil {
			return err
		}
		action := lifecycle.Note
		if !added {
			action = lifecycle.Read // a retry shows the conversation again
			if err := sameNote(ctx, tx, texts, id.Subject, within, key, written); err != nil {
				return err
			}
		}
		batch := &pgx.Batch{}
		conversation.QueueAudit(batch, []conversation.Audited{conversation.By(id, action, &found.Row)})
		conversation.QueueRead(batch, within, &found)
		conversation.QueueAccount(batch, found.MemberID, &found)
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
