package messaging

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

func (c caller) assign(t *testing.T, id, agent, note string) (*messagingpb.Conversation, error) {
	t.Helper()
	resp, err := c.agent.AssignConversation(c.call(t), &messagingpb.AssignConversationRequest{Id: id, AgentId: agent, Note: note})
	return resp.GetConversation(), err
}

func (c caller) takeOver(t *testing.T, id, note string) (*messagingpb.Conversation, error) {
	t.Helper()
	resp, err := c.agent.TakeOverConversation(c.call(t), &messagingpb.TakeOverConversationRequest{Id: id, Note: note})
	return resp.GetConversation(), err
}

// notesOf are the notes of a conversation as a colleague reads them.
func (c caller) notesOf(t *testing.T, id string) (texts []string) {
	t.Helper()
	for _, note := range c.read(t, id).GetNotes() {
		texts = append(texts, note.GetText())
	}
	return texts
}

// Agents hand over what they hold, supervisors anything; a repeat changes nothing more.
func TestAssign(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar, sofiane := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar"), s.supervisor(t, "sofiane")
	narrow := s.clerk(t, "narrow", map[string]any{"queues": []string{"sante"}})
	for _, here := range []caller{claire, omar, sofiane, narrow} {
		here.queue(t, &messagingpb.AgentServiceListConversationsRequest{})
		if _, err := here.agent.ListAgents(here.call(t), &messagingpb.ListAgentsRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	id := jeanne.submit(t).GetId()
	_, err := claire.assign(t, id, "agent:omar", "")
	refused(t, err, codes.FailedPrecondition, "CLAIM_NOT_HELD", "")
	claire.claim(t, id)
	_, err = omar.assign(t, id, "agent:omar", "")
	refused(t, err, codes.FailedPrecondition, "CLAIM_HELD", "")
	for _, nobody := range []string{"agent:nobody", "agent:narrow", "member:jeanne"} {
		_, err = claire.assign(t, id, nobody, "")
		refused(t, err, codes.InvalidArgument, "AGENT_UNKNOWN", "agentId")
	}
	given, err := claire.assign(t, id, "agent:omar", "Il connaît le dossier.")
	if err != nil || given.GetClaim().GetAgentId() != "agent:omar" || given.GetClaim().GetMine() || given.GetStatus() != messagingpb.Status_IN_PROGRESS {
		t.Fatalf("%v, %v", given, err)
	}
	_, err = claire.assign(t, id, "agent:omar", "Il connaît le dossier.")
	refused(t, err, codes.FailedPrecondition, "CLAIM_HELD", "")
	for range 2 {
		if given, err = sofiane.assign(t, id, "agent:claire", "Finalement toi."); err != nil || given.GetClaim().GetAgentId() != "agent:claire" {
			t.Fatalf("%v, %v", given, err)
		}
	}
	if got := omar.notesOf(t, id); !slices.Equal(got, []string{"Il connaît le dossier.", "Finalement toi."}) {
		t.Errorf("notes %q", got)
	}
	if n := len(payloads(t, s, eventspb.TypeConversationClaimed, func() *eventspb.ConversationClaimed { return &eventspb.ConversationClaimed{} })); n != 3 {
		t.Errorf("%d claims were published, want the first, omar's and claire's", n)
	}
	want := []string{"agent:claire claim", "agent:claire assign", "agent:sofiane assign", "agent:sofiane assign", "agent:omar read"}
	if diff := cmp.Diff(want, s.actions(t, id)); diff != "" {
		t.Error(diff)
	}
	if n := s.count(t, `SELECT count(*) FROM audit WHERE action = 'assign' AND target IN ('agent:omar', 'agent:claire') AND service = 'Service famille v1' AND caisse = 'msa-75' AND agent_name <> ''`); n != 3 {
		t.Errorf("%d entries of the audit say to whom", n)
	}
	// What nobody holds is a step that its member sees.
	id = jeanne.submit(t).GetId()
	if _, err := sofiane.assign(t, id, "agent:omar", ""); err != nil {
		t.Fatal(err)
	}
	steps := jeanne.see(t, id).GetSteps()
	if last := steps[len(steps)-1]; last.GetKind() != messagingpb.Step_CLAIMED {
		t.Errorf("the member sees %v", steps)
	}
}

// A supervisor takes over what a colleague holds, and nobody else does.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, sofiane := s.member(t, "jeanne"), s.clerk(t, "claire"), s.supervisor(t, "sofiane")
	id := jeanne.submit(t).GetId()
	claire.claim(t, id)
	_, err := claire.takeOver(t, id, "")
	refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
	for range 2 {
		taken, err := sofiane.takeOver(t, id, "Claire est absente.")
		if err != nil || !taken.GetClaim().GetMine() || taken.GetClaim().GetAgentId() != "agent:sofiane" {
			t.Fatalf("%v, %v", taken, err)
		}
	}
	if _, err := sofiane.takeOver(t, id, "Et jusqu’à lundi."); err != nil {
		t.Fatal(err)
	}
	err = second(s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, Text: agentText, LastMessageId: s.last(t, id)}))
	refused(t, err, codes.FailedPrecondition, "CLAIM_HELD", "")
	if got := claire.notesOf(t, id); !slices.Equal(got, []string{"Claire est absente.", "Et jusqu’à lundi."}) {
		t.Errorf("notes %q", got)
	}
	if n := s.count(t, `SELECT count(*) FROM audit WHERE action = 'take-over' AND target = 'agent:claire'`); n != 1 {
		t.Errorf("%d entries of the audit say from whom", n)
	}
	sofiane.reply(t, id, true)
	sofiane.end(t, id)
	_, err = sofiane.takeOver(t, id, "")
	refused(t, err, codes.FailedPrecondition, "CONVERSATION_CLOSED", "")
}

// A transfer's note is for those who get the conversation.
func TestTransfer_WithANote(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id := jeanne.submit(t).GetId()
	for _, note := range []string{"  Pour vous.\r\n", "Pour vous.", "Et vite."} { // the second finds it there
		_, err := claire.agent.TransferConversation(claire.call(t), &messagingpb.TransferConversationRequest{Id: id, Queue: "sante", LastMessageId: s.last(t, id), Note: note})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := claire.notesOf(t, id); !slices.Equal(got, []string{"Pour vous.", "Et vite."}) {
		t.Errorf("notes %q", got)
	}
	_, err := claire.agent.TransferConversation(claire.call(t), &messagingpb.TransferConversationRequest{Id: id, Queue: "famille", LastMessageId: s.last(t, id), Note: "\u200b\x00"})
	refused(t, err, codes.InvalidArgument, "BODY_BLANK", "note")
	if n := s.count(t, `SELECT count(*) FROM audit WHERE action = 'transfer' AND target = 'sante' AND service = 'Service famille v1'`); n != 1 {
		t.Errorf("%d entries of the audit say where to, and from where", n)
	}
	if seen := jeanne.see(t, id); seen.GetNotes() != nil {
		t.Errorf("the member reads %v", seen.GetNotes())
	}
}

// Whoever worked here lately is a colleague, machines aside, and of this fund alone.
func TestListAgents(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire := s.clerk(t, "claire", map[string]any{"name": "Élodie Bernard"})
	s.clerk(t, "zoe", map[string]any{"name": "Zoé", "queues": []string{"sante"}}).queue(t, &messagingpb.AgentServiceListConversationsRequest{})
	s.clerk(t, "elsewhere", map[string]any{"caisse": "msa-44"}).queue(t, &messagingpb.AgentServiceListConversationsRequest{})
	machine := caller{s, s.machines.Token(t, map[string]any{"sub": "crm", "caisse": "msa-75", "queues": []string{auth.AllQueues}, "roles": []string{auth.RoleAgent}, "scope": "queue.read"})}
	machine.queue(t, &messagingpb.AgentServiceListConversationsRequest{})
	names := func(req *messagingpb.ListAgentsRequest) (list []string, next string) {
		resp, err := claire.agent.ListAgents(claire.call(t), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, agent := range resp.GetAgents() {
			list = append(list, agent.GetId()+" "+agent.GetName())
		}
		return list, resp.GetNextPageToken()
	}
	if got, _ := names(&messagingpb.ListAgentsRequest{}); !slices.Equal(got, []string{"agent:claire Élodie Bernard", "agent:zoe Zoé"}) {
		t.Errorf("%q", got)
	}
	if got, _ := names(&messagingpb.ListAgentsRequest{Queue: "famille"}); !slices.Equal(got, []string{"agent:claire Élodie Bernard"}) {
		t.Errorf("of a queue: %q", got)
	}
	first, next := names(&messagingpb.ListAgentsRequest{PageSize: 1})
	rest, end := names(&messagingpb.ListAgentsRequest{PageSize: 1, PageToken: next})
	if !slices.Equal(append(first, rest...), []string{"agent:claire Élodie Bernard", "agent:zoe Zoé"}) || end != "" {
		t.Errorf("pages: %q, %q, %q", first, rest, end)
	}
	if _, err := s.pool.Exec(t.Context(), `UPDATE agent SET seen_at = now() - interval '31 days' WHERE id = 'agent:zoe'`); err != nil {
		t.Fatal(err)
	}
	if got, _ := names(&messagingpb.ListAgentsRequest{}); !slices.Equal(got, []string{"agent:claire Élodie Bernard"}) {
		t.Errorf("a month later: %q", got)
	}
}
