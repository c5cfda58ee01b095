package messaging

import (
	"testing"
	"time"

	"github.com/google/uuid"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// years is how long a conversation is kept by its reason; 0: as long as the setting says.
func (s *stage) years(t *testing.T, id string) int {
	t.Helper()
	return s.count(t, `SELECT coalesce(retention_years, 0) FROM conversation WHERE id = $1`, id)
}

// A conversation is kept as long as its reason says, be it corrected by an agent.
func TestRetention_OfTheReason(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	family, care := jeanne.submit(t).GetId(), jeanne.submit(t, health).GetId()
	if of, with := s.years(t, family), s.years(t, care); of != 0 || with != 10 {
		t.Errorf("%d and %d years, want none and 10", of, with)
	}
	if _, err := claire.recategorise(t, family, "sante", "soins", "remboursement"); err != nil {
		t.Fatal(err)
	}
	if _, err := claire.recategorise(t, care, "famille-logement", "allocations", "autre"); err != nil {
		t.Fatal(err)
	}
	if of, with := s.years(t, family), s.years(t, care); of != 10 || with != 0 {
		t.Errorf("corrected: %d and %d years, want 10 and none", of, with)
	}
	if _, err := claire.transfer(t, family, "famille"); err != nil || s.years(t, family) != 10 {
		t.Errorf("transferred: %d years, %v, want 10", s.years(t, family), err)
	}
}

// A member is told until when what has ended is kept, in lists and alone, and so are agents;
// nothing is said of what goes on, or has no term.
func TestRetention_Told(t *testing.T) {
	t.Parallel()
	const days = 24 * time.Hour
	for name, test := range map[string]struct {
		setting, family time.Duration
	}{"by the setting": {1826 * days, 1826 * days}, "without one": {0, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.cfg.ConversationRetention = test.setting
			s.start(t)
			jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
			check := func(what string, c *messagingpb.Conversation, term time.Duration) {
				t.Helper()
				if got := c.GetExpireTime(); (got != nil) != (term != 0) || got != nil && !got.AsTime().Equal(c.GetUpdateTime().AsTime().Add(term)) {
					t.Errorf("%s: until %v, want %s after %v", what, got, term, c.GetUpdateTime())
				}
			}
			for which, kept := range map[*messagingpb.Conversation]time.Duration{jeanne.submit(t): test.family, jeanne.submit(t, health): 3653 * days} {
				id := which.GetId()
				check("sent", which, 0)
				check("in progress", claire.claim(t, id), 0)
				check("answered, to the agent", claire.reply(t, id, true), kept)
				check("answered", jeanne.see(t, id), kept)
				again, err := jeanne.followUp(t, id, uuid.NewString(), memberText)
				if err != nil {
					t.Fatal(err)
				}
				check("continued", again, 0)
				claire.end(t, id)
				check("closed", jeanne.see(t, id), kept)
				check("closed, to the agent", claire.read(t, id), kept)
				hidden, err := jeanne.messaging.HideConversation(jeanne.call(t), &messagingpb.HideConversationRequest{Id: id})
				if err != nil {
					t.Fatal(err)
				}
				check("hidden", hidden.GetConversation(), kept)
				list, err := jeanne.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{Hidden: true})
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range list.GetConversations() {
					if c.GetId() == id {
						check("listed", c, kept)
					}
				}
			}
		})
	}
}

// What operators are told is of the same terms as what is deleted.
func TestRetention_Status(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	defer s.hold(t, `SELECT pg_advisory_xact_lock('conversation'::regclass::oid::bigint)`)() // nothing is deleted meanwhile
	s.start(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	for range 3 {
		id := jeanne.submit(t, health).GetId()
		claire.end(t, id)
		if _, err := s.pool.Exec(t.Context(), `UPDATE conversation SET updated_at = now() - interval '11 years' WHERE id = $1`, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO purge_slot (slot, n) VALUES (now() - interval '2 hours', 5)`); err != nil {
		t.Fatal(err)
	}
	got, err := s.operators(t).GetStatus(s.clerk(t, "olga", map[string]any{"roles": []string{"operator"}}).call(t), &messagingpb.GetStatusRequest{})
	if err != nil || got.GetDueConversations() != 3 || got.GetPurgedConversationsDay() != 5 {
		t.Errorf("%v, %v, want 3 due and 5 deleted", got, err)
	}
}
