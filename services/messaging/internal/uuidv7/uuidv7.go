// Package uuidv7 converts between times and the ids that are in their order: the first 48
// bits of a UUIDv7 (RFC 9562, 5.7) are milliseconds since 1970.
package uuidv7

import (
	"time"

	"github.com/google/uuid"
)

// First returns the smallest id of a time, to the millisecond; that of 1970 for what came
// before.
func First(at time.Time) (id uuid.UUID) {
	milliseconds := max(at.UnixMilli(), 0)
	for i := range 6 {
		id[i] = byte(milliseconds >> (8 * (5 - i))) //nolint:gosec // one byte of it
	}
	return id
}

// Time returns when an id was made, to the millisecond.
func Time(id uuid.UUID) time.Time {
	var milliseconds int64
	for _, octet := range id[:6] {
		milliseconds = milliseconds<<8 | int64(octet)
	}
	return time.UnixMilli(milliseconds)
}
