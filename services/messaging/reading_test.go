package messaging

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

var unclaimed = flag.Int("unclaimed", 60, "how many messages three tools answer at once")

// newOf are the messages that a refusal tells of.
func newOf(t *testing.T, err error) *messagingpb.ConversationChanged {
	t.Helper()
	refused(t, err, codes.Aborted, "CONVERSATION_CHANGED", "")
	for _, detail := range status.Convert(err).Details() {
		if changed, ok := detail.(*messagingpb.ConversationChanged); ok {
			return changed
		}
	}
	t.Fatalf("%v has no detail with what is new", err)
	return nil
}

// What an agent decided before the member wrote again is refused with what is new, and nothing
// happens. Notes, claims and readings are no news.
func TestAnswers_WhatWasRead(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	id := jeanne.submit(t).GetId()
	read := claire.read(t, id)
	if read.GetLastMessageId() != read.GetMessages()[0].GetId() {
		t.Fatalf("the last message is %q of %v", read.GetLastMessageId(), read.GetMessages())
	}
	if _, err := omar.note(t, id, "À rappeler.", uuid.NewString()); err != nil {
		t.Fatal(err)
	}
	if claimed := claire.claim(t, id); claimed.GetLastMessageId() != read.GetLastMessageId() {
		t.Errorf("a claim and a note have changed the last message: %v", claimed)
	}
	const further = "Entre-temps, j’ai changé de compte bancaire."
	followed, err := jeanne.followUp(t, id, uuid.NewString(), further)
	if err != nil {
		t.Fatal(err)
	}
	last := followed.GetMessages()[1].GetId()
	stored, acts := s.rows(t), len(s.actions(t, id))
	stale := read.GetLastMessageId()
	for what, err := range map[string]error{
		"a reply":    second(s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, Text: agentText, Final: true, LastMessageId: stale})),
		"a closing":  second(s.agent.CloseConversation(claire.call(t), &messagingpb.CloseConversationRequest{Id: id, Text: closingText, LastMessageId: stale})),
		"a transfer": second(s.agent.TransferConversation(claire.call(t), &messagingpb.TransferConversationRequest{Id: id, Queue: "sante", LastMessageId: stale})),
	} {
		changed := newOf(t, err)
		if got := changed.GetMessages(); len(got) != 1 || got[0].GetText() != further || got[0].GetId() != last || changed.GetLastMessageId() != last || changed.GetIncomplete() {
			t.Errorf("%s is told of %v", what, changed)
		}
	}
	if got := s.rows(t); got != stored {
		t.Errorf("%s became %s", stored, got)
	}
	// What is new was read with the refusal.
	if got := s.actions(t, id)[acts:]; !slices.Equal(got, []string{"agent:claire read", "agent:claire read", "agent:claire read"}) {
		t.Errorf("the audit has %v", got)
	}
	// Of another conversation's message, or none, all is new.
	err = second(s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, Text: agentText, LastMessageId: uuid.NewString()}))
	if got := newOf(t, err).GetMessages(); len(got) != 2 {
		t.Errorf("the refusal tells of %v", got)
	}
	for what, err := range map[string]error{
		"a reply":    second(s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, Text: agentText})),
		"a closing":  second(s.agent.CloseConversation(claire.call(t), &messagingpb.CloseConversationRequest{Id: id})),
		"a transfer": second(s.agent.TransferConversation(claire.call(t), &messagingpb.TransferConversationRequest{Id: id, Queue: "sante"})),
	} {
		t.Log(what)
		refused(t, err, codes.InvalidArgument, "LAST_MESSAGE_REQUIRED", "lastMessageId")
	}
	answered, err := s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, Text: agentText, Final: true, LastMessageId: last})
	if err != nil || answered.GetMessageId() != answered.GetConversation().GetLastMessageId() || !answered.GetConversation().GetAnswered() {
		t.Errorf("%v, %v", answered, err)
	}
}

// A member's message has one final answer, unless another is meant.
func TestReply_OnceForGood(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id := jeanne.submit(t).GetId()
	claire.reply(t, id, false)
	claire.reply(t, id, true)
	again := func(final, additional bool) error {
		return second(s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, Text: agentText, Final: final, Additional: additional, LastMessageId: s.last(t, id)}))
	}
	refused(t, again(true, false), codes.FailedPrecondition, "ALREADY_ANSWERED", "")
	if err := again(true, true); err != nil {
		t.Errorf("an additional one: %v", err)
	}
	if err := again(false, false); err != nil {
		t.Errorf("one in part: %v", err)
	}
	refused(t, again(true, false), codes.FailedPrecondition, "ALREADY_ANSWERED", "")
	if _, err := claire.reopen(t, id); err != nil {
		t.Fatal(err)
	}
	refused(t, again(true, false), codes.FailedPrecondition, "ALREADY_ANSWERED", "")
	if _, err := jeanne.followUp(t, id, uuid.NewString(), "Merci, encore une question."); err != nil {
		t.Fatal(err)
	}
	if err := again(true, false); err != nil {
		t.Errorf("the answer to a further message: %v", err)
	}
	if n := s.count(t, `SELECT count(*) FROM message WHERE author = 2`); n != 5 {
		t.Errorf("%d replies are stored", n)
	}
}

// Three tools answer the same messages at once: each has one answer, and one announcement.
func TestReplies_OfThreeTools(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	tools := []caller{s.clerk(t, "claire"), s.clerk(t, "sofiane"), s.clerk(t, "crm")}
	read := make(map[string]string)
	for range *unclaimed {
		sent := jeanne.submit(t)
		read[sent.GetId()] = sent.GetMessages()[0].GetId()
	}
	var mu sync.Mutex
	outcomes := make(map[codes.Code]int)
	var group sync.WaitGroup
	for _, tool := range tools {
		group.Go(func() {
			for id, last := range read {
				_, err := tool.agent.PostReply(tool.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, Text: agentText, Final: true, LastMessageId: last})
				mu.Lock()
				outcomes[status.Code(err)]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if outcomes[codes.OK] != *unclaimed || outcomes[codes.Aborted] != 2**unclaimed {
		t.Errorf("the answers are %v", outcomes)
	}
	if n := s.count(t, `SELECT count(*) FROM message WHERE author = 2`); n != *unclaimed {
		t.Errorf("%d replies are stored", n)
	}
	if n := s.count(t, `SELECT count(*) FROM event_log WHERE type = 'reply-posted'`); n != *unclaimed {
		t.Errorf("%d replies are announced", n)
	}
}

// The same key gets its first answer, whatever has happened since.
func TestReply_RetryWhateverHappened(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar", map[string]any{"queues": []string{"famille"}})
	for what, happens := range map[string]func(id string){
		"nothing": func(string) {},
		"a follow-up": func(id string) {
			if _, err := jeanne.followUp(t, id, uuid.NewString(), "Encore une question."); err != nil {
				t.Error(err)
			}
		},
		"a colleague's answer": func(id string) {
			err := second(s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, Text: agentText, Final: true, Additional: true, LastMessageId: s.last(t, id)}))
			if err != nil {
				t.Error(err)
			}
		},
		"a claim": func(id string) { claire.claim(t, id) },
		"a transfer to where its author sees nothing": func(id string) {
			if _, err := claire.transfer(t, id, "sante"); err != nil {
				t.Error(err)
			}
			if _, err := jeanne.followUp(t, id, uuid.NewString(), "Un secret pour le service santé."); err != nil {
				t.Error(err)
			}
		},
		"its end": func(id string) { claire.end(t, id) },
	} {
		id, key := jeanne.submit(t).GetId(), uuid.NewString()
		req := &messagingpb.PostReplyRequest{Id: id, Text: agentText, Final: true, LastMessageId: s.last(t, id)}
		first, err := s.agent.PostReply(omar.call(t, key), req)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		happens(id)
		stored := s.count(t, `SELECT count(*) FROM message`)
		var header metadata.MD
		again, err := s.agent.PostReply(omar.call(t, key), req, grpc.Header(&header))
		if err != nil || again.GetMessageId() != first.GetMessageId() || len(header.Get("idempotent-replayed")) != 1 {
			t.Errorf("after %s: %v, %v, %v", what, again, err, header)
		}
		if n := s.count(t, `SELECT count(*) FROM message`); n != stored {
			t.Errorf("after %s: %d messages became %d", what, stored, n)
		}
		if strings.Contains(fmt.Sprint(again.GetConversation().GetMessages()), "secret") {
			t.Errorf("after %s its author reads on", what)
		}
		other := &messagingpb.PostReplyRequest{Id: id, Text: agentText + "!", Final: true, LastMessageId: s.last(t, id)}
		refused(t, second(s.agent.PostReply(omar.call(t, key), other)), codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "")
	}
	// One that was never answered is not found by whoever may not see it.
	id := jeanne.submit(t).GetId()
	if _, err := claire.transfer(t, id, "sante"); err != nil {
		t.Fatal(err)
	}
	err := second(s.agent.PostReply(omar.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, Text: agentText, LastMessageId: s.last(t, id)}))
	refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
}

// A message is behind those before it though the clock went back.
func TestMessages_ClockGoesBack(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id := jeanne.submit(t).GetId()
	claire.reply(t, id, false)
	if _, err := s.pool.Exec(t.Context(), `UPDATE message SET created_at = now() + interval '1 hour' WHERE author = 2`); err != nil {
		t.Fatal(err)
	}
	read := claire.read(t, id).GetLastMessageId()
	if _, err := jeanne.followUp(t, id, uuid.NewString(), "Encore une question."); err != nil {
		t.Fatal(err)
	}
	err := second(s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, Text: agentText, Final: true, LastMessageId: read}))
	if got := newOf(t, err).GetMessages(); len(got) != 1 || got[0].GetAuthor() != messagingpb.Author_MEMBER {
		t.Errorf("the refusal tells of %v", got)
	}
	if got := jeanne.see(t, id).GetMessages(); len(got) != 3 || got[2].GetAuthor() != messagingpb.Author_MEMBER {
		t.Errorf("the member reads %v", got)
	}
}

// Closing what has no final answer takes a sentence, which the member reads as a reply.
func TestClose_WithASentence(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id := jeanne.submit(t).GetId()
	closing := func(text string) (*messagingpb.Conversation, error) {
		resp, err := s.agent.CloseConversation(claire.call(t), &messagingpb.CloseConversationRequest{Id: id, Text: text, LastMessageId: s.last(t, id)})
		return resp.GetConversation(), err
	}
	for _, none := range []string{"", " \n "} {
		_, err := closing(none)
		refused(t, err, codes.InvalidArgument, "CLOSING_TEXT_REQUIRED", "text")
	}
	_, err := closing(strings.Repeat("é", 751))
	refused(t, err, codes.InvalidArgument, "BODY_TOO_LONG", "text")
	claire.reply(t, id, false)
	_, err = closing("")
	refused(t, err, codes.InvalidArgument, "CLOSING_TEXT_REQUIRED", "text")
	for range 2 {
		closed, err := closing(closingText)
		if err != nil || closed.GetStatus() != messagingpb.Status_CLOSED || closed.GetClaim() != nil {
			t.Fatalf("%v, %v", closed, err)
		}
	}
	seen := jeanne.see(t, id)
	if got := seen.GetMessages(); len(got) != 3 || got[2].GetText() != closingText || got[2].GetFinal() || got[2].GetWriter().GetName() == "" || !seen.GetUnread() {
		t.Errorf("the member reads %v", seen)
	}
	replies := payloads(t, s, eventspb.TypeReplyPosted, func() *eventspb.ReplyPosted { return &eventspb.ReplyPosted{} })
	if len(replies) != 2 || replies[0].GetClosing() || !replies[1].GetClosing() || !replies[1].GetFinal() || replies[1].GetMessageId() != seen.GetMessages()[2].GetId() {
		t.Errorf("announced: %v", replies)
	}
	if steps := seen.GetSteps(); steps[len(steps)-2].GetKind() != messagingpb.Step_REPLIED || steps[len(steps)-1].GetKind() != messagingpb.Step_CLOSED {
		t.Errorf("the member sees %v", steps)
	}
	// It was no answer: one may follow.
	if _, err := claire.reopen(t, id); err != nil {
		t.Fatal(err)
	}
	if got := claire.reply(t, id, true); got.GetStatus() != messagingpb.Status_ANSWERED {
		t.Errorf("answered after all: %v", got)
	}
}

// One that is answered needs no sentence; with one, it is announced as a reply, as it is no end
// without an answer.
func TestClose_WhatIsAnswered(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	for text, messages := range map[string]int{"": 2, closingText: 3} {
		id := jeanne.submit(t).GetId()
		claire.reply(t, id, true)
		closing := func(by caller, text string) error {
			return second(s.agent.CloseConversation(by.call(t), &messagingpb.CloseConversationRequest{Id: id, Text: text, LastMessageId: s.last(t, id)}))
		}
		if err := closing(claire, text); err != nil {
			t.Fatal(err)
		}
		if got := jeanne.see(t, id); len(got.GetMessages()) != messages || got.GetStatus() != messagingpb.Status_CLOSED {
			t.Errorf("the member reads %v", got)
		}
		// A repeat is one; another text would be lost.
		if err := closing(claire, text); err != nil {
			t.Errorf("a repeat: %v", err)
		}
		refused(t, closing(omar, closingText), codes.FailedPrecondition, "CONVERSATION_CLOSED", "")
		refused(t, closing(claire, closingText+"!"), codes.FailedPrecondition, "CONVERSATION_CLOSED", "")
	}
	for _, reply := range payloads(t, s, eventspb.TypeReplyPosted, func() *eventspb.ReplyPosted { return &eventspb.ReplyPosted{} }) {
		if reply.GetClosing() || !reply.GetFinal() {
			t.Errorf("announced: %v", reply)
		}
	}
}

// Every message says who wrote it, in the form in which the fund shows names.
func TestWriter(t *testing.T) {
	t.Parallel()
	for form, name := range map[string]string{"full": "Claire Bernard", "initial": "Claire B.", "service": "Service famille v1"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			if err := s.cfg.AgentNames.UnmarshalText([]byte(form)); err != nil {
				t.Fatal(err)
			}
			s.start(t)
			jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire", map[string]any{"name": "Claire Bernard"})
			crm := caller{s, s.machines.Token(t, map[string]any{
				"sub": "crm", "client_id": "crm", "name": "Logiciel de gestion", "caisse": "msa-75", "queues": []string{auth.AllQueues}, "roles": []string{auth.RoleAgent}, "scope": "replies.write queue.read queue.write",
			})}
			id := jeanne.submit(t).GetId()
			claire.reply(t, id, false)
			if _, err := claire.agent.ReleaseConversation(claire.call(t), &messagingpb.ReleaseConversationRequest{Id: id}); err != nil {
				t.Fatal(err)
			}
			crm.reply(t, id, true)
			mine, theirs := jeanne.see(t, id).GetMessages(), claire.read(t, id).GetMessages()
			for i, want := range []struct {
				kind           messagingpb.Writer_Kind
				name, ofAgents string
			}{
				{messagingpb.Writer_MEMBER, "", ""}, {messagingpb.Writer_AGENT, name, "agent:claire"}, {messagingpb.Writer_MACHINE, "Logiciel de gestion", "machine:crm"},
			} {
				if got := mine[i].GetWriter(); got.GetKind() != want.kind || got.GetName() != want.name || got.GetAgentId() != "" {
					t.Errorf("the member is told of message %d: %v", i, got)
				}
				if got := theirs[i].GetWriter(); got.GetKind() != want.kind || got.GetName() != want.name || got.GetAgentId() != want.ofAgents {
					t.Errorf("agents are told of message %d: %v", i, got)
				}
			}
		})
	}
}
