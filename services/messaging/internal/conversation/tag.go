package conversation

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/etag"
)

// A conversation's tag has two parts. The first is a hash of what two people could disagree
// about: its messages, status, queue and classification. If-Match compares that part alone, so
// that a colleague's note, a claim's renewal or the member's reading fails nobody's change.
// The second is a hash of the whole answer, for caches.

// state is the first part of a conversation's tag.
func state(row *Row) string {
	return etag.Hash(row.ID.String(), strconv.Itoa(int(row.Version)), strconv.Itoa(int(row.Status)),
		row.Queue, row.Theme, row.Topic, row.Reason, row.UpdatedAt.UTC().String())
}

// SetTag puts a conversation's tag on the answer: whole is all of it as the caller sees it,
// nil where the answer has less.
func SetTag(ctx context.Context, row *Row, whole proto.Message) {
	tag := state(row)
	if whole != nil {
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(whole)
		if err != nil {
			slog.WarnContext(ctx, "an answer without a tag", "error", err)
			return
		}
		tag += "-" + etag.Hash(string(text))
	}
	etag.Set(ctx, tag)
}

// Unchanged is [ErrChanged] when the conversation is not what the caller's If-Match says.
func Unchanged(ctx context.Context, row *Row) error {
	seen := etag.IfMatch(ctx)
	if seen == nil || seen.Any {
		return nil
	}
	now := state(row)
	if slices.ContainsFunc(seen.Tags, func(tag string) bool { state, _, _ := strings.Cut(tag, "-"); return state == now }) {
		return nil
	}
	return ErrChanged
}
