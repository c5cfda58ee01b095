package messaging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// A version is kept as it was first seen, and the newest is the one with the
// highest number, in whatever order they came.
func TestStore_Catalogues(t *testing.T) {
	t.Parallel()
	s := &store{openPool(t, testenv.Postgres(t, Migrations))}
	if kept, err := s.newestCatalogue(t.Context()); kept != nil || err != nil {
		t.Errorf("in an empty database: %v, %v", kept, err)
	}
	for _, version := range []int32{2, 1} {
		if err := s.saveCatalogue(t.Context(), catalogueOf(version)); err != nil {
			t.Fatal(err)
		}
	}
	changed := catalogueOf(2)
	changed.Queues = nil
	if err := s.saveCatalogue(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.newestCatalogue(t.Context()); err != nil || !proto.Equal(kept, catalogueOf(2)) {
		t.Errorf("newest: %v, %v", kept, err)
	}
	if kept, err := s.catalogue(t.Context(), 1); err != nil || !proto.Equal(kept, catalogueOf(1)) {
		t.Errorf("version 1: %v, %v", kept, err)
	}
	if kept, err := s.catalogue(t.Context(), 3); kept != nil || err != nil {
		t.Errorf("one that is not there: %v, %v", kept, err)
	}
}

// A submission whose (member, key) is stored leaves no trace in any table, and is
// told by its absence.
func TestStore_ConflictWritesNothing(t *testing.T) {
	t.Parallel()
	pool := openPool(t, testenv.Postgres(t, Migrations))
	s := &store{pool}
	first, fresh := newSubmission("jeanne", uuid.New()), newSubmission("jeanne", uuid.New())
	if stored, err := s.insertSubmissions(t.Context(), []*submission{first}); err != nil || len(stored) != 1 {
		t.Fatal(stored, err)
	}
	again := newSubmission("jeanne", first.idempotencyKey)
	stored, err := s.insertSubmissions(t.Context(), []*submission{again, fresh})
	if err != nil || len(stored) != 1 || stored[fresh.conversation.ID].IsZero() {
		t.Errorf("%v, %v", stored, err)
	}
	if n := len(storedIDs(t, pool)); n != 2 {
		t.Errorf("%d whole conversations", n)
	}
	for _, table := range []string{"conversation", "message", "event_log", "outbox"} {
		var n int
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil || n != 2 {
			t.Errorf("%d rows in %s, %v", n, table, err)
		}
	}
	conversation, message, err := s.submitted(t.Context(), "jeanne", first.idempotencyKey)
	if err != nil || conversation.ID != first.conversation.ID || message.ID != first.message.ID {
		t.Errorf("%v, %v, %v", conversation.ID, message.ID, err)
	}
	if _, _, err := s.submitted(t.Context(), "marc", first.idempotencyKey); !errors.Is(err, errNotFound) {
		t.Errorf("another member's key: %v", err)
	}
}

// What a fault is decides whether a batch is halved, written again, or refused.
func TestFaults(t *testing.T) {
	t.Parallel()
	sql := func(code string) error { return &pgconn.PgError{Code: code} }
	for _, test := range []struct {
		err              error
		bad, unreachable bool
	}{
		{sql("23514"), true, false}, // check
		{sql("23505"), true, false}, // unique
		{sql("22021"), true, false}, // NUL in a text
		{sql("57P01"), false, true}, // administrator's shutdown
		{sql("57014"), false, true}, // statement time-out
		{sql("53300"), false, true}, // too many connections
		{sql("08006"), false, true}, // connection failure
		{sql("25006"), false, true}, // read-only, after a fail-over
		{sql("25001"), false, false},
		{sql("42P01"), false, false}, // no such table
		{sql("40P01"), false, false}, // deadlock
		{io.ErrUnexpectedEOF, false, true},
		{&pgconn.ConnectError{}, false, true},
		{context.Canceled, false, false},
		{context.DeadlineExceeded, false, false},
		{errors.New("anything"), false, false},
		{nil, false, false},
	} {
		wrapped := test.err
		if wrapped != nil {
			wrapped = fmt.Errorf("storing: %w", test.err)
		}
		if isBadRow(wrapped) != test.bad || isUnreachable(wrapped) != test.unreachable {
			t.Errorf("%v: bad row %v, unreachable %v", test.err, isBadRow(wrapped), isUnreachable(wrapped))
		}
	}
}
