package messaging

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// holdText must be as secret as notes are.
const holdText = "Recours canari-de-l'agent devant le tribunal"

func (c caller) hold(t *testing.T, id, note string) (*messagingpb.Conversation, error) {
	t.Helper()
	resp, err := c.agent.HoldConversation(c.call(t), &messagingpb.HoldConversationRequest{Id: id, Note: note})
	return resp.GetConversation(), err
}

func (c caller) unhold(t *testing.T, id string) (*messagingpb.Conversation, error) {
	t.Helper()
	resp, err := c.agent.UnholdConversation(c.call(t), &messagingpb.UnholdConversationRequest{Id: id})
	return resp.GetConversation(), err
}

// A hold is put on and lifted once, however often it is asked for; agents see it, its member
// does not.
func TestHold(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, sonia := s.member(t, "jeanne"), s.clerk(t, "claire"), s.supervisor(t, "sonia")
	id := jeanne.submit(t).GetId()
	claire.claim(t, id)
	claire.end(t, id)
	before := jeanne.see(t, id)
	var since *messagingpb.Hold
	for range 2 {
		got, err := sonia.hold(t, id, " "+holdText+" ")
		if err != nil || !got.GetHold().GetCreateTime().IsValid() || got.GetHold().GetNote() != "" {
			t.Fatalf("%v, %v", got, err)
		}
		since = got.GetHold()
	}
	seen := claire.read(t, id)
	if seen.GetHold().GetNote() != holdText || !seen.GetHold().GetCreateTime().AsTime().Equal(since.GetCreateTime().AsTime()) {
		t.Errorf("a colleague sees %v", seen.GetHold())
	}
	if secret := holdsSecret(s.dump(t)); secret != "" {
		t.Errorf("the database holds %q in clear", secret)
	}
	list, err := s.agent.ListConversations(claire.call(t), &messagingpb.AgentServiceListConversationsRequest{Status: []messagingpb.Status{messagingpb.Status_CLOSED}})
	if err != nil || len(list.GetConversations()) != 1 || list.GetConversations()[0].GetHold() == nil || list.GetConversations()[0].GetHold().GetNote() != "" {
		t.Errorf("listed: %v, %v", list, err)
	}
	if diff := cmp.Diff(before, jeanne.see(t, id), protocmp.Transform()); diff != "" {
		t.Errorf("the member sees %s", diff)
	}

	if _, err := sonia.hold(t, id, holdText+", en appel"); err != nil {
		t.Fatal(err)
	}
	if got := claire.read(t, id).GetHold(); got.GetNote() != holdText+", en appel" || !got.GetCreateTime().AsTime().Equal(since.GetCreateTime().AsTime()) {
		t.Errorf("with another note: %v", got)
	}
	for range 2 {
		if got, err := sonia.unhold(t, id); err != nil || got.GetHold() != nil {
			t.Errorf("lifted: %v, %v", got, err)
		}
	}
	if got := claire.read(t, id).GetHold(); got != nil {
		t.Errorf("afterwards: %v", got)
	}
	want := []string{"agent:claire claim", "agent:claire reply", "agent:claire close", "agent:sonia hold", "agent:claire read", "agent:sonia hold", "agent:claire read", "agent:sonia unhold", "agent:claire read"}
	if diff := cmp.Diff(want, s.actions(t, id)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, jeanne.see(t, id), protocmp.Transform()); diff != "" {
		t.Errorf("the member sees %s", diff)
	}
}

func TestHold_Refused(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, sonia := s.member(t, "jeanne"), s.clerk(t, "claire"), s.supervisor(t, "sonia")
	id := jeanne.submit(t).GetId()
	for _, test := range []struct{ name, note, reason string }{
		{"none", "", "REQUIRED"},
		{"blank", " \u00a0", "REQUIRED"},
		{"invisible", "\u200b", "REQUIRED"},
		{"200", strings.Repeat("é", 200), ""},
		{"201", strings.Repeat("é", 201), "TOO_LONG"},
		{"two lines", "a\nb", "CONTROL_CHARACTERS"},
	} {
		_, err := sonia.hold(t, id, test.note)
		if test.reason != "" {
			t.Log(test.name)
			refused(t, err, codes.InvalidArgument, test.reason, "note")
		} else if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	for name, c := range map[string]caller{"an agent": claire, "its member": jeanne} {
		t.Log(name)
		_, err := c.hold(t, id, holdText)
		refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
		_, err = c.unhold(t, id)
		refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
	}
	for name, claims := range map[string]map[string]any{"another caisse": {"caisse": "msa-44"}, "another queue": {"queues": []string{"sante"}}} {
		t.Log(name)
		far := s.supervisor(t, "far", claims)
		_, err := far.hold(t, id, holdText)
		refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
		_, err = far.unhold(t, id)
		refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	}
	_, err := sonia.hold(t, uuid.NewString(), holdText)
	refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	if got := claire.read(t, id).GetHold().GetNote(); got != strings.Repeat("é", 200) {
		t.Errorf("the note is %q", got)
	}
}

// A hold binds the term alone: what its member has erased is erased, and so is why it was held.
func TestHold_EndsWithAnErasure(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, sonia := s.member(t, "jeanne"), s.supervisor(t, "sonia")
	id := jeanne.submit(t).GetId()
	if _, err := sonia.hold(t, id, holdText); err != nil {
		t.Fatal(err)
	}
	jeanne.erase(t)
	if n := s.count(t, `SELECT count(*) FROM conversation WHERE held_at IS NOT NULL OR hold_note IS NOT NULL`); n != 0 {
		t.Errorf("%d on hold", n)
	}
	_, err := sonia.hold(t, id, holdText)
	refused(t, err, codes.FailedPrecondition, "CONVERSATION_ERASED", "")
	if got, err := sonia.unhold(t, id); err != nil || got.GetHold() != nil {
		t.Errorf("%v, %v", got, err)
	}
}
