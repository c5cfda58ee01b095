package outbox

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/uuidv7"
)

// The broker drops a second event with the same id, and so would hide it if two
// relays published the same rows. They never have the same rows.
func TestRelay_RowsAreHandedOutOnce(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	want := s.fill(t, 100)
	var mu sync.Mutex
	given := make(map[string]int)
	bothHave := make(chan struct{})
	holders := 0
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			taken, result, err := s.relay(t.Context(), uuid.Nil, 50, func(rows []Row) verdict {
				mu.Lock()
				if holders++; holders == 2 {
					close(bothHave)
				}
				var ids []uuid.UUID
				for _, row := range rows {
					given[row.ID.String()]++
					ids = append(ids, row.ID)
				}
				mu.Unlock()
				<-bothHave // while each holds its rows
				return verdict{acked: ids}
			})
			if taken != 50 || len(result.acked) != 50 || err != nil {
				t.Error(taken, result, err)
			}
		})
	}
	wg.Wait()
	if len(given) != len(want) || slices.Max(slices.Collect(maps.Values(given))) != 1 {
		t.Errorf("%d of %d events were handed out, one %d times", len(given), len(want), slices.Max(slices.Collect(maps.Values(given))))
	}
}

// Only what was acknowledged leaves the outbox.
func TestRelay_KeepsWhatWasNotAcknowledged(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	s.fill(t, 3)
	var first uuid.UUID
	taken, result, err := s.relay(t.Context(), uuid.Nil, 10, func(rows []Row) verdict {
		first = rows[0].ID
		return verdict{acked: []uuid.UUID{first}, fault: errNothingPasses}
	})
	if taken != 3 || len(result.acked) != 1 || err != nil {
		t.Error(taken, result, err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox WHERE id <> $1`, first); n != 2 {
		t.Errorf("%d wait", n)
	}
	if got, err := s.Figures(t.Context(), uuid.Nil); got.Waiting != 2 || got.Oldest <= 0 || got.SetAside != 0 || err != nil {
		t.Error(got, err)
	}
}

// Rows that are deleted stay while somebody holds an older snapshot. A pass does not read
// them, and what was committed late is found all the same.
func TestRelay_BehindAnOldSnapshot(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	db := s.Store
	const dead = 20_000
	reader := behind(t, db, dead)
	events := s.connect(t)
	relays := NewRelay(db, events, eventspb.DefaultDomain, time.Hour)
	s.fill(t, 1)
	if err := relays.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if age := time.Since(uuidv7.Time(relays.Begin())); relays.wholeAt.IsZero() || age < lateness || age > lateness+time.Minute {
		t.Errorf("a pass begins at %s ago", age)
	}
	s.fill(t, 1)
	pages := func(from uuid.UUID) (n int) {
		t.Helper()
		var plan []struct {
			Plan struct {
				Hit  int `json:"Shared Hit Blocks"`
				Read int `json:"Shared Read Blocks"`
			}
		}
		if err := s.pool.QueryRow(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT FROM outbox WHERE id >= $1 ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED`, from).Scan(&plan); err != nil {
			t.Fatal(err)
		}
		return plan[0].Plan.Hit + plan[0].Plan.Read
	}
	if near, whole := pages(relays.Begin()), pages(uuid.Nil); near > 20 || whole < 10*near {
		t.Errorf("a pass reads %d pages, the whole outbox has %d", near, whole)
	}
	// Committed late, or by a process whose clock is behind.
	late := uuidv7.First(time.Now().Add(-5 * time.Minute))
	if _, err := s.pool.Exec(t.Context(), `UPDATE outbox SET id = $1`, late); err != nil {
		t.Fatal(err)
	}
	if err := relays.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != 1 {
		t.Errorf("%d wait, want the late one", n)
	}
	// The figures begin where the relay does.
	for from, want := range map[uuid.UUID]int64{relays.Begin(): 0, uuid.Nil: 1} {
		if got, err := db.Figures(t.Context(), from); got.Waiting != want || err != nil {
			t.Errorf("%d wait from %s on, %v, want %d", got.Waiting, from, err, want)
		}
		if stale, err := db.Stale(t.Context(), from, -time.Hour); stale != (want > 0) || err != nil {
			t.Errorf("stale from %s on: %v, %v", from, stale, err)
		}
	}
	relays.wholeAt = time.Now().Add(-wholeEvery)
	if err := relays.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != 0 {
		t.Errorf("%d wait after everything was looked at", n)
	}
	// With a broker that takes nothing, all that waits counts, however late it came.
	s.fill(t, 1)
	events.Close()
	relays.wholeAt = time.Time{}
	if err := relays.drain(t.Context()); err == nil || relays.Begin() != uuid.Nil {
		t.Errorf("without a broker: %v, a pass begins at %s", err, relays.Begin())
	}
	if err := reader.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// behind leaves so many deleted rows in the outbox, of the last hour, behind the snapshot
// of the connection that it returns.
func behind(t testing.TB, s *Store, dead int) *pgx.Conn {
	t.Helper()
	reader, err := pgx.ConnectConfig(t.Context(), s.pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`SET idle_in_transaction_session_timeout = 0`, `BEGIN ISOLATION LEVEL REPEATABLE READ`, `SELECT count(*) FROM outbox`,
	} {
		if _, err := reader.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{
		`INSERT INTO outbox (id, type, caisse, conversation_id, payload)
		 SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000 - 120000 - 3600000.0 * n / $1::int)::bigint), 12, '0') || '7000' || '8' || substr(md5(n::text), 1, 15))::uuid,
			'message-submitted', 'msa-75', gen_random_uuid(), decode(repeat('00', 200), 'hex') FROM generate_series(1, $1::int) n`,
		`DELETE FROM outbox WHERE $1 > 0`,
	} {
		if _, err := s.pool.Exec(t.Context(), sql, dead); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{`VACUUM outbox`, `ANALYZE outbox`} {
		if _, err := s.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return reader
}
