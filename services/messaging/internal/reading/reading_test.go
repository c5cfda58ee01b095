package reading

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

const caisse = "msa-75"

// read records n entries of an agent some time ago.
func read(t *testing.T, db postgres.Querier, caisse, agent, action string, n int, ago time.Duration) {
	t.Helper()
	if _, err := db.Exec(t.Context(), `
		INSERT INTO audit (caisse, agent_id, agent_name, action, conversation_id, at)
		SELECT $1, $2::text, 'Nom de ' || $2::text, $3, gen_random_uuid(), now() - $4::interval FROM generate_series(1, $5::int)`, caisse, agent, action, ago, n); err != nil {
		t.Fatal(err)
	}
}

// habit records n readings on each of so many days before the last two.
func habit(t *testing.T, db postgres.Querier, caisse, agent string, n, days int) {
	t.Helper()
	for day := range days {
		read(t, db, caisse, agent, "read", n, time.Duration(day+2)*24*time.Hour)
	}
}

// catchUp counts until the present, and returns how many there are to tell of.
func catchUp(t *testing.T, db *pgxpool.Pool) (told int64) {
	t.Helper()
	for behind := true; behind; {
		var n int64
		var err error
		if behind, n, err = Count(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		told += n
	}
	return told
}

// unusual is what is known of a caisse: "agent readings/usual".
func unusual(t *testing.T, db postgres.Querier, caisse string) (list []string) {
	t.Helper()
	readers, err := Unusual(t.Context(), db, caisse)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readers {
		if r.AgentName != "Nom de "+r.AgentID {
			t.Errorf("%s has the name %q", r.AgentID, r.AgentName)
		}
		list = append(list, fmt.Sprintf("%s %d/%d", r.AgentID, r.Readings, r.Usual))
	}
	return list
}

// hours are all that is counted, by reader.
func hours(t *testing.T, db postgres.Querier) map[string]int {
	t.Helper()
	list, err := postgres.Many[struct {
		Reader string `db:"reader"`
		N      int    `db:"n"`
	}](t.Context(), db, "", `SELECT caisse || '/' || agent_id AS reader, sum(n)::int AS n FROM reading_hour GROUP BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]int)
	for _, row := range list {
		found[row.Reader] = row.N
	}
	return found
}

func TestUnusual(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		prepare func(db postgres.Querier)
		want    []string
	}{
		"60 in place of 10": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 10, 20)
			read(t, db, caisse, "claire", "read", 60, 0)
		}, []string{"claire 60/10"}},
		"49 in place of 2": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 2, 20)
			read(t, db, caisse, "claire", "read", 49, 0)
		}, nil},
		"50 in place of 2": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 2, 20)
			read(t, db, caisse, "claire", "read", 50, 0)
		}, nil},
		"51 in place of 2, some of them searches": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 2, 20)
			for _, action := range []string{"read", "find-reference", "find-number"} {
				read(t, db, caisse, "claire", action, 17, 0)
			}
		}, []string{"claire 51/2"}},
		"five times as many exactly": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 12, 20)
			read(t, db, caisse, "claire", "read", 60, 0)
		}, nil},
		"one more": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 12, 20)
			read(t, db, caisse, "claire", "read", 61, 0)
		}, []string{"claire 61/12"}},
		"what is no reading": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 1, 20)
			read(t, db, caisse, "claire", "claim", 80, 0)
			read(t, db, caisse, "claire", "claim", 80, 0)
		}, nil},
		"on few days, but always so many": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 60, 5)
			read(t, db, caisse, "claire", "read", 80, 0)
		}, nil},
		"new among those who read 80": {func(db postgres.Querier) {
			habit(t, db, caisse, "karim", 80, 10)
			habit(t, db, caisse, "sofiane", 80, 10)
			read(t, db, caisse, "new", "read", 60, 0)
		}, nil},
		"new among those who read 10": {func(db postgres.Querier) {
			habit(t, db, caisse, "karim", 10, 10)
			habit(t, db, "msa-35", "loic", 500, 10)
			read(t, db, caisse, "new", "read", 60, 0)
		}, []string{"new 60/10"}},
		"four days are not enough to have a habit": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 1, 4)
			habit(t, db, caisse, "karim", 80, 20)
			read(t, db, caisse, "claire", "read", 60, 0)
		}, nil},
		"nor to be measured by it": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 30, 4)
			habit(t, db, caisse, "karim", 4, 20)
			read(t, db, caisse, "claire", "read", 60, 0)
		}, []string{"claire 60/8"}},
		"five are": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 1, 5)
			habit(t, db, caisse, "karim", 80, 20)
			read(t, db, caisse, "claire", "read", 60, 0)
		}, []string{"claire 60/1"}},
		"the first day of a caisse": {func(db postgres.Querier) {
			habit(t, db, "msa-35", "loic", 1, 10)
			read(t, db, caisse, "claire", "read", 600, 0)
		}, nil},
		"the day before yesterday": {func(db postgres.Querier) {
			habit(t, db, caisse, "claire", 1, 20)
			read(t, db, caisse, "claire", "read", 600, 49*time.Hour)
		}, nil},
		"five weeks ago is not usual": {func(db postgres.Querier) {
			read(t, db, caisse, "claire", "read", 900, 30*24*time.Hour)
			habit(t, db, caisse, "claire", 1, 20)
			read(t, db, caisse, "claire", "read", 60, 0)
		}, []string{"claire 60/1"}},
		"in another caisse": {func(db postgres.Querier) {
			habit(t, db, "msa-35", "claire", 1, 20)
			read(t, db, "msa-35", "claire", "read", 60, 0)
		}, nil},
		"most first": {func(db postgres.Querier) {
			for i, agent := range []string{"a", "b", "c"} {
				habit(t, db, caisse, agent, 1, 6)
				read(t, db, caisse, agent, "read", 60+i%2, 0)
			}
		}, []string{"b 61/1", "a 60/1", "c 60/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := messagingtest.Pool(t)
			row.prepare(db)
			catchUp(t, db)
			if got := unusual(t, db, caisse); !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// Whatever is counted again, by a process that has started anew or by several at once, is
// counted once.
func TestCount_Once(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	habit(t, db, caisse, "claire", 10, 20)
	read(t, db, caisse, "claire", "read", 60, 0)
	if told := catchUp(t, db); told != 1 {
		t.Errorf("%d are told of, want 1", told)
	}
	want := map[string]int{caisse + "/claire": 260}
	again := func(when string) {
		t.Helper()
		if told := catchUp(t, db); told != 0 {
			t.Errorf("%s: %d are told of again", when, told)
		}
		if got := hours(t, db); !maps.Equal(got, want) {
			t.Errorf("%s: %v is counted, want %v", when, got, want)
		}
	}
	again("another round")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				if _, _, err := Count(t.Context(), db); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	again("several processes")
	if _, err := db.Exec(t.Context(), `UPDATE reading_progress SET counted = now() - interval '40 days'`); err != nil {
		t.Fatal(err)
	}
	again("after a pause")
	read(t, db, caisse, "claire", "read", 3, 0)
	want[caisse+"/claire"] += 3
	again("more of the hour under way")
	if got := unusual(t, db, caisse); !slices.Equal(got, []string{"claire 63/10"}) {
		t.Errorf("got %v", got)
	}
}

// While a process counts, another does nothing.
func TestCount_OneAtATime(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	read(t, db, caisse, "claire", "read", 5, 0)
	err := pgx.BeginFunc(t.Context(), db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT FROM reading_progress FOR UPDATE`); err != nil {
			return err
		}
		if behind, told, err := Count(t.Context(), db); behind || told != 0 || err != nil {
			t.Errorf("beside another: behind %t, %d told, %v", behind, told, err)
		}
		return nil
	})
	if err != nil || len(hours(t, db)) != 0 {
		t.Errorf("%v is counted, %v", hours(t, db), err)
	}
}

// What was recorded while nobody counted is counted later, and what a transaction of the hour
// before has committed late.
func TestCount_AfterAPause(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	habit(t, db, caisse, "claire", 1, 10)
	catchUp(t, db)
	if _, err := db.Exec(t.Context(), `UPDATE reading_progress SET counted = counted - interval '3 days'`); err != nil {
		t.Fatal(err)
	}
	read(t, db, caisse, "claire", "read", 7, 30*time.Hour)
	read(t, db, caisse, "karim", "read", 4, 70*time.Hour)
	catchUp(t, db)
	read(t, db, caisse, "claire", "read", 5, time.Hour)
	catchUp(t, db)
	if got, want := hours(t, db), map[string]int{caisse + "/claire": 22, caisse + "/karim": 4}; !maps.Equal(got, want) {
		t.Errorf("%v is counted, want %v", got, want)
	}
}

// Entries of binaries that did not know the caisse are of that of their conversation.
func TestCount_OfEarlierBinaries(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	id := messagingtest.Converse(t, db, "jeanne")
	for _, of := range []uuid.UUID{id, id, uuid.New()} { // the last is of one that has gone
		if _, err := db.Exec(t.Context(), `INSERT INTO audit (agent_id, action, conversation_id) VALUES ('claire', 'read', $1)`, of); err != nil {
			t.Fatal(err)
		}
	}
	catchUp(t, db)
	if got, want := hours(t, db), map[string]int{"msa-75/claire": 2}; !maps.Equal(got, want) {
		t.Errorf("%v is counted, want %v", got, want)
	}
}

// Somebody who reads as usual again is unusual no more; they are told of once a day, whatever
// happens in between, and forgotten when that is a day ago.
func TestUnusual_Ends(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	habit(t, db, caisse, "claire", 10, 20)
	read(t, db, caisse, "claire", "read", 60, 0)
	exec := func(sql string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	look := func(when string, told, count int64, rows int) {
		t.Helper()
		if got := catchUp(t, db); got != told {
			t.Errorf("%s: %d are told of, want %d", when, got, told)
		}
		n, err := CountUnusual(t.Context(), db)
		if err != nil || n != count || len(unusual(t, db, caisse)) != int(count) {
			t.Errorf("%s: %d are unusual, want %d, %v", when, n, count, err)
		}
		if kept, err := postgres.One[int](t.Context(), db, "", `SELECT count(*) FROM unusual_reader`); err != nil || kept != rows {
			t.Errorf("%s: %d rows are kept, want %d, %v", when, kept, rows, err)
		}
	}
	// Readings are kept where they are counted, or the next round would count them again.
	move := func(by string) {
		t.Helper()
		exec(`DELETE FROM reading_hour`)
		exec(`UPDATE audit SET at = at + interval '` + by + `' WHERE at > now() - interval '47 hours'`)
		exec(`UPDATE reading_progress SET counted = 'epoch'`)
	}
	look("at first", 1, 1, 1)
	move("-40 hours")
	look("when they are not of the last day", 0, 0, 1)
	move("40 hours")
	look("again on the same day", 0, 1, 1)
	exec(`UPDATE unusual_reader SET told_at = told_at - interval '24 hours'`)
	look("still on the next day", 1, 1, 1)
	move("-40 hours")
	exec(`UPDATE unusual_reader SET told_at = told_at - interval '24 hours'`)
	look("when it is over", 0, 0, 1)
	look("a round later", 0, 0, 0)
}

func TestForget(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	for _, age := range []string{"1 hour", "28 days", "29 days", "40 days"} {
		if _, err := db.Exec(t.Context(), `INSERT INTO reading_hour VALUES ('msa-75', 'claire', now() - $1::text::interval, '', 1)`, age); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int64{2, 0} {
		if n, err := Forget(t.Context(), db, Life); n != want || err != nil {
			t.Errorf("%d are forgotten, want %d, %v", n, want, err)
		}
	}
}
