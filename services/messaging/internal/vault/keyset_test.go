package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// rotation is a key set that is changed, as tink has it.
type rotation struct {
	*keyset.Manager
	t *testing.T
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	r := &rotation{keyset.NewManager(), t}
	r.promote(r.add())
	return r
}

func (r *rotation) add() uint32 {
	r.t.Helper()
	id, err := r.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *rotation) promote(id uint32) {
	r.t.Helper()
	if err := r.SetPrimary(id); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotation) remove(id uint32) {
	r.t.Helper()
	if err := r.Delete(id); err != nil {
		r.t.Fatal(err)
	}
}

// json is the key set as it is now.
func (r *rotation) json() string {
	r.t.Helper()
	handle, err := r.Handle()
	if err != nil {
		r.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		r.t.Fatal(err)
	}
	return out.String()
}

func (r *rotation) keyset() *Keyset {
	r.t.Helper()
	keys, err := OpenKeyset(r.json())
	if err != nil {
		r.t.Fatal(err)
	}
	return keys
}

// with has a process use the key set as it is now.
func (r *rotation) with(cfg *Config) { cfg.Keyset = r.keyset() }

func TestOpenKeyset(t *testing.T) {
	t.Parallel()
	raw := keyset.NewManager()
	id, err := raw.Add(aead.AES256GCMNoPrefixKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	for name, cleartext := range map[string]string{
		"nothing": "", "no JSON": "secret-that-is-not-told", "no key": `{"primaryKeyId":1}`, "without tink's prefix": (&rotation{raw, t}).json(),
	} {
		if _, err := OpenKeyset(cleartext); err == nil || cleartext != "" && bytes.Contains([]byte(err.Error()), []byte("secret")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := newRotation(t)
	first := r.keyset()
	second := r.add()
	r.promote(second)
	both := r.keyset()
	if len(first.ids) != 1 || len(both.ids) != 2 || both.primary != second || first.digest == both.digest {
		t.Errorf("%v, then %v", first.ids, both.ids)
	}
	wrapped, err := both.wrap(uuid.New(), "jeanne", make([]byte, secretBytes))
	if err != nil || sealedBy(wrapped) != second || sealedBy(wrapped[:4]) != 0 || sealedBy(nil) != 0 {
		t.Errorf("wrapped by %d, want %d: %v", sealedBy(wrapped), second, err)
	}
}

// The first process makes the check value, and one with another key set does not begin.
func TestCheckKeyset(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	check := func(keys *Keyset) error {
		cfg := s.cfg
		cfg.Keyset = keys
		return New(cfg).CheckKeyset(t.Context())
	}
	for range 2 {
		if err := check(s.cfg.Keyset); err != nil {
			t.Error(err)
		}
	}
	if err := check(newKeyset(t)); !errors.Is(err, ErrMisfit) {
		t.Errorf("another key set: %v", err)
	}
	// Without the check value, the keys show it.
	of(t, s.process(t), "jeanne")
	if _, err := s.cfg.DB.Exec(t.Context(), `TRUNCATE keyset_check`); err != nil {
		t.Fatal(err)
	}
	if err := check(newKeyset(t)); !errors.Is(err, ErrMisfit) {
		t.Errorf("another key set, without a check value: %v", err)
	}
	if err := check(s.cfg.Keyset); err != nil {
		t.Error(err)
	}
	if fit, err := s.process(t).Fit(t.Context()); err != nil || !fit.CheckOpens {
		t.Errorf("%+v, %v", fit, err)
	}
	if fit, err := s.process(t, func(cfg *Config) { cfg.Keyset = newKeyset(t) }).Fit(t.Context()); err != nil || fit.CheckOpens {
		t.Errorf("another key set: %+v, %v", fit, err)
	}
}

// A file that changes takes effect, and one that is wrong does not.
func TestRereadKeyset(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newRotation(t)
	path := filepath.Join(t.TempDir(), "keyset.json")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(r.json())
	keys, err := ReadKeyset(path, OpenKeyset)
	if err != nil {
		t.Fatal(err)
	}
	v := s.process(t, func(cfg *Config) { cfg.Keyset, cfg.KeysetPath, cfg.KeysetEvery = keys, path, time.Hour })
	if err := v.CheckKeyset(t.Context()); err != nil {
		t.Fatal(err)
	}
	key := of(t, v, "jeanne")
	uses := func(what string, primary uint32, refused bool) {
		t.Helper()
		v.followKeysetOnce(t.Context())
		if got := v.keyset.Load().primary; got != primary || (v.refused != [32]byte{}) != refused {
			t.Errorf("%s: %d wraps, want %d; refused: %t", what, got, primary, !refused)
		}
	}
	old := r.keyset().primary
	uses("the same", old, false)
	fresh := r.add()
	write(r.json())
	uses("a key more", old, false)
	if n := len(v.keyset.Load().ids); n != 2 {
		t.Errorf("%d keys", n)
	}
	for what, content := range map[string]string{"nothing": "", "half": r.json()[:40], "another key set": newRotation(t).json()} {
		write(content)
		uses(what, old, true)
		uses(what+" still", old, true)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	uses("no file", old, true)
	r.promote(fresh)
	write(r.json())
	uses("promoted", fresh, false)
	// What the check value or a member's key is sealed by must not go.
	two := s.process(t, func(cfg *Config) { cfg.Keyset = keys })
	r.remove(old)
	write(r.json())
	uses("the old one has gone too early", fresh, true)
	if result, err := v.Rewrap(t.Context(), ""); err != nil || result.Keys != 1 || result.Last != "" {
		t.Fatal(result, err)
	}
	of(t, two, "paul")
	uses("another process has wrapped by it since", fresh, true)
	if result, err := v.Rewrap(t.Context(), ""); err != nil || result.Keys != 1 {
		t.Fatal(result, err)
	}
	if err := two.note(t.Context()); err != nil {
		t.Fatal(err)
	}
	uses("another process wraps by it", fresh, true)
	two.keyset.Store(v.keyset.Load())
	if err := two.note(t.Context()); err != nil {
		t.Fatal(err)
	}
	uses("the old one has gone", fresh, false)
	v.keys.Purge()
	if got, err := v.Key(t.Context(), "jeanne", key.ID); err != nil || !bytes.Equal(got.secret, key.secret) {
		t.Errorf("%v", err)
	}
}

// Processes say which keys they have, until they end.
func TestFit(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newRotation(t)
	old := r.keyset().primary
	one := s.process(t, r.with)
	fresh := r.add()
	two := s.process(t, r.with)
	r.promote(fresh)
	three := s.process(t, r.with)
	for _, v := range []*Vault{one, two, three} {
		if err := v.CheckKeyset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	of(t, one, "jeanne")
	of(t, three, "paul")
	fit, wrappers, err := three.Wrappers(t.Context())
	if want := (Fit{CheckOpens: true, Primary: fresh, Processes: 3, WithoutPrimary: 1}); err != nil || fit != want {
		t.Errorf("got %+v, %v, want %+v", fit, err, want)
	}
	want := []Wrapper{{ID: old, Processes: 3, PrimaryOf: 2, Members: 1, Check: true}, {ID: fresh, Processes: 2, PrimaryOf: 1, Members: 1}}
	slices.SortFunc(want, func(a, b Wrapper) int { return int(int64(a.ID) - int64(b.ID)) })
	if !slices.Equal(wrappers, want) {
		t.Errorf("got %+v, want %+v", wrappers, want)
	}
	if _, err := s.cfg.DB.Exec(t.Context(), `UPDATE keyset_reader SET seen_at = now() - $1::interval WHERE process = $2`, readerLife, one.process); err != nil {
		t.Fatal(err)
	}
	if fit, err := two.Fit(t.Context()); err != nil || fit.Processes != 2 || fit.WithoutPrimary != 0 || fit.Primary != old {
		t.Errorf("one was not seen for a minute: %+v, %v", fit, err)
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	three.followKeyset(ctx)
	if err := two.note(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM keyset_reader`); n != 1 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
}

// Page by page all keys are wrapped anew, those that are erased or made meanwhile apart, and then
// open by the new key alone.
func TestRewrap(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newRotation(t)
	old := r.keyset().primary
	v := s.process(t, r.with)
	if err := v.CheckKeyset(t.Context()); err != nil {
		t.Fatal(err)
	}
	const members = 2*rewrapPage + 100
	var names []string
	for n := range members {
		names = append(names, fmt.Sprintf("member %04d", n))
	}
	var waits []func() (Key, error)
	for _, name := range names {
		wait, err := v.lookups.Enqueue(t.Context(), ask{name, true})
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, wait)
	}
	for _, wait := range waits {
		if _, err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	fresh := r.add()
	r.promote(fresh)
	v.keyset.Store(r.keyset())
	erased, again := of(t, v, names[7]), of(t, v, names[8])

	// A page waits for an erasure that is under way, and for a key that is made in the place of
	// one, and brings back neither.
	tx, err := s.cfg.DB.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	next := uuid.New()
	madeAnew, err := v.keyset.Load().wrap(next, names[8], make([]byte, secretBytes))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `DELETE FROM member_key WHERE member = $1`, names[7]); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `UPDATE member_key SET id = $2, wrapped = $3 WHERE member = $1`, names[8], next, madeAnew); err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		Rewrapped
		err error
	}
	first := make(chan outcome, 1)
	go func() {
		result, err := v.Rewrap(t.Context(), "")
		first <- outcome{result, err}
	}()
	for waiting := false; !waiting; {
		if waiting, err = postgres.One[bool](t.Context(), s.cfg.DB, "looking for who waits",
			`SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database() AND a.query LIKE '%UPDATE member_key%')`); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := <-first
	if got.err != nil || got.Keys != rewrapPage-2 || got.Last != names[rewrapPage-1] {
		t.Fatalf("%+v", got)
	}
	for pages, after := 1, got.Last; after != ""; pages++ {
		result, err := v.Rewrap(t.Context(), after)
		if err != nil || pages > 3 {
			t.Fatal(pages, err)
		}
		after = result.Last
	}
	if result, err := v.Rewrap(t.Context(), ""); err != nil || result.Keys != 0 {
		t.Errorf("a second time: %+v, %v", result, err)
	}
	if _, wrappers, err := v.Wrappers(t.Context()); err != nil || !slices.Contains(wrappers, Wrapper{ID: fresh, Members: members - 1, Processes: 0, Check: true}) {
		t.Errorf("%+v, %v", wrappers, err)
	}
	r.remove(old)
	all, err := Everything(t.Context(), s.cfg.DB, r.keyset())
	if err != nil || len(all) != members-1 {
		t.Fatal(len(all), err)
	}
	for _, key := range all {
		if key.ID == erased.ID || key.ID == again.ID {
			t.Errorf("the key of %s is back", key.member)
		}
	}
	if err := New(Config{DB: s.cfg.DB, Data: s.cfg.Data, Keyset: r.keyset()}).CheckKeyset(t.Context()); err != nil {
		t.Errorf("a process with the new key alone: %v", err)
	}
}

// A key that nobody can open stays as it is, and does not keep the others from being done.
func TestRewrap_Unopened(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newRotation(t)
	v := s.process(t, r.with)
	of(t, v, "jeanne")
	if _, err := s.cfg.DB.Exec(t.Context(), `INSERT INTO member_key (member, id, wrapped) VALUES ('a', gen_random_uuid(), '\x0102030405'), ('z', gen_random_uuid(), '')`); err != nil {
		t.Fatal(err)
	}
	r.promote(r.add())
	v.keyset.Store(r.keyset())
	if result, err := v.Rewrap(t.Context(), ""); err != nil || result.Keys != 1 || result.Unopened != 2 {
		t.Errorf("%+v, %v", result, err)
	}
	if _, wrappers, err := v.Wrappers(t.Context()); err != nil || len(wrappers) != 3 || wrappers[0] != (Wrapper{Members: 1}) || wrappers[1] != (Wrapper{ID: 0x02030405, Members: 1}) && wrappers[2] != (Wrapper{ID: 0x02030405, Members: 1}) {
		t.Errorf("%+v, %v", wrappers, err)
	}
}

// Keys without data and data without keys are found, and nothing else.
func TestCompare(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v := s.process(t)
	keys := make(map[string]Key)
	for _, member := range []string{"left", "today", "drafts", "wrote", "erased", "gone"} {
		keys[member] = of(t, v, member)
	}
	lost := uuid.New()
	exec := func(on postgres.Querier, sql string, args ...any) {
		t.Helper()
		if _, err := on.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(s.cfg.DB, `UPDATE member_key SET made_at = now() - interval '2 days' WHERE member <> 'today'`)
	exec(s.cfg.Data, `INSERT INTO draft (member_id, id, key_id, body) VALUES ('drafts', gen_random_uuid(), $1, ''), ('a lost one', gen_random_uuid(), $2, ''), ('from before', gen_random_uuid(), $3, ''), ('erased', gen_random_uuid(), $4, ''), ('gone', gen_random_uuid(), $5, '')`,
		keys["drafts"].ID, lost, uuid.Nil, keys["erased"].ID, keys["gone"].ID)
	exec(s.cfg.Data, `INSERT INTO member (id, key_id, contact, locale) VALUES ('wrote', $1, '', 'fr'), ('a lost one', $2, '', 'fr')`, keys["wrote"].ID, lost)
	if _, err := v.Erase(t.Context(), "erased", nil); err != nil {
		t.Fatal(err)
	}
	exec(s.cfg.DB, `DELETE FROM member_key WHERE member = 'gone'`)
	without := func(_ context.Context, members []string) ([]string, error) {
		return slices.DeleteFunc(slices.Clone(members), func(member string) bool { return member != "left" }), nil
	}
	var found Differences
	pages := 0
	for from, more := "", true; more; pages++ {
		page, err := v.Compare(t.Context(), s.cfg.Data, from, without)
		if err != nil || pages > 10 {
			t.Fatal(pages, err)
		}
		found.Unused, found.Missing = append(found.Unused, page.Unused...), append(found.Missing, page.Missing...)
		from, more = page.Next, page.Next != ""
	}
	if !slices.Equal(found.Unused, []uuid.UUID{keys["left"].ID}) {
		t.Errorf("keys without data: %v", found.Unused)
	}
	if want := []uuid.UUID{lost, lost, keys["gone"].ID}; !slices.Equal(found.Missing, want) {
		t.Errorf("data without keys: %v, want %v", found.Missing, want)
	}
}
