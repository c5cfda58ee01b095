package draft

import (
	"testing"

	"github.com/google/uuid"

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
