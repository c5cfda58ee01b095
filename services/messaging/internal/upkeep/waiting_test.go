package upkeep

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
)

// counted is what waits by queue and status, counted and as it is kept.
func (u *Upkeep) counted(t *testing.T) (counted, kept map[string]int) {
	t.Helper()
	read := func(from string) map[string]int {
		list, err := postgres.Many[struct {
			Key string `db:"key"`
			N   int    `db:"n"`
		}](t.Context(), u.DB, "", `SELECT caisse || '/' || queue || '/' || status AS key, sum(n)::int AS n FROM `+from+` GROUP BY 1 HAVING sum(n) <> 0`)
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]int)
		for _, row := range list {
			found[row.Key] = row.N
		}
		return found
	}
	return read(`(SELECT caisse, queue, status, 1 AS n FROM conversation WHERE status IN (1, 2, 3, 6)) AS c`), read(waiting.Kept)
}

// What waits is known at any time: before it was counted once, after, and whoever changes
// what, by whatever statement.
func TestWaiting(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	agree := func(when string, total int) {
		t.Helper()
		counted, kept := u.counted(t)
		if !maps.Equal(counted, kept) {
			t.Errorf("%s: %v is kept, %v is counted", when, kept, counted)
		}
		n := 0
		for _, m := range kept {
			n += m
		}
		if n != total {
			t.Errorf("%s: %d wait, want %d", when, n, total)
		}
	}
	var ids []uuid.UUID
	submit := func(n int) {
		t.Helper()
		for i := range n {
			id := messagingtest.Converse(t, u.DB, "jeanne")
			if err := messagingtest.Insert(t.Context(), u.DB, "jeanne", id); err != nil { // which is there
				t.Fatal(err)
			}
			if _, err := u.DB.Exec(t.Context(), `UPDATE conversation SET queue = $2 WHERE id = $1`, id, fmt.Sprint("queue-", i%3)); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
	}
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := u.DB.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	fold := func() {
		t.Helper()
		if err := waiting.Fold(t.Context(), u.DB); err != nil {
			t.Fatal(err)
		}
	}
	agree("nothing there", 0)
	submit(9)
	agree("not counted yet", 9)
	fold()
	agree("folded before it was counted", 9)
	if ended, err := u.backfill(t.Context(), backfills[1], backfillBatch); !ended || err != nil {
		t.Fatal(ended, err)
	}
	agree("counted", 9)
	submit(6)
	agree("submitted", 15)
	for _, change := range []struct {
		sql   string
		total int
	}{
		{`UPDATE conversation SET status = 2, claimed_by = 'claire' WHERE id = $1`, 15},
		{`UPDATE conversation SET queue = 'queue-9' WHERE id = $1`, 15},
		{`UPDATE conversation SET queue = 'queue-8', status = 3 WHERE id = $1`, 15},
		{`UPDATE conversation SET hidden = true WHERE id = $1`, 15},
		{`UPDATE conversation SET status = 4, queue = 'queue-7' WHERE id = $1`, 14},
		{`UPDATE conversation SET queue = 'queue-6' WHERE id = $1`, 14},
		{`UPDATE conversation SET status = 6 WHERE id = $1`, 15},
		{`UPDATE conversation SET status = 7 WHERE id = $1`, 14},
		{`UPDATE conversation SET status = 7 WHERE id = $1`, 14},
	} {
		exec(change.sql, ids[0])
		agree(change.sql, change.total)
		if change.total == 14 {
			fold()
			agree("folded after "+change.sql, 14)
		}
	}
	exec(`DELETE FROM message WHERE conversation_id = ANY($1)`, ids[:2])
	exec(`DELETE FROM conversation WHERE id = ANY($1)`, ids[:2])
	agree("one that waits and one that does not are deleted", 13)
	fold()
	agree("folded", 13)
	var left int
	if err := u.DB.QueryRow(t.Context(), `SELECT count(*) FROM waiting_change`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d changes are left, %v", left, err)
	}
	// Counted anew, as an operator may have it.
	exec(`UPDATE waiting_count SET n = n + 5`)
	exec(`INSERT INTO waiting_count VALUES ('gone', 'gone', 1, 3)`)
	exec(`DELETE FROM backfill WHERE name = $1`, waiting.Backfill)
	agree("to be counted anew", 13)
	if _, err := u.backfill(t.Context(), backfills[1], backfillBatch); err != nil {
		t.Fatal(err)
	}
	agree("counted anew", 13)
	state, err := waiting.Everywhere(t.Context(), u.DB)
	if want := map[messagingpb.Status]int64{messagingpb.Status_SENT: 13}; err != nil || !maps.Equal(state.Counts, want) {
		t.Errorf("%v, %v, want %v", state, err, want)
	}
}

// Counting for the first time, adding up and submitting go on side by side.
func TestWaiting_SideBySide(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	const submitters, each = 4, 40
	var group sync.WaitGroup
	for range submitters {
		group.Go(func() {
			for range each {
				id := uuid.Must(uuid.NewV7())
				if err := messagingtest.Insert(t.Context(), u.DB, "jeanne", id); err != nil {
					t.Error(err)
				}
				if _, err := u.DB.Exec(t.Context(), `UPDATE conversation SET status = 2 WHERE id = $1`, id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		group.Go(func() {
			for i := range each {
				if i == each/4 {
					if _, err := u.backfill(t.Context(), backfills[1], backfillBatch); err != nil && !errors.Is(err, errFilling) {
						t.Error(err)
					}
				}
				if err := waiting.Fold(t.Context(), u.DB); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if counted, kept := u.counted(t); !maps.Equal(counted, kept) || counted["msa-75/sante/2"] != submitters*each {
		t.Errorf("%v is kept, %v is counted", kept, counted)
	}
}
