package member

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// A note that a key may be unused names its member: it goes with an erasure, and again with one
// that a database from before has to repeat. Others' notes stay.
func TestErase_NotesOfUnusedKeys(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	m := New(Config{DB: db, Vault: messagingtest.Vault(t, db), Wake: func() {}})
	ids := make(map[string]uuid.UUID)
	for _, member := range []string{"jeanne", "paul"} {
		key, err := m.Vault.Of(t.Context(), member)
		if err != nil {
			t.Fatal(err)
		}
		ids[member] = key.ID
	}
	note := func(member string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), `INSERT INTO unused_key (id, member_id) VALUES ($1, $2)`, ids[member], member); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		noted, err := postgres.Many[string](t.Context(), db, "listing", `SELECT member_id FROM unused_key`)
		if err != nil || !slices.Equal(noted, []string{"paul"}) {
			t.Errorf("%s: %v, %v", when, noted, err)
		}
	}
	note("jeanne")
	note("paul")
	if _, err := m.erase(t.Context(), "jeanne"); err != nil {
		t.Fatal(err)
	}
	check("after the erasure")
	note("jeanne")
	if err := m.EraseAgain(t.Context(), []uuid.UUID{ids["jeanne"]}); err != nil {
		t.Fatal(err)
	}
	check("after it was repeated")
}
