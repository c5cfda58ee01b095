package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// open opens a database of the test's own.
func open(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// stage is a vault and a database of messaging's, on which processes run.
type stage struct {
	cfg Config
	// vaultURL is where the vault's database is.
	vaultURL string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{vaultURL: testenv.Postgres(t, Migrations)}
	s.cfg = Config{DB: open(t, s.vaultURL), Data: open(t, testenv.Postgres(t, migrations.Files)), Keyset: newKeyset(t), Remember: LeastRemembered}
	return s
}

// process is a vault as one process has it.
func (s *stage) process(t *testing.T, changes ...func(*Config)) *Vault {
	t.Helper()
	cfg := s.cfg
	for _, change := range changes {
		change(&cfg)
	}
	v := New(cfg)
	if again, err := v.Reconcile(t.Context()); err != nil || len(again) > 0 {
		t.Fatal(again, err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return v
}

func of(t *testing.T, v *Vault, member string) Key {
	t.Helper()
	key, err := v.Of(t.Context(), member)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// However many processes meet a member for the first time at once, there is one key.
func TestVault_OneKeyForEachMember(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	const processes, members = 4, 50
	var mu sync.Mutex
	seen := make(map[string][]Key)
	var group sync.WaitGroup
	for range processes {
		v := s.process(t)
		for n := range members {
			member := fmt.Sprint("member ", n)
			group.Go(func() {
				key, err := v.Of(t.Context(), member)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				seen[member] = append(seen[member], key)
			})
		}
	}
	group.Wait()
	ids := make(map[uuid.UUID]string)
	for member, keys := range seen {
		for _, key := range keys {
			if key.ID != keys[0].ID || !bytes.Equal(key.secret, keys[0].secret) || len(key.secret) != secretBytes {
				t.Fatalf("%s has several keys", member)
			}
		}
		if other, taken := ids[keys[0].ID]; taken {
			t.Errorf("%s has the key of %s", member, other)
		}
		ids[keys[0].ID] = member
	}
	if n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM member_key`); n != members || err != nil {
		t.Errorf("%d keys are stored, %v", n, err)
	}
}

func TestVault_Key(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	key := of(t, s.process(t), "jeanne")
	v := s.process(t)
	if _, err := v.Held("jeanne", key.ID); !errors.As(err, new(*NeededError)) {
		t.Errorf("before it was read: %v", err)
	}
	if got, err := v.Key(t.Context(), "jeanne", key.ID); err != nil || !bytes.Equal(got.secret, key.secret) {
		t.Errorf("%v", err)
	}
	if got, err := v.Held("jeanne", key.ID); err != nil || got.ID != key.ID {
		t.Errorf("afterwards: %v", err)
	}
	for name, ask := range map[string]struct {
		member string
		id     uuid.UUID
	}{"another's": {"paul", key.ID}, "another": {"jeanne", uuid.New()}, "none": {"jeanne", uuid.Nil}} {
		if _, err := v.Key(t.Context(), ask.member, ask.id); !errors.Is(err, ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := v.Key(t.Context(), "nobody", uuid.New()); !errors.Is(err, ErrLost) {
		t.Errorf("a member without a key: %v", err)
	}
	if n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM member_key`); n != 1 || err != nil {
		t.Errorf("reading has made keys: %d, %v", n, err)
	}
}

// While the vault is away, members whose keys were used go on, and others get an error that
// says so.
func TestVault_Away(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	away := open(t, s.vaultURL)
	v := s.process(t, func(cfg *Config) { cfg.DB = away })
	key := of(t, v, "jeanne")
	of(t, s.process(t), "paul")
	away.Close()
	if got, err := v.Of(t.Context(), "jeanne"); err != nil || got.ID != key.ID {
		t.Errorf("a member who was seen: %v", err)
	}
	if _, err := v.Key(t.Context(), "jeanne", key.ID); err != nil {
		t.Errorf("what she wrote: %v", err)
	}
	for _, member := range []string{"paul", "new"} {
		if _, err := v.Of(t.Context(), member); err == nil || errors.Is(err, ErrLost) || errors.Is(err, ErrErased) {
			t.Errorf("%s: %v", member, err)
		}
	}
	if err := v.Load(t.Context(), []string{"jeanne"}); err != nil {
		t.Errorf("nothing to load: %v", err)
	}
	if _, err := v.Erase(t.Context(), "jeanne", []uuid.UUID{key.ID}); err == nil {
		t.Error("erased without the vault")
	}
	if _, err := v.Of(t.Context(), "jeanne"); err != nil {
		t.Errorf("after an erasure that failed: %v", err)
	}
}

// Without news of erasures, no key is used.
func TestVault_Stale(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v := s.process(t)
	key := of(t, v, "jeanne")
	v.mu.Lock()
	v.heard = time.Now().Add(-staleAfter - time.Second)
	v.mu.Unlock()
	_, err1 := v.Of(t.Context(), "jeanne")
	_, err2 := v.Key(t.Context(), "jeanne", key.ID)
	_, err3 := v.Held("jeanne", key.ID)
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, ErrStale) {
			t.Errorf("got %v", err)
		}
	}
	if err := v.hear(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := of(t, v, "jeanne"); got.ID != key.ID {
		t.Error("another key")
	}
}

func TestVault_WrongKeyset(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	of(t, s.process(t), "jeanne")
	v := s.process(t, func(cfg *Config) { cfg.Keyset = newKeyset(t) })
	if _, err := v.Of(t.Context(), "jeanne"); err == nil || errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
}

// An erased key is gone for the process that erased it at once, and for the others as soon as
// they hear of it. The member's next has nothing to do with it.
func TestErase(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v, other := s.process(t), s.process(t)
	key, pauls := of(t, v, "jeanne"), of(t, v, "paul")
	of(t, other, "jeanne")
	erased, err := v.Erase(t.Context(), "jeanne", nil)
	if err != nil || len(erased) != 1 || erased[0] != key.ID {
		t.Fatal(erased, err)
	}
	if _, err := v.Key(t.Context(), "jeanne", key.ID); !errors.Is(err, ErrErased) {
		t.Errorf("afterwards: %v", err)
	}
	if _, err := other.Held("jeanne", key.ID); err != nil {
		t.Errorf("the other process did not have it: %v", err)
	}
	if err := other.hear(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, process := range map[string]*Vault{"here": v, "elsewhere": other, "new": s.process(t)} {
		if _, err := process.Key(t.Context(), "jeanne", key.ID); !errors.Is(err, ErrErased) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := process.Key(t.Context(), "paul", pauls.ID); err != nil {
			t.Errorf("%s, another member's: %v", name, err)
		}
		if again := of(t, process, "jeanne"); again.ID == key.ID || bytes.Equal(again.secret, key.secret) {
			t.Errorf("%s: the next key is the old one", name)
		}
	}
	if other.keys.Contains("jeanne") {
		for _, held := range other.keys.Values() {
			if held.ID == key.ID {
				t.Error("the key is still in memory")
			}
		}
	}
}

// Erasing needs no key, and may be repeated.
func TestErase_Again(t *testing.T) {
	t.Parallel()
	v := newStage(t).process(t)
	if erased, err := v.Erase(t.Context(), "nobody", nil); err != nil || len(erased) != 0 {
		t.Errorf("a member without a key: %v, %v", erased, err)
	}
	key := of(t, v, "jeanne")
	for range 2 {
		if erased, err := v.Erase(t.Context(), "jeanne", []uuid.UUID{key.ID}); err != nil || len(erased) != 1 {
			t.Errorf("%v, %v", erased, err)
		}
	}
}

// Nothing that an erased key has sealed is stored: neither by who begins afterwards, nor by a
// transaction that was under way, for which the erasure waits.
func TestErase_WaitsForWriters(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v, other := s.process(t), s.process(t)
	key := of(t, other, "jeanne")
	store := func(tx pgx.Tx) (int64, error) {
		return postgres.Exec(t.Context(), tx, "storing", `INSERT INTO draft (member_id, id, key_id, body)
			SELECT 'jeanne', gen_random_uuid(), $1, '' WHERE `+NotErased("$1::uuid"), key.ID)
	}
	writing, err := s.cfg.Data.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer writing.Rollback(t.Context())
	if n, err := store(writing); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := v.Erase(t.Context(), "jeanne", nil)
		ended <- err
	}()
	// Who begins now is refused, time and again, while the erasure waits.
	for refused := 0; refused < 50; {
		err := pgx.BeginFunc(t.Context(), s.cfg.Data, func(tx pgx.Tx) error {
			n, err := store(tx)
			if err == nil && n == 0 {
				refused++
			} else if err == nil {
				err = errTooSoon
			}
			return err
		})
		if err != nil && !errors.Is(err, errTooSoon) {
			t.Fatal(err)
		}
	}
	if n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM member_key`); n != 1 || err != nil {
		t.Errorf("it has not waited: %d keys, %v", n, err)
	}
	if err := writing.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n, err := postgres.One[int64](t.Context(), s.cfg.Data, "counting", `SELECT count(*) FROM draft`); n != 1 || err != nil {
		t.Errorf("%d stored before, %v", n, err)
	}
	if err := other.CheckErased(t.Context(), s.cfg.Data, key.ID); !errors.Is(err, ErrErased) {
		t.Errorf("got %v", err)
	}
	if again := of(t, other, "jeanne"); again.ID == key.ID {
		t.Error("the key is used again")
	}
}

var errTooSoon = errors.New("not yet refused")

// A vault that comes back from before an erasure does not open what was erased, not even
// before anybody has compared.
func TestReconcile_VaultFromBefore(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v := s.process(t)
	key, pauls := of(t, v, "jeanne"), of(t, v, "paul")
	before, err := postgres.Many[keyRow](t.Context(), s.cfg.DB, "copying", `SELECT `+keyColumns+` FROM member_key`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Erase(t.Context(), "jeanne", nil); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`TRUNCATE erased_key, member_key`, `INSERT INTO member_key (` + keyRows.Columns() + `) SELECT * FROM ` + keyRows.From("given", 1)} {
		var args []any
		if sql[0] == 'I' {
			args = keyRows.Args(before)
		}
		if _, err := s.cfg.DB.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	fresh := New(s.cfg)
	if err := fresh.hear(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, process := range map[string]*Vault{"a process that went on": v, "one that begins": fresh} {
		if found, back, err := process.find(t.Context(), []ask{{"jeanne", false}}, func(ask) bool { return true }); err != nil || len(found) != 0 || len(back) != 1 {
			t.Errorf("%s has it again: %v, %v, %v", name, len(found), back, err)
		}
	}
	if next := of(t, v, "jeanne"); next.ID == key.ID {
		t.Error("what the member writes now is sealed by the erased key")
	}
	if again, err := fresh.Reconcile(t.Context()); err != nil || len(again) != 0 {
		t.Fatal(again, err)
	}
	// Before that was noticed, too, it is noted which file the key lay in.
	if n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM erased_key WHERE id = $1 AND lies_in IS NOT NULL`, key.ID); n != 1 || err != nil {
		t.Errorf("the file with it is not written anew: %d, %v", n, err)
	}
	if n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM member_key WHERE id = $1`, key.ID); n != 0 || err != nil {
		t.Errorf("it is still there: %d, %v", n, err)
	}
	if _, err := v.Key(t.Context(), "paul", pauls.ID); err != nil {
		t.Errorf("another member's: %v", err)
	}
	if _, err := v.Key(t.Context(), "jeanne", key.ID); !errors.Is(err, ErrErased) {
		t.Errorf("got %v", err)
	}
}

// A database of messaging's that comes back from before an erasure, or an erasure that was cut
// off, is told which keys are gone until it says that what they sealed is gone too.
func TestReconcile_MessagingFromBefore(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v := s.process(t)
	key := of(t, v, "jeanne")
	if _, err := v.Erase(t.Context(), "jeanne", nil); err != nil {
		t.Fatal(err)
	}
	reconciled := func(want ...uuid.UUID) {
		t.Helper()
		again, err := New(s.cfg).Reconcile(t.Context())
		if err != nil || len(again) != len(want) || len(want) > 0 && again[0] != want[0] {
			t.Errorf("got %v, %v, want %v", again, err, want)
		}
	}
	reconciled() // another process may be at it
	if _, err := s.cfg.Data.Exec(t.Context(), `UPDATE erased_member_key SET erased_at = now() - $1::interval`, cutOff); err != nil {
		t.Fatal(err)
	}
	reconciled(key.ID) // it was cut off
	if _, err := s.cfg.Data.Exec(t.Context(), `TRUNCATE erased_member_key`); err != nil {
		t.Fatal(err)
	}
	reconciled(key.ID) // it came back from before
	if err := v.Ended(t.Context(), s.cfg.Data, []uuid.UUID{key.ID}); err != nil {
		t.Fatal(err)
	}
	reconciled()
	// The time is that of the erasure, so that both forget it at once.
	if n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM erased_key WHERE erased_at > now() - interval '1 hour'`); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// What is known of erasures goes after its term from both databases, and does not come back.
func TestForget(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v := s.process(t)
	for n := range 3 {
		member := fmt.Sprint("member ", n)
		of(t, v, member)
		erased, err := v.Erase(t.Context(), member, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Ended(t.Context(), s.cfg.Data, erased); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []struct {
		db  *pgxpool.Pool
		sql string
	}{
		{s.cfg.DB, `UPDATE erased_key SET lies_in = NULL, erased_at = now() - $1::interval WHERE id IN (SELECT id FROM erased_key ORDER BY id LIMIT 2)`},
		{s.cfg.Data, `UPDATE erased_member_key SET erased_at = now() - $1::interval WHERE id IN (SELECT id FROM erased_member_key ORDER BY id LIMIT 2)`},
	} {
		if _, err := sql.db.Exec(t.Context(), sql.sql, s.cfg.Remember); err != nil {
			t.Fatal(err)
		}
	}
	for want := int64(2); want >= 0; want -= 2 {
		if n, err := v.Forget(t.Context(), s.cfg.Remember); n != want || err != nil {
			t.Errorf("%d forgotten, %v, want %d", n, err, want)
		}
		if again, err := v.Reconcile(t.Context()); err != nil || len(again) != 0 {
			t.Error(again, err)
		}
	}
}

// A key that the key set does not open is no hindrance to others', nor to its erasure.
func TestVault_Unopened(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v := s.process(t)
	good, bad := of(t, v, "good"), of(t, v, "bad")
	if _, err := s.cfg.DB.Exec(t.Context(), `UPDATE member_key SET wrapped = '\x00' WHERE member = 'bad'`); err != nil {
		t.Fatal(err)
	}
	results, err := s.process(t).look(t.Context(), []ask{{"bad", true}, {"good", true}, {"nobody", false}})
	if err != nil || !errors.Is(results[0].Err, ErrUnopened) || results[1].Err != nil || results[1].Value.ID != good.ID || !errors.Is(results[2].Err, ErrLost) {
		t.Errorf("%v, %v", results, err)
	}
	fresh := s.process(t)
	if err := fresh.Load(t.Context(), []string{"bad", "good"}); err != nil {
		t.Errorf("loading both: %v", err)
	}
	if erased, err := fresh.Erase(t.Context(), "bad", nil); err != nil || len(erased) != 1 || erased[0] != bad.ID {
		t.Errorf("erased %v, %v", erased, err)
	}
	if next := of(t, fresh, "bad"); next.ID == bad.ID {
		t.Error("it is used on")
	}
}

// A vault whose server has become another one, that lacks keys, gets back those that a process
// remembers; but for erased ones, and in no other's place.
func TestHeal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v, other := s.process(t), s.process(t)
	kept, erased, replaced := of(t, v, "kept"), of(t, v, "erased"), of(t, v, "replaced")
	of(t, other, "erased")
	if err := v.heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Erase(t.Context(), "erased", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.cfg.DB.Exec(t.Context(), `DELETE FROM member_key WHERE member IN ('kept', 'replaced')`); err != nil {
		t.Fatal(err)
	}
	other.keys.Purge()
	another := of(t, other, "replaced")
	if err := v.heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Key(t.Context(), "kept", kept.ID); !errors.Is(err, ErrLost) {
		t.Errorf("by a server that is the same: %v", err)
	}
	v.server.Store(nil)
	if err := v.heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := other.Key(t.Context(), "kept", kept.ID); err != nil || !bytes.Equal(got.secret, kept.secret) {
		t.Errorf("the key that was lost: %v", err)
	}
	if got := of(t, v, "replaced"); got.ID != another.ID || another.ID == replaced.ID {
		t.Error("another process's key is not used")
	}
	if n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM member_key WHERE id = $1`, erased.ID); n != 0 || err != nil {
		t.Errorf("an erased key is back: %d, %v", n, err)
	}
}

// The file in which a key lay has no trace of it once its part was written anew.
func TestScrub(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v := s.process(t)
	key, neighbours := of(t, v, "jeanne"), make([]Key, 40)
	for n := range neighbours {
		neighbours[n] = of(t, v, fmt.Sprint("member ", n))
	}
	wrapped, err := postgres.One[[]byte](t.Context(), s.cfg.DB, "reading", `SELECT wrapped FROM member_key WHERE member = 'jeanne'`)
	if err != nil {
		t.Fatal(err)
	}
	// As PostgreSQL does by itself: what it knows of values is in its catalogue, for longer than rows.
	if _, err := s.cfg.DB.Exec(t.Context(), `ANALYZE`); err != nil {
		t.Fatal(err)
	}
	if n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM pg_stats WHERE tablename ~ '^member_key' AND attname IN ('member', 'id', 'wrapped')`); n != 0 || err != nil {
		t.Errorf("%d columns have their values copied: %v", n, err)
	}
	lies := func() (n int64) {
		t.Helper()
		// As the server's files are, without what it has yet to write to them.
		for _, sql := range []string{`CHECKPOINT`, `SELECT count(*) FROM pg_class WHERE relname LIKE 'member_key_%' AND relkind = 'r' AND
			position($1::bytea IN pg_read_binary_file(pg_relation_filepath(oid))) > 0`} {
			if sql == `CHECKPOINT` {
				_, err = s.cfg.DB.Exec(t.Context(), sql)
			} else {
				n, err = postgres.One[int64](t.Context(), s.cfg.DB, "looking into files", sql, wrapped)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	if _, err := v.Erase(t.Context(), "jeanne", nil); err != nil {
		t.Fatal(err)
	}
	if lies() != 1 {
		t.Error("a key that was deleted lies in no file: this test shows nothing")
	}
	// A snapshot that is open in that database just then has it copied: hence again and again.
	for deadline := time.Now().Add(30 * time.Second); ; {
		if err := v.scrubOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if lies() == 0 {
			break
		}
		if _, err := s.cfg.DB.Exec(t.Context(), `UPDATE erased_key SET scrubbed_at = NULL`); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("the key still lies in a file")
		}
	}
	marked := func() int64 {
		t.Helper()
		n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM erased_key WHERE lies_in IS NOT NULL`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if marked() != 1 {
		t.Error("it is not done again for what a transaction saw meanwhile")
	}
	lain := func() string {
		t.Helper()
		file, err := postgres.One[string](t.Context(), s.cfg.DB, "looking for files", `SELECT string_agg(pg_relation_filepath(oid), ' ' ORDER BY oid) FROM pg_class WHERE relname ~ '^member_key_[0-9]+$'`)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	was := lain()
	if err := s.process(t).scrubOnce(t.Context()); err != nil || lain() != was {
		t.Errorf("a second process does it at once again: %v", err)
	}
	if _, err := s.cfg.DB.Exec(t.Context(), `UPDATE erased_key SET erased_at = now() - $1::interval`, scrubAgain+time.Second); err != nil {
		t.Fatal(err)
	}
	if err := v.scrubOnce(t.Context()); err != nil || marked() != 0 {
		t.Errorf("it goes on for ever: %v", err)
	}
	fresh := s.process(t)
	for n, neighbour := range neighbours {
		if _, err := fresh.Key(t.Context(), fmt.Sprint("member ", n), neighbour.ID); err != nil {
			t.Errorf("a neighbour: %v", err)
		}
	}
	if _, err := fresh.Key(t.Context(), "jeanne", key.ID); !errors.Is(err, ErrErased) {
		t.Errorf("got %v", err)
	}
	if _, err := s.cfg.DB.Exec(t.Context(), `INSERT INTO erased_key (id, lies_in) VALUES ($1, 'member_key; DROP TABLE member_key')`, uuid.New()); err != nil {
		t.Fatal(err)
	}
	if err := v.scrubOnce(t.Context()); err == nil {
		t.Error("a name that is no part's was taken")
	}
}
