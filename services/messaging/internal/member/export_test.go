package member

import (
	"testing"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// What goes after an export has read its row is left out of it, and breaks nothing.
func TestExport_OfWhatGoes(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	keys := messagingtest.Vault(t, db)
	m := New(Config{DB: db, Vault: keys})
	erased, deleted := messagingtest.Converse(t, m.DB, "jeanne"), messagingtest.Converse(t, m.DB, "jeanne")
	for _, id := range []uuid.UUID{erased, deleted} {
		messagingtest.Seal(t, m.DB, keys, id, "Bonjour à vous")
	}
	rows, err := m.someOfMember(t.Context(), "jeanne", []uuid.UUID{erased, deleted})
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i := range rows {
		if conversation, err := m.exportConversation(t.Context(), &rows[i]); len(conversation.GetMessages()) != 1 || err != nil {
			t.Errorf("before: %v, %v", conversation, err)
		}
	}
	if _, err := m.DB.Exec(t.Context(), `WITH gone AS (DELETE FROM message WHERE conversation_id = $1) DELETE FROM conversation WHERE id = $1`, deleted); err != nil {
		t.Fatal(err)
	}
	if n, err := m.erase(t.Context(), "jeanne"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for i := range rows {
		if conversation, err := m.exportConversation(t.Context(), &rows[i]); conversation != nil || err != nil {
			t.Errorf("afterwards: %v, %v", conversation, err)
		}
	}
}
