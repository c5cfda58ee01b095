package member

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
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
)

const (
	// ExportPage is how many conversations are read at once.
	ExportPage = 50
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
func (m *Members) ExportMyData(_ *messagingpb.ExportMyDataRequest, stream grpc.ServerStreamingServer[messagingpb.ExportMyDataResponse]) error {
	leave, err := m.Reports.Exports.Enter(stream.Context(), auth.FromContext(stream.Context()).Subject)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(stream.Context(), exportLife)
	defer cancel()
	out := newOutlet(stream.Send, exportPatience)
	return out.end(ctx, m.reading().export(ctx, out))
}

// reading returns m with the reports' pool, which cannot write.
func (m *Members) reading() *Members {
	reading := *m
	reading.DB = m.Reports.DB
	return &reading
}

// export puts out everything of the caller's.
func (m *Members) export(ctx context.Context, out *outlet[*messagingpb.ExportMyDataResponse]) error {
	pieces, err := exported(ctx, m, m.exportAccount)
	if err != nil {
		return err
	}
	if err := out.put(ctx, pieces...); err != nil {
		return err
	}
	return m.exportConversations(ctx, out)
}

// exported reads a part of an export in its turn. It waits longer than a question
// does: half an export is worth nothing.
func exported[T any](ctx context.Context, m *Members, read func(context.Context) (T, error)) (T, error) {
	turn := reports.Alone(ctx)
	turn.Wait = exportPatience
	return report.Read(ctx, m.Reports.Lists, turn, read)
}

// exportAccount reads what is no conversation.
func (m *Members) exportAccount(ctx context.Context) ([]*messagingpb.ExportMyDataResponse, error) {
	id := auth.FromContext(ctx)
	preferences, err := m.preferencesOf(ctx, id)
	if err != nil {
		return nil, err
	}
	pieces := []*messagingpb.ExportMyDataResponse{{Piece: &messagingpb.ExportMyDataResponse_Preferences{Preferences: preferences}}}
	drafts, err := m.Drafts.OfMember(ctx, m.DB, id.Subject)
	for _, draft := range drafts {
		pieces = append(pieces, &messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Draft{Draft: draft}})
	}
	return pieces, err
}

// exportConversations puts out each conversation that there is as it begins, once, as it
// is when its turn comes. Which those are is read first: their order in lists changes
// while they are read. Only their ids are held, 16 bytes each.
func (m *Members) exportConversations(ctx context.Context, out *outlet[*messagingpb.ExportMyDataResponse]) error {
	member := auth.FromContext(ctx).Subject
	ids, err := exported(ctx, m, func(ctx context.Context) ([]uuid.UUID, error) { return m.allOfMember(ctx, member) })
	if err != nil {
		return err
	}
	for page := range slices.Chunk(ids, ExportPage) {
		pieces, err := exported(ctx, m, func(ctx context.Context) ([]*messagingpb.ExportMyDataResponse, error) { return m.exportPage(ctx, page) })
		if err != nil {
			return err
		}
		if err := out.put(ctx, pieces...); err != nil {
			return err
		}
	}
	return nil
}

// exportPage reads some of the caller's conversations in full, and which services of the fund
// have read them. What was erased or deleted
// meanwhile is left out.
func (m *Members) exportPage(ctx context.Context, ids []uuid.UUID) (pieces []*messagingpb.ExportMyDataResponse, err error) {
	rows, err := m.someOfMember(ctx, auth.FromContext(ctx).Subject, ids)
	if err != nil {
		return nil, err
	}
	readings, err := conversation.Readings(ctx, m.DB, ids)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		full, err := m.exportConversation(ctx, &rows[i])
		if err != nil {
			return nil, err
		}
		if full != nil {
			full.Readings = readings[rows[i].ID]
			pieces = append(pieces, &messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Conversation{Conversation: full}})
		}
	}
	return pieces, nil
}

// exportConversation reads one in full; nil: it has gone since its row was read.
func (m *Members) exportConversation(ctx context.Context, row *conversation.Row) (*messagingpb.Conversation, error) {
	full, err := conversation.ForMember(ctx, m.DB, m.Vault, m.View, row)
	if err == nil && len(full.GetMessages()) > 0 && !full.GetErased() {
		return full, nil
	}
	// There are no messages any more, or they were erased.
	if _, gone := conversation.OfMember(ctx, m.DB, row.MemberID, row.ID); errors.Is(gone, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // documented above
	}
	return full, err
}

// allOfMember returns the ids of all of a member's conversations, oldest first.
func (m *Members) allOfMember(ctx context.Context, member string) ([]uuid.UUID, error) {
	return postgres.Many[uuid.UUID](ctx, m.DB, "listing all conversations of a member", `SELECT id FROM conversation WHERE member_id = $1 ORDER BY id`, member)
}

// someOfMember returns those of these conversations that are the member's, oldest first.
func (m *Members) someOfMember(ctx context.Context, member string, ids []uuid.UUID) ([]conversation.Row, error) {
	return postgres.Many[conversation.Row](ctx, m.DB, "reading conversations to export",
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

// over is the error of an ended export: errUnread if it lasted too long, else that of a reader
// who has left.
func over(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errUnread
	}
	return ctx.Err()
}
