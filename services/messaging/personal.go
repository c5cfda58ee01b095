package messaging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

const (
	// exportPage is how many conversations are read at once.
	exportPage = 50
	// exportPatience is how long one piece waits for its reader, and one page for its
	// place among the lists.
	exportPatience = 30 * time.Second
	// exportLife is how long an export lasts at most, less than [rpc.StreamLife].
	exportLife = 5 * time.Minute
)

// errUnread ends an export that nobody reads.
var errUnread = rpc.Refuse(codes.DeadlineExceeded, errorpb.ErrorReason_EXPORT_NOT_READ,
	fmt.Sprintf("an export ends when none of it is read for %s, and after %s", exportPatience, exportLife))

// ExportMyData implements MessagingService. See the .proto.
//
// An export is as long as what the member has written, and as slow as its reader. It
// reads a page at a time, each in its turn among the lists, and holds neither a
// connection nor a place while it is sent.
func (s *server) ExportMyData(_ *messagingpb.ExportMyDataRequest, stream grpc.ServerStreamingServer[messagingpb.ExportMyDataResponse]) error {
	leave, err := s.reports.exports.Enter(stream.Context(), auth.FromContext(stream.Context()).Subject)
	if err != nil {
		return statusOf(err)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(stream.Context(), exportLife)
	defer cancel()
	out := newOutlet(stream.Send, exportPatience)
	return statusOf(out.end(ctx, s.apart().export(ctx, out)))
}

// export puts out everything of the caller's.
func (s *server) export(ctx context.Context, out *outlet[*messagingpb.ExportMyDataResponse]) error {
	pieces, err := exported(ctx, s, s.exportAccount)
	if err != nil {
		return err
	}
	if err := out.put(ctx, pieces...); err != nil {
		return err
	}
	return s.exportConversations(ctx, out)
}

// exported reads a part of an export in its turn. It waits longer than a question
// does: half an export is worth nothing.
func exported[T any](ctx context.Context, s *server, read func(context.Context) (T, error)) (T, error) {
	turn := alone(ctx)
	turn.Wait = exportPatience
	return report.Read(ctx, s.reports.lists, turn, read)
}

// exportAccount reads what is no conversation.
func (s *server) exportAccount(ctx context.Context) ([]*messagingpb.ExportMyDataResponse, error) {
	id := auth.FromContext(ctx)
	preferences, err := s.preferencesOf(ctx, id)
	if err != nil {
		return nil, err
	}
	pieces := []*messagingpb.ExportMyDataResponse{{Piece: &messagingpb.ExportMyDataResponse_Preferences{Preferences: preferences}}}
	drafts, err := s.draftsOf(ctx, id.Subject)
	for _, draft := range drafts {
		pieces = append(pieces, &messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Draft{Draft: draft}})
	}
	return pieces, err
}

// exportConversations puts out each conversation that there is as it begins, once, as it
// is when its turn comes. Which those are is read first: their order in lists changes
// while they are read. Only their ids are held, 16 bytes each.
func (s *server) exportConversations(ctx context.Context, out *outlet[*messagingpb.ExportMyDataResponse]) error {
	member := auth.FromContext(ctx).Subject
	ids, err := exported(ctx, s, func(ctx context.Context) ([]uuid.UUID, error) { return s.store.allOfMember(ctx, member) })
	if err != nil {
		return err
	}
	for page := range slices.Chunk(ids, exportPage) {
		pieces, err := exported(ctx, s, func(ctx context.Context) ([]*messagingpb.ExportMyDataResponse, error) { return s.exportPage(ctx, page) })
		if err != nil {
			return err
		}
		if err := out.put(ctx, pieces...); err != nil {
			return err
		}
	}
	return nil
}

// exportPage reads some of the caller's conversations in full. What was erased or deleted
// meanwhile is left out.
func (s *server) exportPage(ctx context.Context, ids []uuid.UUID) (pieces []*messagingpb.ExportMyDataResponse, err error) {
	rows, err := s.store.someOfMember(ctx, auth.FromContext(ctx).Subject, ids)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		conversation, err := s.exportConversation(ctx, &rows[i])
		if err != nil {
			return nil, err
		}
		if conversation != nil {
			pieces = append(pieces, &messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Conversation{Conversation: conversation}})
		}
	}
	return pieces, nil
}

// exportConversation reads one in full; nil: it has gone since its row was read.
func (s *server) exportConversation(ctx context.Context, row *conversation.Row) (*messagingpb.Conversation, error) {
	full, err := s.forMember(ctx, row)
	if err == nil && len(full.GetMessages()) > 0 {
		return full, nil
	}
	// There are no messages any more, or the row's key is none of theirs.
	if _, gone := conversation.OfMember(ctx, s.store.pool, row.MemberID, row.ID); errors.Is(gone, errNotFound) {
		return nil, nil //nolint:nilnil // documented above
	}
	return full, err
}

// allOfMember returns the ids of all of a member's conversations, oldest first.
func (s *store) allOfMember(ctx context.Context, member string) ([]uuid.UUID, error) {
	rows, err := s.pool.Query(ctx, `SELECT id FROM conversation WHERE member_id = $1 ORDER BY id`, member)
	if err != nil {
		return nil, fmt.Errorf("listing all conversations of a member: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("listing all conversations of a member: %w", err)
	}
	return ids, nil
}

// someOfMember returns those of these conversations that are the member's, oldest first.
func (s *store) someOfMember(ctx context.Context, member string, ids []uuid.UUID) ([]conversation.Row, error) {
	return postgres.Many[conversation.Row](ctx, s.pool, "reading conversations to export",
		`SELECT `+conversation.Columns+` FROM conversation WHERE id = ANY($1) AND member_id = $2 ORDER BY id`, ids, member)
}

// outlet is a stream whose reader may stop reading. gRPC's Send then waits, and ends
// with the stream alone, which ends when its handler returns: so another goroutine
// sends, and the handler waits no longer than patience for it.
type outlet[T any] struct {
	pieces   chan T
	sent     chan error // what sending has ended with
	patience time.Duration
}

func newOutlet[T any](send func(T) error, patience time.Duration) *outlet[T] {
	o := &outlet[T]{pieces: make(chan T), sent: make(chan error, 1), patience: patience}
	go func() {
		for piece := range o.pieces {
			if err := send(piece); err != nil {
				o.sent <- err
				return
			}
		}
		o.sent <- nil
	}()
	return o
}

// put hands over pieces, each when the one before has been sent.
func (o *outlet[T]) put(ctx context.Context, pieces ...T) error {
	for _, piece := range pieces {
		unread := time.NewTimer(o.patience)
		select {
		case o.pieces <- piece:
			unread.Stop()
		case err := <-o.sent:
			unread.Stop()
			return err
		case <-unread.C:
			return errUnread
		case <-ctx.Done():
			unread.Stop()
			return over(ctx)
		}
	}
	return nil
}

// end waits until what was put has been sent, unless putting has ended with a fault.
// The handler must return then.
func (o *outlet[T]) end(ctx context.Context, fault error) error {
	close(o.pieces)
	if fault != nil {
		return fault
	}
	unread := time.NewTimer(o.patience)
	defer unread.Stop()
	select {
	case err := <-o.sent:
		return err
	case <-unread.C:
		return errUnread
	case <-ctx.Done():
		return over(ctx)
	}
}

// over tells an export that has lasted too long from a reader who has left.
func over(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errUnread
	}
	return ctx.Err()
}

// EraseMyData implements MessagingService.
func (s *server) EraseMyData(ctx context.Context, _ *messagingpb.EraseMyDataRequest) (*messagingpb.EraseMyDataResponse, error) {
	member := auth.FromContext(ctx).Subject
	erased, err := s.store.eraseMember(ctx, member)
	if err != nil {
		return nil, statusOf(err)
	}
	if erased > 0 {
		s.wake()
		// The events no longer say whose the conversations were.
		s.hints.Tell(watch.Hint{Mark: watch.MarkOf(member)})
	}
	return &messagingpb.EraseMyDataResponse{Conversations: int32(erased)}, nil //nolint:gosec // a person's conversations
}

// erasedKeyLife is for how long a repeat of a submission is known that was erased: far
// longer than anything tries again by itself. The key of what is not erased is good as long
// as the conversation is kept.
const erasedKeyLife = 30 * 24 * time.Hour

// keyDigest is what is left of a member's idempotency key.
const keyDigest = `sha256(convert_to(member_id || ' ' || idempotency_key::text, 'UTF8'))`

// checkErased is errErased if what was submitted under the key was erased, else
// errNotFound.
func (s *store) checkErased(ctx context.Context, member string, key uuid.UUID) error {
	var erased bool
	err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM erased_key, (SELECT $1::text AS member_id, $2::uuid AS idempotency_key) AS asked WHERE digest = `+keyDigest+`)`,
		member, key).Scan(&erased)
	switch {
	case err != nil:
		return fmt.Errorf("looking for an erased key: %w", err)
	case erased:
		return errErased
	}
	return errNotFound
}

// forgetErasedKeys deletes some of the keys that nobody will come with any more.
func (s *store) forgetErasedKeys(ctx context.Context, life time.Duration) (int64, error) {
	tag, err := s.pool.Exec(ctx, `DELETE FROM erased_key WHERE digest = ANY (ARRAY(
		SELECT digest FROM erased_key WHERE erased_at <= now() - $1::interval ORDER BY erased_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
		life, postgres.ForgetBatch)
	if err != nil {
		return 0, fmt.Errorf("deleting old keys: %w", err)
	}
	return tag.RowsAffected(), nil
}

// eraseMember erases what a member wrote and how they are reached, in one
// transaction. The conversations lose their data keys and their member; their
// selection, times and state stay, because figures are made of them. A binary of
// before may still hold a key in memory for as long as a call lasts.
func (s *store) eraseMember(ctx context.Context, member string) (erased int, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := postgres.Many[struct {
			ID uuid.UUID `db:"id"`
		}](ctx, tx, "locking conversations", `SELECT id FROM conversation WHERE member_id = $1 ORDER BY id FOR UPDATE`, member); err != nil {
			return err
		}
		rows, err := postgres.Many[conversation.Row](ctx, tx, "erasing conversations", `
			UPDATE conversation SET
				member_id = 'erased:' || id, data_key = '', erased_at = clock_timestamp(), status = 7, hidden = true,
				claimed_by = NULL, claimed_name = NULL, claim_expires = NULL, version = version + 1, updated_at = clock_timestamp()
			WHERE member_id = $1 RETURNING `+conversation.Columns, member)
		if err != nil {
			return err
		}
		erased = len(rows)
		ids := make([]uuid.UUID, len(rows))
		for i, row := range rows {
			ids[i] = row.ID
		}
		// Behind the update, so that the keys are those of what it has erased, neither more nor
		// fewer; a repeat waits for the end of this (see failErasedSQL).
		if _, err := tx.Exec(ctx, `INSERT INTO erased_key (digest)
			SELECT `+keyDigest+` FROM (SELECT $1::text AS member_id, idempotency_key FROM conversation WHERE id = ANY($2)) AS c ON CONFLICT DO NOTHING`,
			member, ids); err != nil {
			return fmt.Errorf("keeping the keys of what is erased: %w", err)
		}
		return s.eraseRows(ctx, tx, member, rows)
	})
	return erased, err
}

func (s *store) eraseRows(ctx context.Context, tx pgx.Tx, member string, rows []conversation.Row) error {
	batch := &pgx.Batch{}
	var events []outbox.Event
	for i := range rows {
		happened, err := conversation.Erased(ctx, rows[i])
		if err != nil {
			return err
		}
		batch.Queue(`UPDATE message SET body = '' WHERE conversation_id = $1`, rows[i].ID)
		events = append(events, happened)
	}
	if len(events) > 0 {
		outbox.Append(batch, events)
	}
	batch.Queue(`DELETE FROM draft WHERE member_id = $1`, member)
	batch.Queue(`DELETE FROM watch_ticket WHERE subject = $1`, member)
	batch.Queue(`DELETE FROM member WHERE id = $1`, member)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("erasing %d conversations: %w", len(rows), err)
	}
	return nil
}
