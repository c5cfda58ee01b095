package agent

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Conversations are found at no more than twice what it takes to read one, in pages of the
// database: whatever they are looked for by.
func TestFind_ReadsLittle(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, migrations.Files)
	// Sessions of their own, which say themselves what they have read so far.
	session := func() *pgxpool.Pool {
		pool, err := postgres.Open(t.Context(), url, func(cfg *pgxpool.Config) { cfg.MaxConns, cfg.MinConns = 1, 1 })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}
	told := func(pool *pgxpool.Pool) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), `SELECT pg_stat_force_next_flush()`); err != nil {
			t.Fatal(err)
		}
	}
	aside, pool := session(), session()
	if err := fill(t.Context(), aside, 0, 20_000); err != nil {
		t.Fatal(err)
	}
	if _, err := aside.Exec(t.Context(), `VACUUM (ANALYZE)`); err != nil {
		t.Fatal(err)
	}
	const rounds = 50
	searches := make(map[lifecycle.Action][]search)
	for _, action := range []lifecycle.Action{lifecycle.FindByReference, lifecycle.FindByNumber, lifecycle.FindOfMember} {
		for n := range 2 * rounds {
			by, err := searchFor(t.Context(), aside, action, n)
			if err != nil {
				t.Fatal(err)
			}
			searches[action] = append(searches[action], by)
		}
	}
	told(aside)
	s := &Server{DB: pool}
	claire := &auth.Identity{Subject: "agent:claire", Name: "Claire", Caisse: "msa-75", Queues: []string{auth.AllQueues}}
	costs := func(do func(n int) error) int64 {
		t.Helper()
		read := func() int64 {
			told(pool)
			pages, err := postgres.One[int64](t.Context(), pool, "counting pages", `
				SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read, 0) + coalesce(idx_blks_hit, 0))::bigint FROM pg_statio_user_tables`)
			if err != nil {
				t.Fatal(err)
			}
			return pages
		}
		before := int64(0)
		for n := range 2 * rounds {
			if n == rounds { // by then, plans are settled
				before = read()
			}
			if err := do(n); err != nil {
				t.Fatal(err)
			}
		}
		return (read() - before) / rounds
	}
	one := costs(func(n int) error {
		return failed(s.readForAgent(t.Context(), claire, searches[lifecycle.FindOfMember][n].conversation))
	})
	if one < 10 {
		t.Fatalf("reading a conversation takes %d pages: this test counts nothing", one)
	}
	for action, list := range searches {
		found := 0
		pages := costs(func(n int) error {
			rows, err := s.find(t.Context(), claire, list[n], nil, 21)
			found += len(rows)
			return err
		})
		t.Logf("%s: %d pages for %.1f conversations; reading one takes %d", action, pages, float64(found)/(2*rounds), one)
		if pages > 2*one || found < rounds {
			t.Errorf("%s takes %d pages for %d conversations, and reading one %d", action, pages, found, one)
		}
	}
}
