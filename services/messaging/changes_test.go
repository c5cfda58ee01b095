package messaging

import (
	"testing"

	"github.com/google/uuid"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// A reply that is tried again gets its first answer, also when a colleague has
// taken the conversation in the meantime.
func TestReply_RetryWhileAnotherHoldsTheClaim(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	id, key := jeanne.submit(t).GetId(), uuid.NewString()
	reply := func() error {
		resp, err := s.agent.PostReply(claire.call(t, key), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: agentText, Final: true})
		if err == nil && len(resp.GetConversation().GetMessages()) != 2 {
			t.Errorf("%d messages", len(resp.GetConversation().GetMessages()))
		}
		return err
	}
	if err := reply(); err != nil {
		t.Fatal(err)
	}
	omar.claim(t, id)
	for range 2 {
		if err := reply(); err != nil {
			t.Errorf("a retry: %v", err)
		}
	}
	if n := s.count(t, `SELECT count(*) FROM message WHERE author = 2`); n != 1 {
		t.Errorf("%d replies", n)
	}
}
