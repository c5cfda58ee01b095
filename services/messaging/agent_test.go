package messaging

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// queue returns the ids of what waits, and the token of the page after it.
func (c caller) queue(t *testing.T, req *messagingpb.AgentServiceListConversationsRequest) (ids []string, next string) {
	t.Helper()
	resp, err := c.agent.ListConversations(c.call(t), req)
	if err != nil {
		t.Fatal(err)
	}
	for _, conversation := range resp.GetConversations() {
		if len(conversation.GetMessages()) > 0 {
			t.Error("the queue holds messages")
		}
		ids = append(ids, conversation.GetId())
	}
	return ids, resp.GetNextPageToken()
}

// health is a submission for the queue sante.
func health(r *messagingpb.SubmitMessageRequest) {
	r.Theme, r.Topic, r.Reason = "sante", "soins", "remboursement"
}

// lapse lets every lease end, by the database's clock.
func (s *stage) lapse(t *testing.T) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), `UPDATE conversation SET claim_expires = now() WHERE claim_expires IS NOT NULL`); err != nil {
		t.Fatal(err)
	}
}

// actions are what is written down about a conversation, in order.
func (s *stage) actions(t *testing.T, id string) []string {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), `SELECT agent_id || ' ' || action FROM audit WHERE conversation_id = $1 ORDER BY seq`, id)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestQueue_ScopeAndOrder(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, nantes := s.member(t, "jeanne"), s.member(t, "nina", map[string]any{"caisse": "msa-44"})
	family, care, far := jeanne.submit(t).GetId(), jeanne.submit(t, health).GetId(), nantes.submit(t).GetId()
	last := jeanne.submit(t).GetId()
	queues := func(names ...string) map[string]any { return map[string]any{"queues": names} }
	for _, test := range []struct {
		name   string
		claims map[string]any
		req    *messagingpb.AgentServiceListConversationsRequest
		want   []string
	}{
		{"all of the caisse, oldest first", nil, &messagingpb.AgentServiceListConversationsRequest{}, []string{family, care, last}},
		{"one queue", queues("sante"), &messagingpb.AgentServiceListConversationsRequest{}, []string{care}},
		{"two queues", queues("sante", "famille"), &messagingpb.AgentServiceListConversationsRequest{}, []string{family, care, last}},
		{"no queue", queues(), &messagingpb.AgentServiceListConversationsRequest{}, nil},
		{"another caisse", map[string]any{"caisse": "msa-44"}, &messagingpb.AgentServiceListConversationsRequest{}, []string{far}},
		{"no caisse", map[string]any{"caisse": ""}, &messagingpb.AgentServiceListConversationsRequest{}, nil},
		{"only a queue", nil, &messagingpb.AgentServiceListConversationsRequest{Queue: "famille"}, []string{family, last}},
		{"only a queue that is not the agent's", queues("sante"), &messagingpb.AgentServiceListConversationsRequest{Queue: "famille"}, nil},
		{"only a theme", nil, &messagingpb.AgentServiceListConversationsRequest{Theme: "sante"}, []string{care}},
		{"only a topic", nil, &messagingpb.AgentServiceListConversationsRequest{Topic: "allocations"}, []string{family, last}},
		{"only a status", nil, &messagingpb.AgentServiceListConversationsRequest{Status: []messagingpb.Status{messagingpb.Status_ANSWERED}}, nil},
	} {
		if got, _ := s.clerk(t, "claire", test.claims).queue(t, test.req); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	claire := s.clerk(t, "claire")
	first, next := claire.queue(t, &messagingpb.AgentServiceListConversationsRequest{PageSize: 2})
	rest, end := claire.queue(t, &messagingpb.AgentServiceListConversationsRequest{PageSize: 2, PageToken: next})
	if got := slices.Concat(first, rest); !slices.Equal(got, []string{family, care, last}) || end != "" {
		t.Errorf("in pages: %v, then %q", got, end)
	}
	_, err := s.agent.ListConversations(jeanne.call(t), &messagingpb.AgentServiceListConversationsRequest{})
	refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
	_, err = s.agent.ListConversations(s.clerk(t, "eve", map[string]any{"roles": nil}).call(t), &messagingpb.AgentServiceListConversationsRequest{})
	refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
}

// What is over leaves the queue, what is half done stays.
func TestQueue_Statuses(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	sent, inHand, partly, answered, closed := jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	claire.claim(t, inHand)
	claire.reply(t, partly, false)
	claire.reply(t, answered, true)
	if _, err := s.agent.CloseConversation(claire.call(t), &messagingpb.CloseConversationRequest{Id: closed, LastMessageId: s.last(t, closed), Text: closingText}); err != nil {
		t.Fatal(err)
	}
	if got, _ := claire.queue(t, &messagingpb.AgentServiceListConversationsRequest{}); !slices.Equal(got, []string{sent, inHand, partly}) {
		t.Errorf("waiting: %v", got)
	}
	over := &messagingpb.AgentServiceListConversationsRequest{Status: []messagingpb.Status{messagingpb.Status_ANSWERED, messagingpb.Status_CLOSED}}
	if got, _ := claire.queue(t, over); !slices.Equal(got, []string{answered, closed}) {
		t.Errorf("over: %v", got)
	}
}

func TestAgent_OutsideTheScopeIsNotFound(t *testing.T) {
	t.Parallel()
	s := running(t)
	id := s.member(t, "jeanne").submit(t).GetId()
	before := s.rows(t)
	for name, claims := range map[string]map[string]any{
		"another caisse": {"caisse": "msa-44"}, "another queue": {"queues": []string{"sante"}}, "no queue": {"queues": nil}, "no caisse": {"caisse": ""},
	} {
		eve := s.clerk(t, "eve", claims)
		for call, err := range map[string]error{
			"get":     second(s.agent.GetConversation(eve.call(t), &messagingpb.AgentServiceGetConversationRequest{Id: id})),
			"claim":   second(s.agent.ClaimConversation(eve.call(t), &messagingpb.ClaimConversationRequest{Id: id})),
			"release": second(s.agent.ReleaseConversation(eve.call(t), &messagingpb.ReleaseConversationRequest{Id: id})),
			"reply":   second(s.agent.PostReply(eve.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: agentText})),
			"close":   second(s.agent.CloseConversation(eve.call(t), &messagingpb.CloseConversationRequest{Id: id, LastMessageId: s.last(t, id)})),
		} {
			t.Log(name, call)
			refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
		}
	}
	if after := s.rows(t); after != before || len(s.actions(t, id)) != 0 {
		t.Errorf("%s became %s, %v", before, after, s.actions(t, id))
	}
}

func TestClaim(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	id := jeanne.submit(t).GetId()
	first := claire.claim(t, id)
	left := time.Until(first.GetClaim().GetExpireTime().AsTime())
	if claim := first.GetClaim(); !claim.GetMine() || claim.GetAgent() != "claire Canari (agent)" || left > s.cfg.ClaimLease || left < s.cfg.ClaimLease/2 || first.GetStatus() != messagingpb.Status_IN_PROGRESS {
		t.Errorf("claimed: %v", first)
	}
	renewed := claire.claim(t, id)
	if !renewed.GetClaim().GetExpireTime().AsTime().After(first.GetClaim().GetExpireTime().AsTime()) || !renewed.GetUpdateTime().AsTime().Equal(first.GetUpdateTime().AsTime()) {
		t.Errorf("renewed: %v, before %v", renewed, first)
	}
	if mine := jeanne.see(t, id); mine.GetClaim() != nil || mine.GetStatus() != messagingpb.Status_IN_PROGRESS {
		t.Errorf("the member sees %v", mine)
	}
	until := renewed.GetClaim().GetExpireTime().AsTime().UTC().Format(time.RFC3339)
	for name, err := range map[string]error{
		"claim":   second(s.agent.ClaimConversation(omar.call(t), &messagingpb.ClaimConversationRequest{Id: id})),
		"release": second(s.agent.ReleaseConversation(omar.call(t), &messagingpb.ReleaseConversationRequest{Id: id})),
		"reply":   second(s.agent.PostReply(omar.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: agentText})),
		"close":   second(s.agent.CloseConversation(omar.call(t), &messagingpb.CloseConversationRequest{Id: id, LastMessageId: s.last(t, id)})),
	} {
		meta := refused(t, err, codes.FailedPrecondition, "CLAIM_HELD", "")
		if meta["agent"] != "claire Canari (agent)" || meta["until"] != until {
			t.Errorf("%s: the refusal names the holder as %v, want until %s", name, meta, until)
		}
	}
	if got, err := s.agent.GetConversation(omar.call(t), &messagingpb.AgentServiceGetConversationRequest{Id: id}); err != nil || got.GetConversation().GetClaim().GetMine() || got.GetConversation().GetClaim().GetAgent() == "" {
		t.Errorf("a colleague reads %v, %v", got, err)
	}

	s.lapse(t)
	_, err := s.agent.ReleaseConversation(claire.call(t), &messagingpb.ReleaseConversationRequest{Id: id})
	refused(t, err, codes.FailedPrecondition, "CLAIM_NOT_HELD", "")
	if taken := omar.claim(t, id); !taken.GetClaim().GetMine() || taken.GetStatus() != messagingpb.Status_IN_PROGRESS {
		t.Errorf("after the lease: %v", taken)
	}
	// One event for each taking, none for a renewal.
	if n := s.count(t, `SELECT count(*) FROM event_log WHERE type = $1`, eventspb.TypeConversationClaimed); n != 2 {
		t.Errorf("%d claims were published", n)
	}
}

// Of many agents who claim at once, one gets it.
func TestClaim_Race(t *testing.T) {
	t.Parallel()
	s := running(t)
	id := s.member(t, "jeanne").submit(t).GetId()
	const agents = 16
	errs := make([]error, agents)
	var wg sync.WaitGroup
	for i := range agents {
		agent := s.clerk(t, "agent-"+string(rune('a'+i)))
		wg.Go(func() {
			_, errs[i] = s.agent.ClaimConversation(agent.call(t), &messagingpb.ClaimConversationRequest{Id: id})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			refused(t, err, codes.FailedPrecondition, "CLAIM_HELD", "")
		}
	}
	if won != 1 {
		t.Errorf("%d agents hold it", won)
	}
}

// Whoever has to wait for a conversation decides on it as it is by then.
func TestClaim_SeesWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	s := running(t)
	id := s.member(t, "jeanne").submit(t).GetId()
	release := s.hold(t, `UPDATE conversation SET claimed_by = 'agent:omar', claimed_name = 'omar', claim_expires = now() + interval '1 minute' WHERE id = $1`, id)
	claire, answer := s.clerk(t, "claire"), make(chan error, 1)
	go func() {
		_, err := s.agent.ClaimConversation(claire.call(t), &messagingpb.ClaimConversationRequest{Id: id})
		answer <- err
	}()
	s.blocked(t)
	release()
	if meta := refused(t, <-answer, codes.FailedPrecondition, "CLAIM_HELD", ""); meta["agent"] != "omar" {
		t.Errorf("the refusal names the holder as %v", meta)
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire := s.clerk(t, "claire")
	id := s.member(t, "jeanne").submit(t).GetId()
	release := func() (*messagingpb.Conversation, error) {
		resp, err := s.agent.ReleaseConversation(claire.call(t), &messagingpb.ReleaseConversationRequest{Id: id})
		return resp.GetConversation(), err
	}
	_, err := release()
	refused(t, err, codes.FailedPrecondition, "CLAIM_NOT_HELD", "")
	claire.claim(t, id)
	if got, err := release(); err != nil || got.GetClaim() != nil || got.GetStatus() != messagingpb.Status_SENT {
		t.Errorf("released: %v, %v", got, err)
	}
	claire.reply(t, id, false)
	claire.claim(t, id)
	if got, err := release(); err != nil || got.GetStatus() != messagingpb.Status_PARTLY_ANSWERED {
		t.Errorf("released after a first answer: %v, %v", got, err)
	}
}

func TestReply(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id := jeanne.submit(t).GetId()
	if _, err := s.messaging.HideConversation(jeanne.call(t), &messagingpb.HideConversationRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
	// Nobody holds a claim, so none is needed: the reply makes one.
	partly := claire.reply(t, id, false)
	if !partly.GetClaim().GetMine() || partly.GetStatus() != messagingpb.Status_PARTLY_ANSWERED || partly.GetHidden() || !partly.GetUnread() || len(partly.GetMessages()) != 2 {
		t.Errorf("in part: %v", partly)
	}
	claire.claim(t, id)
	if got := claire.reply(t, id, false); !got.GetClaim().GetMine() || got.GetStatus() != messagingpb.Status_PARTLY_ANSWERED {
		t.Errorf("a partial reply has dropped the claim: %v", got)
	}
	done := claire.reply(t, id, true)
	if done.GetStatus() != messagingpb.Status_ANSWERED || done.GetClaim() != nil || len(done.GetMessages()) != 4 {
		t.Errorf("in full: %v", done)
	}
	seen := jeanne.see(t, id)
	if diff := cmp.Diff(done, seen, protocmp.Transform(), withoutSteps, ofAgentsAlone, protocmp.IgnoreFields(&messagingpb.Writer{}, "agent_id")); diff != "" {
		t.Errorf("the member sees something else: %s", diff)
	}
	if seen.GetLastMessageId() != "" || seen.GetAnswered() || seen.GetMessages()[1].GetWriter().GetAgentId() != "" {
		t.Errorf("the member sees what is for agents: %v", seen)
	}
	if last := seen.GetMessages()[3]; last.GetText() != agentText || last.GetAuthor() != messagingpb.Author_AGENT || seen.GetMessages()[0].GetText() != memberText {
		t.Errorf("messages %v", seen.GetMessages())
	}
	if ids, _ := jeanne.page(t, &messagingpb.ListConversationsRequest{}); !slices.Equal(ids, []string{id}) {
		t.Error("the conversation has not come back to the list")
	}
	checkReplied(t, s, done)
}

// checkReplied checks the events of TestReply: versions count the changes, and
// the payload names the reply.
func checkReplied(t *testing.T, s *stage, done *messagingpb.Conversation) {
	t.Helper()
	replies := make(map[int32]*eventspb.ReplyPosted)
	for _, msg := range s.published(t) {
		if msg.Subject != "messagerie.reply-posted.v1.msa-75" {
			continue
		}
		posted := &eventspb.ReplyPosted{}
		if err := proto.Unmarshal(msg.Data, posted); err != nil {
			t.Fatal(err)
		}
		if msg.Header.Get("Nats-Msg-Id") != posted.GetOrigin().GetEventId() || msg.Header.Get("ce-subject") != done.GetId() {
			t.Errorf("headers %v of %v", msg.Header, posted)
		}
		posted.Origin.EventId = ""
		replies[posted.GetOrigin().GetVersion()] = posted
	}
	want := make(map[int32]*eventspb.ReplyPosted)
	for i, version := range []int32{3, 4, 5} { // 1 was the submission, 2 the claim that came with the first
		want[version] = &eventspb.ReplyPosted{
			Origin:    &eventspb.Origin{ConversationId: done.GetId(), Reference: done.GetReference(), Caisse: "msa-75", Queue: "famille", Version: version},
			MessageId: done.GetMessages()[i+1].GetId(), Final: version == 5, Sms: true, //nolint:staticcheck // for earlier notifiers
		}
	}
	if diff := cmp.Diff(want, replies, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestReply_Text(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire := s.clerk(t, "claire")
	id := s.member(t, "jeanne").submit(t).GetId()
	for _, test := range []struct{ name, text, reason string }{
		{"nothing", " \n", "BODY_TOO_SHORT"},
		{"one", "é", ""},
		{"5000", strings.Repeat("é", text.OfAgent.Max), ""},
		{"5001", strings.Repeat("é", text.OfAgent.Max+1), "BODY_TOO_LONG"},
		{"5000 outside the BMP", strings.Repeat("🙂", text.OfAgent.Max), ""},
		{"NUL", "a\x00b", ""},
		{"override", "a\u202eb", ""},
		{"controls alone", "\x00\u202e\n", "BODY_TOO_SHORT"},
		{"invisible", "\u200b", "BODY_BLANK"},
	} {
		_, err := s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: test.text})
		if test.reason != "" {
			t.Log(test.name)
			refused(t, err, codes.InvalidArgument, test.reason, "text")
		} else if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	_, err := s.agent.PostReply(claire.call(t), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: agentText})
	refused(t, err, codes.InvalidArgument, "IDEMPOTENCY_KEY_REQUIRED", "idempotency-key")
	if n := s.count(t, `SELECT count(*) FROM message WHERE author = 2`); n != 5 {
		t.Errorf("%d replies are stored", n)
	}
}

func TestReply_Idempotent(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id, other := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	key := uuid.NewString()
	reply := func(by caller, req *messagingpb.PostReplyRequest) (*messagingpb.Conversation, error) {
		resp, err := s.agent.PostReply(by.call(t, key), req)
		return resp.GetConversation(), err
	}
	req := &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: agentText, Final: true}
	const callers = 32
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { _, errs[i] = reply(claire, req) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	stored := s.rows(t)
	if want := "member 1 conversation 2 message 3 event_log 3"; stored != want {
		t.Errorf("stored %s, want %s", stored, want)
	}
	for name, req := range map[string]*messagingpb.PostReplyRequest{
		"text":         {Id: id, LastMessageId: s.last(t, id), Text: agentText + "!", Final: true},
		"finality":     {Id: id, LastMessageId: s.last(t, id), Text: agentText},
		"conversation": {Id: other, LastMessageId: s.last(t, other), Text: agentText, Final: true},
	} {
		_, err := reply(claire, req)
		t.Log(name)
		refused(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "")
	}
	// A retry does not mind what has happened since, nor does it undo it.
	if _, err := s.agent.CloseConversation(claire.call(t), &messagingpb.CloseConversationRequest{Id: id, LastMessageId: s.last(t, id)}); err != nil {
		t.Fatal(err)
	}
	if got, err := reply(claire, req); err != nil || got.GetStatus() != messagingpb.Status_CLOSED || len(got.GetMessages()) != 2 {
		t.Errorf("a retry after the end: %v, %v", got, err)
	}
	// A key is an agent's own.
	if got, err := reply(s.clerk(t, "omar"), &messagingpb.PostReplyRequest{Id: other, LastMessageId: s.last(t, other), Text: agentText}); err != nil || len(got.GetMessages()) != 2 {
		t.Errorf("another agent with the same key: %v, %v", got, err)
	}
	if got := jeanne.see(t, id); len(got.GetMessages()) != 2 {
		t.Errorf("%d messages", len(got.GetMessages()))
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id := jeanne.submit(t).GetId()
	claire.claim(t, id)
	var first *messagingpb.CloseConversationResponse
	for range 2 {
		resp, err := s.agent.CloseConversation(claire.call(t), &messagingpb.CloseConversationRequest{Id: id, LastMessageId: s.last(t, id), Text: closingText})
		if err != nil || resp.GetConversation().GetStatus() != messagingpb.Status_CLOSED || resp.GetConversation().GetClaim() != nil {
			t.Fatalf("%v, %v", resp, err)
		}
		if first == nil {
			first = resp
		}
		if diff := cmp.Diff(first, resp, protocmp.Transform()); diff != "" {
			t.Errorf("the second time changes %s", diff)
		}
	}
	for _, err := range []error{
		second(s.agent.ClaimConversation(claire.call(t), &messagingpb.ClaimConversationRequest{Id: id})),
		second(s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: agentText})),
	} {
		refused(t, err, codes.FailedPrecondition, "CONVERSATION_CLOSED", "")
	}
	_, err := s.agent.ReleaseConversation(claire.call(t), &messagingpb.ReleaseConversationRequest{Id: id})
	refused(t, err, codes.FailedPrecondition, "CLAIM_NOT_HELD", "")
	closed := 0
	for _, msg := range s.published(t) {
		got := &eventspb.ConversationClosed{}
		if msg.Subject != "messagerie.conversation-closed.v1.msa-75" {
			continue
		}
		if err := proto.Unmarshal(msg.Data, got); err != nil || got.GetOrigin().GetConversationId() != id || got.GetOrigin().GetVersion() != 4 { // 2 was the claim, 3 the closing sentence
			t.Errorf("%v, %v", got, err)
		}
		closed++
	}
	if closed != 1 {
		t.Errorf("%d ends were published", closed)
	}
}

// Whoever of the fund sees or does something is written down, a refusal is not.
func TestAudit(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	id := jeanne.submit(t).GetId()
	read := func(by caller) {
		t.Helper()
		got, err := s.agent.GetConversation(by.call(t), &messagingpb.AgentServiceGetConversationRequest{Id: id})
		if err != nil || got.GetConversation().GetMessages()[0].GetText() != memberText {
			t.Fatalf("%v, %v", got, err)
		}
	}
	jeanne.see(t, id)
	claire.queue(t, &messagingpb.AgentServiceListConversationsRequest{})
	read(claire)
	read(omar)
	read(omar)
	claire.claim(t, id)
	if _, err := s.agent.ClaimConversation(omar.call(t), &messagingpb.ClaimConversationRequest{Id: id}); status.Code(err) != codes.FailedPrecondition {
		t.Error(err)
	}
	if _, err := s.agent.ReleaseConversation(claire.call(t), &messagingpb.ReleaseConversationRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
	claire.reply(t, id, true) // one row, though its answer shows the conversation
	if _, err := s.agent.CloseConversation(omar.call(t), &messagingpb.CloseConversationRequest{Id: id, LastMessageId: s.last(t, id)}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"agent:claire read", "agent:omar read", "agent:omar read", "agent:claire claim", "agent:claire release",
		"agent:claire reply", "agent:omar close",
	}
	if diff := cmp.Diff(want, s.actions(t, id)); diff != "" {
		t.Error(diff)
	}
}
