package messaging

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// watch opens a member's watch and waits for its first answer.
func (c caller) watch(t *testing.T) (next func() *messagingpb.WatchConversationsResponse, ended func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.call(t), messagingtest.Patience)
	t.Cleanup(cancel)
	stream, err := c.messaging.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next = func() *messagingpb.WatchConversationsResponse {
		t.Helper()
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if first := next(); first.GetConversationId() != "" || first.GetUnreadCount() != 0 {
		t.Fatalf("the first answer is %v", first)
	}
	return next, func() error { _, err := stream.Recv(); return err }
}

// warmUp has a member submit until the process gets events from the broker and hints from
// other processes, and returns the conversation of the last hint.
func (s *stage) warmUp(t *testing.T, c caller) string {
	t.Helper()
	next, _ := c.watch(t)
	for {
		id := c.submit(t).GetId()
		hint := next().GetConversationId()
		// The catch-all hint: the events before now may have been missed.
		for hint != id && hint != "" {
			hint = next().GetConversationId()
		}
		if hint != id {
			continue
		}
		// And what has no event.
		if _, err := c.messaging.HideConversation(c.call(t), &messagingpb.HideConversationRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
		for hint = ""; hint != id; hint = next().GetConversationId() {
			continue
		}
		return id
	}
}

func TestWatch_MemberAndQueue(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, paul, claire := s.member(t, "jeanne"), s.member(t, "paul"), s.clerk(t, "claire")
	pauls := s.warmUp(t, paul)
	next, _ := jeanne.watch(t)
	ctx, cancel := context.WithTimeout(claire.call(t), messagingtest.Patience)
	defer cancel()
	queue, err := claire.agent.WatchConversations(ctx, &messagingpb.AgentServiceWatchConversationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := queue.Recv(); err != nil || first.GetConversationId() != "" {
		t.Fatalf("the queue's first answer is %v, %v", first, err)
	}
	elsewhere := s.clerk(t, "denis", map[string]any{"caisse": "msa-29"})
	far, err := elsewhere.agent.WatchConversations(elsewhere.call(t), &messagingpb.AgentServiceWatchConversationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := far.Recv(); err != nil {
		t.Fatal(err)
	}
	// What happens to somebody else's conversation first causes no hint to Jeanne.
	claire.claim(t, pauls)
	id := jeanne.submit(t).GetId()
	if hint := next(); hint.GetConversationId() != id || hint.GetUnreadCount() != 0 {
		t.Errorf("got %v, want her own conversation", hint)
	}
	claire.reply(t, id, true)
	if hint := next(); hint.GetConversationId() != id || hint.GetUnreadCount() != 1 {
		t.Errorf("got %v, want one unread", hint)
	}
	var opened []string
	for range 3 {
		hint, err := queue.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if hint.GetOpened() {
			opened = append(opened, hint.GetConversationId())
		}
	}
	if len(opened) != 1 || opened[0] != id {
		t.Errorf("opened %v, want %s", opened, id)
	}
	// A conversation of the other caisse causes the first hint to its agent.
	other := s.member(t, "yann", map[string]any{"caisse": "msa-29"}).submit(t).GetId()
	if hint, err := far.Recv(); err != nil || hint.GetConversationId() != other {
		t.Errorf("got %v, %v, want %s", hint, err, other)
	}
}

func TestWatch_EndsWithTheProcess(t *testing.T) {
	t.Parallel()
	s := running(t)
	_, ended := s.member(t, "jeanne").watch(t)
	s.stop() // fails the test when the drain waits for the watch
	if err := ended(); err == nil {
		t.Error("the watch goes on")
	}
}

func TestWatch_TooMany(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	for range 16 {
		jeanne.watch(t)
	}
	stream, err := jeanne.messaging.WatchConversations(jeanne.call(t), &messagingpb.WatchConversationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	refused(t, err, codes.ResourceExhausted, "WATCHES_TOO_MANY", "")
	s.member(t, "paul").watch(t)
}
