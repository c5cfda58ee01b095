package messaging

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// exportPage is how many conversations are read at once.
const exportPage = 50

// ExportMyData implements MessagingService. See the .proto.
func (s *server) ExportMyData(_ *messagingpb.ExportMyDataRequest, stream grpc.ServerStreamingServer[messagingpb.ExportMyDataResponse]) error {
	ctx := stream.Context()
	id := auth.FromContext(ctx)
	preferences, err := s.preferencesOf(ctx, id)
	if err != nil {
		return statusOf(err)
	}
	if err := stream.Send(&messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Preferences{Preferences: preferences}}); err != nil {
		return err
	}
	drafts, err := s.draftsOf(ctx, id.Subject)
	if err != nil {
		return statusOf(err)
	}
	for _, draft := range drafts {
		if err := stream.Send(&messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Draft{Draft: draft}}); err != nil {
			return err
		}
	}
	for _, hidden := range []bool{false, true} {
		if err := s.exportConversations(ctx, id.Subject, hidden, stream); err != nil {
			return statusOf(err)
		}
	}
	return nil
}

func (s *server) exportConversations(ctx context.Context, member string, hidden bool, stream grpc.ServerStreamingServer[messagingpb.ExportMyDataResponse]) error {
	var after *pageKey
	for {
		rows, err := s.store.conversationsOf(ctx, member, hidden, 0, after, exportPage)
		if err != nil || len(rows) == 0 {
			return err
		}
		for i := range rows {
			conversation, err := s.forMember(ctx, &rows[i])
			if err != nil {
				return err
			}
			if err := stream.Send(&messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Conversation{Conversation: conversation}}); err != nil {
				return err
			}
		}
		last := rows[len(rows)-1]
		after = &pageKey{last.UpdatedAt, last.ID}
	}
}

// EraseMyData implements MessagingService.
func (s *server) EraseMyData(ctx context.Context, _ *messagingpb.EraseMyDataRequest) (*messagingpb.EraseMyDataResponse, error) {
	erased, err := s.store.eraseMember(ctx, auth.FromContext(ctx).Subject)
	if err != nil {
		return nil, statusOf(err)
	}
	if erased > 0 {
		s.changes.committed()
	}
	return &messagingpb.EraseMyDataResponse{Conversations: int32(erased)}, nil //nolint:gosec // a person's conversations
}

// eraseMember erases what a member wrote and how they are reached, in one
// transaction. The conversations lose their data keys and their member; their
// selection, times and state stay, because figures are made of them. A binary of
// before may still hold a key in memory for as long as a call lasts.
func (s *store) eraseMember(ctx context.Context, member string) (erased int, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := many[struct {
			ID uuid.UUID `db:"id"`
		}](ctx, tx, "locking conversations", `SELECT id FROM conversation WHERE member_id = $1 ORDER BY id FOR UPDATE`, member); err != nil {
			return err
		}
		rows, err := many[conversationRow](ctx, tx, "erasing conversations", `
			UPDATE conversation SET
				member_id = 'erased:' || id, data_key = '', erased_at = clock_timestamp(), status = 7, hidden = true,
				claimed_by = NULL, claimed_name = NULL, claim_expires = NULL, version = version + 1, updated_at = clock_timestamp()
			WHERE member_id = $1 RETURNING `+conversationColumns, member)
		if err != nil {
			return err
		}
		erased = len(rows)
		return s.eraseRows(ctx, tx, member, rows)
	})
	return erased, err
}

func (s *store) eraseRows(ctx context.Context, tx pgx.Tx, member string, rows []conversationRow) error {
	batch := &pgx.Batch{}
	for i := range rows {
		happened, err := erasedEvent(ctx, rows[i])
		if err != nil {
			return err
		}
		batch.Queue(`UPDATE message SET body = '' WHERE conversation_id = $1`, rows[i].ID)
		batch.Queue(`
			WITH logged AS (INSERT INTO event_log (id, type, caisse, conversation_id, payload) VALUES ($1, $2, $3, $4, $5))
			INSERT INTO outbox (id, type, caisse, conversation_id, payload, trace) VALUES ($1, $2, $3, $4, $5, $6)`,
			happened.id, happened.kind, rows[i].Caisse, rows[i].ID, happened.payload, happened.trace)
	}
	batch.Queue(`DELETE FROM draft WHERE member_id = $1`, member)
	batch.Queue(`DELETE FROM member WHERE id = $1`, member)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("erasing %d conversations: %w", len(rows), err)
	}
	return nil
}
