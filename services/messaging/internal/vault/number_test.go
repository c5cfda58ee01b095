package vault

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

func TestNumberOf(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]Number{
		"A1-204-517": "A1204517", "a1 204 517": "A1204517", "a1.204.517": "A1204517", "\u00a0A1\u202f204\u2011517\t": "A1204517",
		"Ａ１２０４５１７": "A1204517", // full width, as some keyboards write
		"é12":      "É12", "e\u030112": "É12", "0012": "0012",
		"": "", " -./ ": "", "\u0301": "", "🙂": "",
	} {
		if got := NumberOf(typed); got != want {
			t.Errorf("%q is %q, want %q", typed, got, want)
		}
	}
}

func hashOf(t *testing.T, v *Vault, number Number) []byte {
	t.Helper()
	hash, err := v.HashNumber(t.Context(), number)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// All processes of a vault have the same hash of a number, and nobody else has it: not another
// vault, with the same key set even, nor who hashes without one.
func TestHashNumber(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	const number = Number("A1204517")
	hash := hashOf(t, s.process(t), number)
	if len(hash) != sha256.Size || !bytes.Equal(hash, hashOf(t, s.process(t), number)) {
		t.Errorf("%x in one process, and another in another", hash)
	}
	if bytes.Equal(hash, hashOf(t, s.process(t), "A1204518")) {
		t.Error("two numbers have one hash")
	}
	if none, err := s.process(t).HashNumber(t.Context(), ""); none != nil || err != nil {
		t.Errorf("no number: %x, %v", none, err)
	}
	other := newStage(t)
	other.cfg.Keyset = s.cfg.Keyset
	plain := sha256.Sum256([]byte(number))
	unkeyed := hmac.New(sha256.New, nil)
	unkeyed.Write([]byte(number))
	for name, guess := range map[string][]byte{"another vault": hashOf(t, other.process(t), number), "no key": plain[:], "an empty key": unkeyed.Sum(nil)} {
		if bytes.Equal(hash, guess) {
			t.Errorf("the hash is that of %s", name)
		}
	}
}

// A number has the same hash after the key set was rotated, everything re-wrapped, and the old
// key removed; and after a server that lacks the key has taken over.
func TestHashNumber_OutlivesTheKeyset(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newRotation(t)
	v := s.process(t, r.with)
	of(t, v, "member:jeanne")
	before := hashOf(t, v, "A1204517")
	old := v.keyset.Load().primary
	r.promote(r.add())
	v.keyset.Store(r.keyset())
	if result, err := v.Rewrap(t.Context(), ""); err != nil || result.Keys != 2 || result.Unopened != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	r.remove(old)
	after := s.process(t, r.with)
	if !bytes.Equal(before, hashOf(t, after, "A1204517")) {
		t.Error("a rotation has changed the hash")
	}
	if _, err := s.cfg.DB.Exec(t.Context(), `DELETE FROM member_key`); err != nil {
		t.Fatal(err)
	}
	after.server.Store(nil)
	if err := after.heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, hashOf(t, s.process(t, r.with), "A1204517")) {
		t.Error("the key is not stored again")
	}
}

// The key of numbers has nothing stored beside it, and nobody destroys it all the same.
func TestHashNumber_KeyStays(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	v := s.process(t)
	before := hashOf(t, v, "A1204517")
	jeanne, key := of(t, v, "member:jeanne"), of(t, v, numbersOwner)
	if _, err := s.cfg.DB.Exec(t.Context(), `UPDATE member_key SET made_at = now() - interval '2 days'`); err != nil {
		t.Fatal(err)
	}
	all := func(_ context.Context, members []string) ([]string, error) { return members, nil }
	var unused []uuid.UUID
	for from, more := "", true; more; {
		page, err := v.Compare(t.Context(), s.cfg.Data, from, all)
		if err != nil {
			t.Fatal(err)
		}
		unused, from, more = append(unused, page.Unused...), page.Next, page.Next != ""
	}
	if !slices.Equal(unused, []uuid.UUID{jeanne.ID}) {
		t.Errorf("unused are %v, and not %s alone", unused, jeanne.ID)
	}
	given := []Owned{{numbersOwner, key.ID}, {"member:jeanne", jeanne.ID}}
	if n, err := v.Retire(t.Context(), given, all); n != 1 || err != nil {
		t.Errorf("%d keys are retired, %v", n, err)
	}
	if erased, err := v.Erase(t.Context(), numbersOwner, nil); err == nil {
		t.Errorf("%v are erased", erased)
	}
	if again, err := v.Reconcile(t.Context()); err != nil || len(again) != 0 {
		t.Error(again, err)
	}
	if n, err := postgres.One[int64](t.Context(), s.cfg.DB, "counting", `SELECT count(*) FROM member_key WHERE id = $1`, key.ID); n != 1 || err != nil {
		t.Errorf("the key is gone: %d, %v", n, err)
	}
	if !bytes.Equal(before, hashOf(t, s.process(t), "A1204517")) {
		t.Error("the hash is another")
	}
}
