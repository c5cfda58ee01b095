package messaging

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
)

// Conversations and drafts have an entity tag (RFC 9110, 8.8.3) in the answers that hold
// them, as the metadata etag. A change that names one in if-match is made if the thing is
// still what that answer showed, and else refused with 412 over REST: nobody answers a
// message that they have not read, and of two windows with one draft none overwrites the
// other's. It is decided under the lock of the change.
//
// A conversation's tag has two parts. The first stands for what two people could disagree
// about: its messages, status, queue and classification. If-Match goes by that alone, so
// that a colleague's note, a claim's renewal or the member's reading stands in nobody's
// way. The second is that of everything in the answer, for caches.

var (
	errConversationChanged = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CONVERSATION_CHANGED, "the conversation is not what If-Match says; read it again")
	errDraftExists         = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_DRAFT_EXISTS, "there is a draft that If-None-Match rules out; read it")
	errDraftChanged        = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_DRAFT_CHANGED, "the draft is not what If-Match says; read it again")
)

// tagBytes is how much of a hash is in a tag.
const tagBytes = 8

func hashed(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:tagBytes])
}

// stateTag is the first part of a conversation's tag.
func stateTag(row *conversation.Row) string {
	return hashed(row.ID.String(), strconv.Itoa(int(row.Version)), strconv.Itoa(int(row.Status)),
		row.Queue, row.Theme, row.Topic, row.Reason, row.UpdatedAt.UTC().String())
}

// tagConversation tells the tag of a conversation: whole is all of it as the caller sees
// it, nil where the answer has less.
func tagConversation(ctx context.Context, row *conversation.Row, whole proto.Message) {
	tag := stateTag(row)
	if whole != nil {
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(whole)
		if err != nil {
			slog.WarnContext(ctx, "an answer without a tag", "error", err)
			return
		}
		tag += "-" + hashed(string(text))
	}
	setTag(ctx, tag)
}

// draftTag changes with each change of a draft, and is another of another's.
func draftTag(row *draftRow) string { return hashed(row.ID.String(), row.UpdatedAt.UTC().String()) }

func setTag(ctx context.Context, tag string) {
	if err := grpc.SetHeader(ctx, metadata.Pairs("etag", `"`+tag+`"`)); err != nil {
		slog.DebugContext(ctx, "telling a tag", "error", err)
	}
}

// ifMatch and ifNoneMatch are metadata of REST's names.
const (
	ifMatch     = "if-match"
	ifNoneMatch = "if-none-match"
)

// precondition is a call's If-Match or If-None-Match: nil for none.
type precondition struct {
	// any: "*", any that there is. Else one of tags, which have no quotes.
	any  bool
	tags []string
}

// preconditionOf reads one of the two. Weak tags match nothing in If-Match, and as strong
// ones in If-None-Match (RFC 9110, 13.1).
func preconditionOf(ctx context.Context, name string) *precondition {
	values := metadata.ValueFromIncomingContext(ctx, name)
	if len(values) == 0 {
		return nil
	}
	p := &precondition{}
	for tag := range strings.SplitSeq(values[0], ",") {
		tag = strings.TrimSpace(tag)
		if name == ifNoneMatch {
			tag = strings.TrimPrefix(tag, "W/")
		}
		switch {
		case tag == "*":
			p.any = true
		case strings.HasPrefix(tag, `"`) && strings.HasSuffix(tag, `"`) && len(tag) > 1:
			p.tags = append(p.tags, tag[1:len(tag)-1])
		}
	}
	return p
}

// unchanged refuses a change of a conversation that is not what the caller has seen.
func unchanged(ctx context.Context, row *conversation.Row) error {
	p := preconditionOf(ctx, ifMatch)
	if p == nil || p.any {
		return nil
	}
	now := stateTag(row)
	if slices.ContainsFunc(p.tags, func(tag string) bool { state, _, _ := strings.Cut(tag, "-"); return state == now }) {
		return nil
	}
	return errConversationChanged
}

// hold refuses a change of a draft that is not what the caller has seen, or is gone, and
// keeps it as it is until the transaction ends.
func (p *precondition) hold(ctx context.Context, tx pgx.Tx, member string, id uuid.UUID) error {
	if p == nil {
		return nil
	}
	row, err := lockDraft(ctx, tx, member, id)
	if errors.Is(err, errNotFound) || err == nil && !p.any && !slices.Contains(p.tags, draftTag(&row)) {
		return errDraftChanged
	}
	return err
}

// avoid refuses a change of a draft that is one of those that the caller rules out. That of
// any is for the statement that makes one: there is nothing yet that could be held.
func (p *precondition) avoid(ctx context.Context, tx pgx.Tx, member string, id uuid.UUID) error {
	if p == nil || p.any {
		return nil
	}
	row, err := lockDraft(ctx, tx, member, id)
	switch {
	case errors.Is(err, errNotFound):
		return nil
	case err == nil && slices.Contains(p.tags, draftTag(&row)):
		return errDraftExists
	}
	return err
}

// lockDraft returns a draft, which stays as it is until the transaction ends.
func lockDraft(ctx context.Context, tx pgx.Tx, member string, id uuid.UUID) (draftRow, error) {
	return postgres.One[draftRow](ctx, tx, "reading a draft", `SELECT `+draftColumns+` FROM draft WHERE member_id = $1 AND id = $2 AND updated_at > now() - $3::interval FOR UPDATE`,
		member, id, draftLife)
}
