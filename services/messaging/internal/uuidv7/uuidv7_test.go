package uuidv7

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestFirst(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{time.UnixMilli(0), time.UnixMilli(1), time.Now().Truncate(time.Millisecond), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
		if got := Time(First(at)); !got.Equal(at) {
			t.Errorf("%s comes back as %s", at, got)
		}
	}
	if First(time.Unix(-1, 0)) != uuid.Nil {
		t.Error("what was before 1970 is not the first of all")
	}
	before := time.Now()
	id := uuid.Must(uuid.NewV7())
	if first, next := First(before), First(time.Now().Add(time.Millisecond)); bytes.Compare(first[:], id[:]) > 0 || bytes.Compare(id[:], next[:]) >= 0 {
		t.Errorf("%s is not from %s on and before %s", id, first, next)
	}
}
