package messaging

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// at is the caller at a process of their choice.
func (c caller) at(p *process) caller {
	there := *c.stage
	there.process = p
	return caller{&there, c.token}
}

// ear is an open watch of either kind: it returns the conversation of its next hint.
type ear func() string

func listen[Hint any, H interface {
	*Hint
	GetConversationId() string
}](t *testing.T, c caller, open func(context.Context) (grpc.ServerStreamingClient[Hint], error)) ear {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.call(t), messagingtest.Patience)
	t.Cleanup(cancel)
	stream, err := open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	next := func() string {
		t.Helper()
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return H(got).GetConversationId()
	}
	if first := next(); first != "" {
		t.Fatalf("the first hint names %s", first)
	}
	return next
}

func (c caller) ear(t *testing.T) ear {
	t.Helper()
	return listen(t, c, func(ctx context.Context) (grpc.ServerStreamingClient[messagingpb.WatchConversationsResponse], error) {
		return c.messaging.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
	})
}

func (c caller) agentEar(t *testing.T) ear {
	t.Helper()
	return listen(t, c, func(ctx context.Context) (grpc.ServerStreamingClient[messagingpb.AgentServiceWatchConversationsResponse], error) {
		return c.agent.WatchConversations(ctx, &messagingpb.AgentServiceWatchConversationsRequest{})
	})
}

// hears waits for a hint about a conversation, whatever comes before.
func (e ear) hears(t *testing.T, id string) {
	t.Helper()
	for e() != id {
		continue
	}
}

// warm has both processes of a stage hear what is published, and returns them.
func (s *stage) warm(t *testing.T) (one, two *process) {
	t.Helper()
	one = s.process
	two = s.start(t)
	for _, p := range []*process{one, two} {
		s.heard(t, s.member(t, "warm").at(p))
	}
	return one, two
}

// Every kind of change is told to those who see it, at whatever process they watch.
func TestHint_EveryChange(t *testing.T) {
	t.Parallel()
	s := running(t)
	one, two := s.warm(t)
	jeanne, claire := s.member(t, "jeanne").at(one), s.clerk(t, "claire").at(one)
	family := s.clerk(t, "denis", map[string]any{"queues": []string{"famille"}})
	health := s.clerk(t, "emma", map[string]any{"queues": []string{"sante"}})
	var ears []ear
	for _, p := range []*process{one, two} {
		ears = append(ears, jeanne.at(p).ear(t), claire.at(p).agentEar(t))
	}
	hears := func(what string, ears []ear, id string) {
		t.Helper()
		t.Log(what)
		for _, e := range ears {
			e.hears(t, id)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id := jeanne.submit(t).GetId()
	hears("submitted", ears, id)
	mark := func(action string) {
		t.Helper()
		var err error
		switch action {
		case "hidden":
			_, err = jeanne.messaging.HideConversation(jeanne.call(t), &messagingpb.HideConversationRequest{Id: id})
		case "shown":
			_, err = jeanne.messaging.ShowConversation(jeanne.call(t), &messagingpb.ShowConversationRequest{Id: id})
		case "read":
			_, err = jeanne.messaging.MarkConversationRead(jeanne.call(t), &messagingpb.MarkConversationReadRequest{Id: id})
		case "released":
			_, err = claire.agent.ReleaseConversation(claire.call(t), &messagingpb.ReleaseConversationRequest{Id: id})
		}
		ok(err)
		hears(action, ears, id)
	}
	claire.claim(t, id)
	hears("claimed", ears, id)
	mark("released")
	claire.reply(t, id, false)
	hears("replied", ears, id)
	mark("read")
	mark("hidden")
	mark("shown")
	_, err := jeanne.followUp(t, id, uuid.NewString(), memberText)
	ok(err)
	hears("followed up", ears, id)
	_, err = claire.recategorise(t, id, "sante", "soins", "remboursement")
	ok(err)
	hears("recategorised", ears, id)
	families, healths := family.at(two).agentEar(t), health.at(two).agentEar(t)
	_, err = claire.transfer(t, id, "sante")
	ok(err)
	hears("transferred", append(ears, families, healths), id)
	claire.end(t, id)
	hears("closed", append(ears, healths), id)
	_, err = claire.reopen(t, id)
	ok(err)
	hears("reopened", append(ears, healths), id)
	// Only agents see these.
	agents := []ear{claire.at(one).agentEar(t), claire.at(two).agentEar(t)}
	_, err = claire.note(t, id, "note")
	ok(err)
	hears("noted", agents, id)
	agents = []ear{claire.at(one).agentEar(t), claire.at(two).agentEar(t)}
	claire.claim(t, id)
	hears("claimed again", agents, id)
	agents = []ear{claire.at(one).agentEar(t), claire.at(two).agentEar(t)}
	claire.claim(t, id)
	hears("claim renewed", agents, id)
	// The conversation no longer says whose it was, and the member is told of any.
	members := []ear{jeanne.at(one).ear(t), jeanne.at(two).ear(t)}
	agents = []ear{claire.at(one).agentEar(t), claire.at(two).agentEar(t)}
	_, err = jeanne.messaging.EraseMyData(jeanne.call(t), &messagingpb.EraseMyDataRequest{Confirm: true})
	ok(err)
	hears("erased", members, "")
	hears("erased", agents, id)
}

// What is not seen, or changes nothing, is told to nobody: a client that reads whenever it
// is told comes to an end.
func TestHint_NothingToSee(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	s.heard(t, s.member(t, "warm"))
	ears := []ear{jeanne.ear(t), claire.agentEar(t)}
	id, other := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	for _, e := range ears {
		for told := map[string]bool{}; !told[id] || !told[other]; {
			told[e()] = true
		}
	}
	hide := func(id string) {
		t.Helper()
		if _, err := jeanne.messaging.HideConversation(jeanne.call(t), &messagingpb.HideConversationRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	mine, agents := ears[0], ears[1]
	if _, err := claire.note(t, id, "note"); err != nil {
		t.Fatal(err)
	}
	agents.hears(t, id)
	hide(id)
	mine.hears(t, id)
	agents.hears(t, id)
	hide(id)
	if _, err := jeanne.messaging.ShowConversation(jeanne.call(t), &messagingpb.ShowConversationRequest{Id: other}); err != nil {
		t.Fatal(err)
	}
	if _, err := jeanne.messaging.MarkConversationRead(jeanne.call(t), &messagingpb.MarkConversationReadRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
	hide(other)
	for _, e := range ears {
		if got := e(); got != other {
			t.Errorf("told of %q, of which nothing had changed", got)
		}
	}
}
