package member

import (
	"context"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// A member who writes confirms their row once a day, although nothing in it changes: package
// upkeep deletes rows that were not confirmed. Submissions of the same day write nothing.
func TestSaveAccount_ConfirmsDaily(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	m := New(Config{DB: db, Vault: messagingtest.Vault(t, db)})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	id := &auth.Identity{Subject: "jeanne", Email: "jeanne@exemple.fr", Locale: "fr"}
	if err := m.SaveAccount(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		age       time.Duration
		confirmed bool
	}{{23 * time.Hour, false}, {25 * time.Hour, true}} {
		if _, err := m.DB.Exec(t.Context(), `UPDATE member SET updated_at = now() - $1::interval WHERE id = 'jeanne'`, row.age); err != nil {
			t.Fatal(err)
		}
		if err := m.SaveAccount(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		var confirmed bool
		if err := m.DB.QueryRow(t.Context(), `SELECT updated_at > now() - interval '1 hour' FROM member WHERE id = 'jeanne'`).Scan(&confirmed); err != nil {
			t.Fatal(err)
		}
		if confirmed != row.confirmed {
			t.Errorf("after %s: confirmed is %t, want %t", row.age, confirmed, row.confirmed)
		}
	}
}

// What was sealed by a key that is gone, in a row that is not yet, counts as nothing: it is
// stored anew by the next key, and what the member chose by the old one goes with it.
func TestSaveAccount_AfterAnErasure(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	m := New(Config{DB: db, Vault: messagingtest.Vault(t, db)})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	id := &auth.Identity{Subject: "jeanne", Email: "jeanne@exemple.fr", Locale: "fr"}
	key, err := m.Vault.Of(t.Context(), "jeanne")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.SaveAccount(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := m.changePreferences(t.Context(), "jeanne", func(row *preferenceRow) (err error) {
			row.SMSOnReply = true
			if row.KeyID == key.ID {
				row.Chosen, err = key.SealContact(vault.FromMember, vault.Contact{Email: "choix@exemple.fr"})
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		got, err := m.preferencesOf(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		row, err := m.preferences(t.Context(), "jeanne")
		if err != nil || (row.KeyID == key.ID) != (got.GetEmail() == "choix@exemple.fr") || !got.GetSmsOnReply() {
			t.Errorf("%v, %v", got, err)
		}
		if _, err := m.Vault.Erase(t.Context(), "jeanne", nil); err != nil {
			t.Fatal(err)
		}
	}
}
