// Package page cuts lists into pages: their sizes, and the tokens that name where the next
// page begins.
package page

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
)

const (
	usual = 20
	// Longest is the most entries of a page, unless a call says otherwise.
	Longest = 100
)

// Size is how many entries a page has: as many as were requested, within bounds.
func Size(requested int32) int {
	if requested == 0 {
		return usual
	}
	return int(min(requested, Longest))
}

// Cut is the page of a whole list that begins with its first entry behind a place, and
// whether there are more. By default it has most entries, and never more.
func Cut[T any](list []T, requested int32, most int, behind func(T) bool) (page []T, more bool) {
	from := slices.IndexFunc(list, behind)
	if from < 0 {
		return nil, false
	}
	size := most
	if requested > 0 {
		size = min(int(requested), most)
	}
	if rest := list[from:]; len(rest) > size {
		return rest[:size], true
	}
	return list[from:], false
}

// Key is where a page begins: after the row with these values.
type Key struct {
	At time.Time
	ID uuid.UUID
}

// Place is where a page lies of a list that can be turned both ways, and has two parts in its
// order.
type Place struct {
	Key
	// Before: the page ends before the row; otherwise it begins after it.
	Before bool
	// Second: the row is in the second part of the list.
	Second bool
}

const (
	// keyBytes is a time and an id.
	keyBytes = 8 + 16
	// placeBefore and placeSecond are the bits of a last byte, which a place with neither lacks: it
	// is as a Key.
	placeBefore, placeSecond = 1, 2
	// maxYear bounds the time in a page token that somebody made up.
	maxYear = 9999
)

// Next is the token of the page behind an entry.
func Next(ctx context.Context, req rpc.ListRequest, at time.Time, id uuid.UUID) string {
	return rpc.PageToken(ctx, req, Key{at, id}.bytes())
}

// Of is where a page begins; nil for the first.
func Of(ctx context.Context, req rpc.ListRequest) (*Key, error) {
	raw, err := rpc.PageKey(ctx, req)
	if err != nil || raw == nil {
		return nil, err
	}
	return keyOf(raw)
}

// Token is that of the page of a place.
func (p Place) Token(ctx context.Context, req rpc.ListRequest) string {
	raw, bits := p.bytes(), byte(0)
	if p.Before {
		bits |= placeBefore
	}
	if p.Second {
		bits |= placeSecond
	}
	if bits != 0 {
		raw = append(raw, bits)
	}
	return rpc.PageToken(ctx, req, raw)
}

// PlaceOf is where a page lies; nil for the first.
func PlaceOf(ctx context.Context, req rpc.ListRequest) (*Place, error) {
	raw, err := rpc.PageKey(ctx, req)
	if err != nil || raw == nil {
		return nil, err
	}
	bits := byte(0)
	if len(raw) == keyBytes+1 {
		raw, bits = raw[:keyBytes], raw[keyBytes]
	}
	key, err := keyOf(raw)
	if err != nil || bits > placeBefore|placeSecond {
		return nil, rpc.ErrPageToken
	}
	return &Place{Key: *key, Before: bits&placeBefore != 0, Second: bits&placeSecond != 0}, nil
}

func (k Key) bytes() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(k.At.UnixMicro())), k.ID[:]...)
}

func keyOf(raw []byte) (*Key, error) {
	if len(raw) != keyBytes {
		return nil, rpc.ErrPageToken
	}
	at := time.UnixMicro(int64(binary.BigEndian.Uint64(raw))) //nolint:gosec // checked below
	if at.Before(time.Unix(0, 0)) || at.Year() > maxYear {
		// PostgreSQL would refuse such a time.
		return nil, rpc.ErrPageToken
	}
	return &Key{at, uuid.UUID(raw[8:])}, nil
}
