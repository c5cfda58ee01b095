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

// hintReader is an open watch of either kind: it returns the conversation of its next hint.
type hintReader func() string

func listen[Hint any, H interface {
	*Hint
	GetConversationId() string
}](t *testing.T, c caller, open func(context.Context) (grpc.ServerStreamingClient[Hint], error)) hintReader {
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

func (c caller) hints(t *testing.T) hintReader {
	t.Helper()
	return listen(t, c, func(ctx context.Context) (grpc.ServerStreamingClient[messagingpb.WatchConversationsResponse], error) {
		return c.messaging.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
	})
}

func (c caller) agentHints(t *testing.T) hintReader {
	t.Helper()
	return listen(t, c, func(ctx context.Context) (grpc.ServerStreamingClient[messagingpb.AgentServiceWatchConversationsResponse], error) {
		return c.agent.WatchConversations(ctx, &messagingpb.AgentServiceWatchConversationsRequest{})
	})
}

// waitFor waits for a hint about a conversation, whatever comes before.
func (next hintReader) waitFor(t *testing.T, id string) {
	t.Helper()
	for next() != id {
		continue
	}
}

// warm warms both processes of a stage up (see warmUp) and returns them.
func (s *stage) warm(t *testing.T) (one, two *process) {
	t.Helper()
	one = s.process
	two = s.start(t)
	for _, p := range []*process{one, two} {
		s.warmUp(t, s.member(t, "warm").at(p))
	}
	return one, two
}

// Every kind of change causes a hint to those who see it, at whatever process they watch.
func TestHint_EveryChange(t *testing.T) {
	t.Parallel()
	s := running(t)
	one, two := s.warm(t)
	jeanne, claire := s.member(t, "jeanne").at(one), s.clerk(t, "claire").at(one)
	family := s.clerk(t, "denis", map[string]any{"queues": []string{"famille"}})
	health := s.clerk(t, "emma", map[string]any{"queues": []string{"sante"}})
	var readers []hintReader
	for _, p := range []*process{one, two} {
		readers = append(readers, jeanne.at(p).hints(t), claire.at(p).agentHints(t))
	}
	hinted := func(what string, readers []hintReader, id string) {
		t.Helper()
		t.Log(what)
		for _, next := range readers {
			next.waitFor(t, id)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id := jeanne.submit(t).GetId()
	hinted("submitted", readers, id)
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
		hinted(action, readers, id)
	}
	claire.claim(t, id)
	hinted("claimed", readers, id)
	mark("released")
	claire.reply(t, id, false)
	hinted("replied", readers, id)
	mark("read")
	mark("hidden")
	mark("shown")
	_, err := jeanne.followUp(t, id, uuid.NewString(), memberText)
	ok(err)
	hinted("followed up", readers, id)
	_, err = claire.recategorise(t, id, "sante", "soins", "remboursement")
	ok(err)
	hinted("recategorised", readers, id)
	families, healths := family.at(two).agentHints(t), health.at(two).agentHints(t)
	_, err = claire.transfer(t, id, "sante")
	ok(err)
	hinted("transferred", append(readers, families, healths), id)
	claire.end(t, id)
	hinted("closed", append(readers, healths), id)
	_, err = claire.reopen(t, id)
	ok(err)
	hinted("reopened", append(readers, healths), id)
	// Only agents see these.
	agents := []hintReader{claire.at(one).agentHints(t), claire.at(two).agentHints(t)}
	_, err = claire.note(t, id, "note")
	ok(err)
	hinted("noted", agents, id)
	agents = []hintReader{claire.at(one).agentHints(t), claire.at(two).agentHints(t)}
	claire.claim(t, id)
	hinted("claimed again", agents, id)
	agents = []hintReader{claire.at(one).agentHints(t), claire.at(two).agentHints(t)}
	claire.claim(t, id)
	hinted("claim renewed", agents, id)
	// The conversation no longer says whose it was, and the member gets the catch-all hint.
	members := []hintReader{jeanne.at(one).hints(t), jeanne.at(two).hints(t)}
	agents = []hintReader{claire.at(one).agentHints(t), claire.at(two).agentHints(t)}
	_, err = jeanne.messaging.EraseMyData(jeanne.call(t), &messagingpb.EraseMyDataRequest{Confirm: true})
	ok(err)
	hinted("erased", members, "")
	hinted("erased", agents, id)
}

// What a caller cannot see, or changes nothing, causes no hint: a client that marks as read
// after every hint comes to an end.
func TestHint_NothingToSee(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	s.warmUp(t, s.member(t, "warm"))
	readers := []hintReader{jeanne.hints(t), claire.agentHints(t)}
	id, other := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	for _, next := range readers {
		for seen := map[string]bool{}; !seen[id] || !seen[other]; {
			seen[next()] = true
		}
	}
	hide := func(id string) {
		t.Helper()
		if _, err := jeanne.messaging.HideConversation(jeanne.call(t), &messagingpb.HideConversationRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	mine, agents := readers[0], readers[1]
	if _, err := claire.note(t, id, "note"); err != nil {
		t.Fatal(err)
	}
	agents.waitFor(t, id)
	hide(id)
	mine.waitFor(t, id)
	agents.waitFor(t, id)
	hide(id)
	if _, err := jeanne.messaging.ShowConversation(jeanne.call(t), &messagingpb.ShowConversationRequest{Id: other}); err != nil {
		t.Fatal(err)
	}
	if _, err := jeanne.messaging.MarkConversationRead(jeanne.call(t), &messagingpb.MarkConversationReadRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
	hide(other)
	for _, next := range readers {
		if got := next(); got != other {
			t.Errorf("a hint about %q, of which nothing had changed", got)
		}
	}
}
