package upkeep

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/draft"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// note has a member's key noted as one that may be unused.
func note(t *testing.T, u *Upkeep, member string, key vault.Key) {
	t.Helper()
	if _, err := u.DB.Exec(t.Context(), `INSERT INTO unused_key (id, member_id, noted_at) VALUES ($1, $2, now() - $3::interval)`, key.ID, member, unusedAge); err != nil {
		t.Fatal(err)
	}
}

// A key that was noted goes once nothing of its member's is stored any more, and not while
// there is a conversation, a draft or what they chose. Nobody else's does, known here or not.
func TestRetireKeys(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	u := &Upkeep{DB: db, Vault: messagingtest.Vault(t, db)}
	messagingtest.Converse(t, db, "writes")
	arrive(t, db, "chose")
	if _, err := db.Exec(t.Context(), `INSERT INTO draft (member_id, id, body) VALUES ('drafts', gen_random_uuid(), '')`); err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]vault.Key)
	for _, member := range []string{"writes", "chose", "drafts", "left", "unknown"} {
		var err error
		if keys[member], err = u.Vault.Of(t.Context(), member); err != nil {
			t.Fatal(err)
		}
		if member != "unknown" {
			note(t, u, member, keys[member])
		}
	}
	for want := int64(4); want >= 0; want -= 4 {
		if n, err := u.retireKeys(t.Context(), unusedAge); n != want || err != nil {
			t.Errorf("%d notes are gone, want %d: %v", n, want, err)
		}
	}
	for member, key := range keys {
		_, err := u.Vault.Key(t.Context(), member, key.ID)
		if gone := member == "left"; gone != errors.Is(err, vault.ErrErased) || !gone && err != nil {
			t.Errorf("%s: %v", member, err)
		}
	}
	if again, err := u.Vault.Reconcile(t.Context()); err != nil || len(again) != 0 {
		t.Errorf("something is left to do: %v, %v", again, err)
	}
}

// Whatever deletes the last of a member's has their key noted.
func TestRetireKeys_AreNoted(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	u := &Upkeep{DB: db, Vault: messagingtest.Vault(t, db)}
	const term = 400 * 24 * time.Hour
	for _, sql := range []string{
		`INSERT INTO member (id, key_id, contact, locale, updated_at) SELECT m, gen_random_uuid(), '', 'fr', now() - interval '500 days' FROM unnest(ARRAY['writes', 'chose']) m`,
		`INSERT INTO draft (member_id, id, key_id, body, updated_at) VALUES ('drafts', gen_random_uuid(), gen_random_uuid(), '', now() - interval '8 days')`,
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := messagingtest.Insert(t.Context(), db, "writes", messagingtest.IDAt(time.Now().Add(-500*24*time.Hour))); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), `UPDATE conversation SET status = 7, updated_at = now() - interval '500 days'`); err != nil {
		t.Fatal(err)
	}
	for _, forget := range []func() (int64, error){
		func() (int64, error) { return u.forgetConversations(t.Context(), 0, term) },
		func() (int64, error) { return u.forgetMembers(t.Context(), term) },
		func() (int64, error) { return draft.Forget(t.Context(), db, draft.Life) },
	} {
		if n, err := forget(); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	noted, err := postgres.Many[string](t.Context(), db, "listing", `SELECT member_id FROM unused_key ORDER BY member_id`)
	if err != nil || !slices.Equal(noted, []string{"chose", "drafts", "writes"}) {
		t.Errorf("%v, %v", noted, err)
	}
}

// A key that seals something just then stays, and with it what it has sealed.
func TestRetireKeys_WhatIsStoredJustThen(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	u := &Upkeep{DB: db, Vault: messagingtest.Vault(t, db)}
	key, err := u.Vault.Of(t.Context(), "jeanne")
	if err != nil {
		t.Fatal(err)
	}
	store := func(ctx context.Context) int64 {
		t.Helper()
		tag, err := db.Exec(ctx, `INSERT INTO draft (member_id, id, key_id, body) SELECT 'jeanne', gen_random_uuid(), $1, '' WHERE `+vault.NotErased("$1::uuid"), key.ID)
		if err != nil {
			t.Fatal(err)
		}
		return tag.RowsAffected()
	}
	unused := []vault.Owned{{MemberID: "jeanne", ID: key.ID}}
	errCut := errors.New("cut off")
	for name, row := range map[string]struct {
		without func(ctx context.Context, members []string) ([]string, error)
		want    error
	}{
		"a fault": {func(context.Context, []string) ([]string, error) { return nil, errCut }, errCut},
		"stored before it was asked": {func(ctx context.Context, members []string) ([]string, error) {
			if store(ctx) != 0 {
				t.Error("something was stored under a key that retires")
			}
			if err := u.Vault.CheckErased(ctx, db, key.ID); !errors.Is(err, vault.ErrRetiring) {
				t.Errorf("meanwhile: %v", err)
			}
			return nil, nil
		}, nil},
		"another process has let it go": {func(ctx context.Context, members []string) ([]string, error) {
			if _, err := db.Exec(ctx, `DELETE FROM erased_member_key`); err != nil {
				t.Fatal(err)
			}
			return members, nil
		}, nil},
	} {
		if n, err := u.Vault.Retire(t.Context(), unused, row.without); n != 0 || !errors.Is(err, row.want) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if _, err := u.Vault.Key(t.Context(), "jeanne", key.ID); err != nil {
			t.Errorf("%s: the key has gone: %v", name, err)
		}
	}
	if store(t.Context()) != 1 {
		t.Error("nothing can be stored any more")
	}
	// A process that was cut off in the middle keeps its member from writing for a while.
	if _, err := db.Exec(t.Context(), `INSERT INTO erased_member_key (id, retiring, erased_at) VALUES ($1, gen_random_uuid(), now() - interval '2 minutes')`, key.ID); err != nil {
		t.Fatal(err)
	}
	if again, err := u.Vault.Reconcile(t.Context()); err != nil || len(again) != 0 || store(t.Context()) != 1 {
		t.Errorf("after a process that was cut off: %v, %v", again, err)
	}
}
