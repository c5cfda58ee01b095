package watch

import (
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

func TestForgetTickets(t *testing.T) {
	t.Parallel()
	s := NewTickets(messagingtest.Pool(t))
	id := &auth.Identity{Subject: "member:jeanne", Realm: auth.RealmMember}
	for _, age := range []string{"59 seconds", "61 seconds"} {
		if _, _, err := s.Issue(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if _, err := s.pool.Exec(t.Context(), `UPDATE watch_ticket SET created_at = now() - $1::interval WHERE created_at > now() - interval '10 seconds'`, age); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Forget(t.Context(), TicketLife); n != 1 || err != nil {
		t.Errorf("forgot %d, %v", n, err)
	}
}
