package messaging

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// A kind is looked for until a submission of it was stored, and again an hour later.
func TestKinds_Known(t *testing.T) {
	t.Parallel()
	of := func(theme string) *submission {
		sub := &submission{}
		sub.conversation.Theme = theme
		return sub
	}
	seen := seenKinds{seen: make(map[kind]time.Time)}
	now := time.Now()
	both := []*submission{of("sante"), of("famille")}
	if seen.known(both, now) {
		t.Error("known before any was stored")
	}
	seen.stored(both[:1], now)
	if seen.known(both, now) || !seen.known(both[:1], now.Add(kindKnown)) {
		t.Error("one is known, and for an hour")
	}
	if seen.known(both[:1], now.Add(kindKnown+1)) {
		t.Error("known for longer than an hour")
	}
	seen.stored(both[1:], now.Add(kindKnown+1))
	if len(seen.seen) != 1 {
		t.Errorf("%d are kept", len(seen.seen))
	}
}

// The trigger adds the kind of a submission unless the process knows it.
func TestKinds_Told(t *testing.T) {
	t.Parallel()
	pool := messagingtest.Pool(t)
	s := newStore(pool)
	stored := func(want bool) {
		t.Helper()
		sub := newSubmission("jeanne", uuid.New())
		if _, err := s.insertSubmissions(t.Context(), []*submission{sub}); err != nil {
			t.Fatal(err)
		}
		there, err := postgres.One[bool](t.Context(), pool, "looking for kinds", `SELECT EXISTS (SELECT FROM conversation_kind WHERE theme = $1)`, sub.conversation.Theme)
		if err != nil || there != want {
			t.Errorf("the kind is there: %t, %v, want %t", there, err, want)
		}
	}
	forget := func() {
		if _, err := pool.Exec(t.Context(), `DELETE FROM conversation_kind`); err != nil {
			t.Fatal(err)
		}
	}
	stored(true)
	forget()
	stored(false) // it knows it, and is wrong in this test alone
	s.kinds.seen = make(map[kind]time.Time)
	stored(true)
}
