package upkeep

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// answered stores conversations, of which every third was answered by a program that did
// not note when, and returns those.
func answered(t *testing.T, u *Upkeep, n int) (lacking map[uuid.UUID]bool) {
	t.Helper()
	lacking = make(map[uuid.UUID]bool)
	for i := range n {
		id := messagingtest.Converse(t, u.DB, "jeanne")
		if i%3 != 0 {
			continue
		}
		lacking[id] = true
		for _, sql := range []string{
			`INSERT INTO message (id, conversation_id, author, agent_id, body, body_chars, created_at) VALUES (gen_random_uuid(), $1, 2, 'claire', '', 10, '2026-03-01T10:00:00Z')`,
			`INSERT INTO message (id, conversation_id, author, agent_id, body, body_chars, created_at) VALUES (gen_random_uuid(), $1, 2, 'claire', '', 10, '2026-03-02T10:00:00Z')`,
			`UPDATE conversation SET last_reply_id = (SELECT id FROM message WHERE conversation_id = $1 AND author = 2 ORDER BY created_at DESC LIMIT 1) WHERE id = $1`,
		} {
			if _, err := u.DB.Exec(t.Context(), sql, id); err != nil {
				t.Fatal(err)
			}
		}
	}
	return lacking
}

// What migrations leave to the process is done in batches, by one process at a time, and
// goes on where it was.
func TestBackfill(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	lacking := answered(t, u, 20)
	ended, batches := false, 0
	for ; !ended; batches++ {
		var err error
		if ended, err = u.backfill(t.Context(), backfills[0], 6); err != nil {
			t.Fatal(err)
		}
	}
	if batches != 5 { // the last finds nothing
		t.Errorf("%d batches of 6, want 5", batches)
	}
	rows, err := postgres.Many[struct {
		ID    uuid.UUID  `db:"id"`
		First *time.Time `db:"first_reply_at"`
	}](t.Context(), u.DB, "listing", `SELECT id, first_reply_at FROM conversation`)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if lacking[row.ID] != (row.First != nil) || row.First != nil && !row.First.Equal(time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)) {
			t.Errorf("%s was first answered at %v, lacking %t", row.ID, row.First, lacking[row.ID])
		}
	}
	if ended, err := u.backfill(t.Context(), backfills[0], 6); !ended || err != nil {
		t.Errorf("once it has ended: %t, %v", ended, err)
	}
}

// While one process works, the others leave it to that one.
func TestBackfill_OneAtATime(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	answered(t, u, 3)
	if _, err := u.backfill(t.Context(), backfills[0], 1); err != nil {
		t.Fatal(err)
	}
	other, err := u.DB.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Rollback(t.Context())
	if _, err := other.Exec(t.Context(), `SELECT FROM backfill FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	if _, err := u.backfill(t.Context(), backfills[0], 1); !errors.Is(err, errFilling) {
		t.Errorf("beside another: %v", err)
	}
	if err := other.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for ended := false; !ended; {
				var err error
				if ended, err = u.backfill(t.Context(), backfills[0], 1); err != nil && !errors.Is(err, errFilling) {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}
