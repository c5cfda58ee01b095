package messaging

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
)

const (
	defaultPageSize = 20
	maxPageSize     = 100
)

// pageSize is how many entries a page has: as many as were asked for, within bounds.
func pageSize(asked int32) int {
	if asked == 0 {
		return defaultPageSize
	}
	return int(min(asked, maxPageSize))
}

// cut is the page of a whole list that begins with its first entry behind a place, and
// whether there are more. Asked for nothing, it has most entries, and never more.
func cut[T any](list []T, asked int32, most int, behind func(T) bool) (page []T, more bool) {
	from := slices.IndexFunc(list, behind)
	if from < 0 {
		return nil, false
	}
	size := most
	if asked > 0 {
		size = min(int(asked), most)
	}
	if rest := list[from:]; len(rest) > size {
		return rest[:size], true
	}
	return list[from:], false
}

// pageKey is where a page begins: after the row with these values.
type pageKey struct {
	at time.Time
	id uuid.UUID
}

const (
	// pageTokenBytes is a time and an id.
	pageTokenBytes = 8 + 16
	// maxYear bounds the time in a page token that somebody made up.
	maxYear = 9999
)

// nextPage is the token of the page behind an entry.
func nextPage(ctx context.Context, req rpc.ListRequest, at time.Time, id uuid.UUID) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMicro()))
	return rpc.PageToken(ctx, req, append(raw, id[:]...))
}

// pageOf is where a page begins; nil for the first.
func pageOf(ctx context.Context, req rpc.ListRequest) (*pageKey, error) {
	raw, err := rpc.PageKey(ctx, req)
	if err != nil || raw == nil {
		return nil, err
	}
	if len(raw) != pageTokenBytes {
		return nil, rpc.ErrPageToken
	}
	at := time.UnixMicro(int64(binary.BigEndian.Uint64(raw))) //nolint:gosec // checked below
	if at.Before(time.Unix(0, 0)) || at.Year() > maxYear {
		// PostgreSQL would refuse such a time.
		return nil, rpc.ErrPageToken
	}
	return &pageKey{at, uuid.UUID(raw[8:])}, nil
}
