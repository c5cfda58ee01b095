package draft

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// A draft whose key is gone is none, be its row still there.
func TestDrafts_Erased(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	keys := messagingtest.Vault(t, db)
	d := New(db, keys)
	save := func() {
		t.Helper()
		if _, err := d.saveSealed(t.Context(), draft{MemberID: "jeanne", ID: uuid.New()}, "Bonjour à vous"); err != nil {
			t.Fatal(err)
		}
	}
	save()
	if _, err := keys.Erase(t.Context(), "jeanne", nil); err != nil {
		t.Fatal(err)
	}
	save()
	all, err := d.OfMember(t.Context(), db, "jeanne")
	if err != nil || len(all) != 1 || all[0].GetText() != "Bonjour à vous" {
		t.Errorf("%v, %v", all, err)
	}
}

// The key of a member of whom there was nothing but a draft is noted when they delete it, and
// that of a member with a row is not: it is when the row goes.
func TestDrafts_KeyOfTheLastIsNoted(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	d := New(db, messagingtest.Vault(t, db))
	if _, err := db.Exec(t.Context(), `INSERT INTO member (id, contact, locale) VALUES ('arrived', '', 'fr')`); err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{"drafts", "arrived"} {
		id := uuid.New()
		if _, err := d.saveSealed(t.Context(), draft{MemberID: member, ID: id}, "Bonjour"); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time there is nothing left
			if err := d.remove(t.Context(), nil, member, id); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What an earlier version has sealed has no key.
	if _, err := db.Exec(t.Context(), `INSERT INTO draft (member_id, id, body) VALUES ('earlier', $1, '')`, uuid.Max); err != nil {
		t.Fatal(err)
	}
	if err := d.remove(t.Context(), nil, "earlier", uuid.Max); err != nil {
		t.Fatal(err)
	}
	key, err := d.vault.Of(t.Context(), "drafts")
	if err != nil {
		t.Fatal(err)
	}
	noted, err := postgres.Many[string](t.Context(), db, "listing", `SELECT member_id || ' ' || id FROM unused_key`)
	if want := []string{"drafts " + key.ID.String()}; err != nil || !slices.Equal(noted, want) {
		t.Errorf("%v, %v, want %v", noted, err, want)
	}
}
