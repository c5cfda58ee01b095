package messaging

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

func (c caller) transfer(t *testing.T, id, queue string) (*messagingpb.Conversation, error) {
	t.Helper()
	resp, err := c.agent.TransferConversation(c.call(t), &messagingpb.TransferConversationRequest{Id: id, LastMessageId: c.last(t, id), Queue: queue})
	return resp.GetConversation(), err
}

func (c caller) recategorise(t *testing.T, id, theme, topic, reason string) (*messagingpb.Conversation, error) {
	t.Helper()
	resp, err := c.agent.RecategoriseConversation(c.call(t), &messagingpb.RecategoriseConversationRequest{Id: id, Theme: theme, Topic: topic, Reason: reason})
	return resp.GetConversation(), err
}

func (c caller) reopen(t *testing.T, id string) (*messagingpb.Conversation, error) {
	t.Helper()
	resp, err := c.agent.ReopenConversation(c.call(t), &messagingpb.ReopenConversationRequest{Id: id})
	return resp.GetConversation(), err
}

func (c caller) end(t *testing.T, id string) {
	t.Helper()
	if _, err := c.agent.CloseConversation(c.call(t), &messagingpb.CloseConversationRequest{Id: id, LastMessageId: c.last(t, id), Text: closingText}); err != nil {
		t.Fatal(err)
	}
}

// payloads are those of one type that were published, in order.
func payloads[T proto.Message](t *testing.T, s *stage, kind string, empty func() T) (list []T) {
	t.Helper()
	for _, msg := range s.published(t) {
		if msg.Subject != eventspb.Subject(kind, "msa-75") {
			continue
		}
		payload := empty()
		if err := proto.Unmarshal(msg.Data, payload); err != nil {
			t.Fatal(err)
		}
		list = append(list, payload)
	}
	return list
}

func recategorisations(t *testing.T, s *stage) []*eventspb.ConversationRecategorised {
	t.Helper()
	list := payloads(t, s, eventspb.TypeConversationRecategorised, func() *eventspb.ConversationRecategorised { return &eventspb.ConversationRecategorised{} })
	for _, payload := range list {
		payload.Origin.EventId = ""
	}
	return list
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, nurse := s.member(t, "jeanne"), s.clerk(t, "claire", map[string]any{"queues": []string{"famille"}}), s.clerk(t, "nadia", map[string]any{"queues": []string{"sante"}})
	sent := jeanne.submit(t)
	id := sent.GetId()
	claire.claim(t, id)
	_, err := claire.transfer(t, id, "nowhere")
	refused(t, err, codes.InvalidArgument, "QUEUE_UNKNOWN", "queue")
	if got, err := claire.transfer(t, id, "famille"); err != nil || !got.GetClaim().GetMine() || got.GetStatus() != messagingpb.Status_IN_PROGRESS {
		t.Errorf("to where it is: %v, %v", got, err)
	}
	got, err := claire.transfer(t, id, "sante")
	if err != nil || got.GetQueue().GetCode() != "sante" || got.GetQueue().GetLabel() != "Service santé v1" || got.GetClaim() != nil || got.GetStatus() != messagingpb.Status_SENT {
		t.Errorf("transferred: %v, %v", got, err)
	}
	if diff := cmp.Diff(sent.GetTheme(), got.GetTheme(), protocmp.Transform()); diff != "" {
		t.Errorf("the selection has changed: %s", diff)
	}
	_, err = claire.transfer(t, id, "famille")
	refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	if ids, _ := nurse.queue(t, &messagingpb.AgentServiceListConversationsRequest{}); !slices.Equal(ids, []string{id}) {
		t.Errorf("the new queue has %v", ids)
	}
	if days := s.count(t, `SELECT answer_days FROM conversation WHERE id = $1`, id); days != 5 {
		t.Errorf("%d days, 5 were announced", days)
	}
	want := []*eventspb.ConversationRecategorised{{
		Origin: &eventspb.Origin{ConversationId: id, Reference: sent.GetReference(), Caisse: "msa-75", Queue: "sante", Version: 3},
		Theme:  "famille-logement", Topic: "allocations", Reason: "paiement-absent", TaxonomyVersion: 1,
	}}
	if diff := cmp.Diff(want, recategorisations(t, s), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"agent:claire claim", "agent:claire transfer"}, s.actions(t, id)); diff != "" {
		t.Error(diff)
	}
}

// A conversation that was answered in part is so wherever it goes.
func TestTransfer_KeepsWhereItStands(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	partly, answered := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	claire.reply(t, partly, false)
	claire.claim(t, partly)
	claire.reply(t, answered, true)
	for id, want := range map[string]messagingpb.Status{partly: messagingpb.Status_PARTLY_ANSWERED, answered: messagingpb.Status_ANSWERED} {
		if got, err := claire.transfer(t, id, "sante"); err != nil || got.GetStatus() != want {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
}

// The notifier gets the service in charge with its address, even when it is younger than the
// selection.
func TestTransfer_ToAYoungerQueue(t *testing.T) {
	t.Parallel()
	s := running(t)
	id := s.member(t, "jeanne").submit(t).GetId()
	without := messagingtest.TaxonomyOf(1)
	without.Queues = slices.DeleteFunc(without.Queues, func(q *taxonomypb.Queue) bool { return q.GetCode() == "sante" })
	payload, err := proto.Marshal(without)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(t.Context(), `UPDATE catalogue SET payload = $1`, payload); err != nil {
		t.Fatal(err)
	}
	s.taxonomy.Current.Store(2)
	s.stop()
	s.start(t)
	claire := s.clerk(t, "claire")
	messagingtest.Eventually(t, "version 2 is known", func() bool {
		got, err := claire.transfer(t, id, "sante")
		return err == nil && got.GetQueue().GetLabel() == "Service santé v2"
	})
	resp, err := s.recipients.BatchGetRecipients(s.machine(t).call(t), &messagingpb.BatchGetRecipientsRequest{ConversationIds: []string{id}})
	if err != nil || resp.GetRecipients()[0].GetQueue().GetPostalAddress() != "1 rue de la Santé" {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestRecategorise(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	sent := jeanne.submit(t)
	id := sent.GetId()
	for _, test := range []struct{ name, theme, topic, reason, want, field string }{
		{"unknown theme", "x", "", "", "THEME_UNKNOWN", "theme"},
		{"theme of another profile", "exploitation", "parcelles", "declaration", "THEME_NOT_FOR_AUDIENCE", "theme"},
		{"unknown topic", "sante", "x", "", "TOPIC_UNKNOWN", "topic"},
		{"no topic", "sante", "", "", "TOPIC_REQUIRED", "topic"},
		{"unknown reason", "sante", "soins", "x", "REASON_UNKNOWN", "reason"},
		{"no reason", "sante", "soins", "", "REASON_REQUIRED", "reason"},
	} {
		_, err := claire.recategorise(t, id, test.theme, test.topic, test.reason)
		t.Log(test.name)
		refused(t, err, codes.InvalidArgument, test.want, test.field)
	}
	if same, err := claire.recategorise(t, id, "famille-logement", "allocations", "paiement-absent"); err != nil || !same.GetUpdateTime().AsTime().Equal(sent.GetUpdateTime().AsTime()) {
		t.Errorf("what it was: %v, %v", same, err)
	}
	claire.claim(t, id)
	got, err := claire.recategorise(t, id, "sante", "soins", "remboursement")
	if err != nil {
		t.Fatal(err)
	}
	want := proto.CloneOf(got)
	want.Theme, want.Topic, want.Reason = conversation.Choice("sante", "Santé v1"), conversation.Choice("soins", "Soins v1"), conversation.Choice("remboursement", "Motif remboursement")
	want.Queue, want.Status = sent.GetQueue(), messagingpb.Status_IN_PROGRESS
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || !got.GetClaim().GetMine() {
		t.Errorf("%v: %s", got, diff)
	}
	wanted := []*eventspb.ConversationRecategorised{{
		Origin: &eventspb.Origin{ConversationId: id, Reference: sent.GetReference(), Caisse: "msa-75", Queue: "famille", Version: 3},
		Theme:  "sante", Topic: "soins", Reason: "remboursement", TaxonomyVersion: 1,
	}}
	if diff := cmp.Diff(wanted, recategorisations(t, s), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"agent:claire claim", "agent:claire recategorise"}, s.actions(t, id)); diff != "" {
		t.Error(diff)
	}
}

// A selection may be less deep than before, when the profile allows it now.
func TestRecategorise_ByTheCurrentVersion(t *testing.T) {
	t.Parallel()
	s := running(t)
	employer, claire := s.member(t, "emile"), s.clerk(t, "claire")
	id := employer.submit(t, func(r *messagingpb.SubmitMessageRequest) {
		r.Audience, r.Theme, r.Topic, r.Reason = taxonomypb.Audience_EMPLOYEUR, "dsn", "depot", ""
	}).GetId()
	_, err := claire.recategorise(t, id, "dsn", "", "")
	refused(t, err, codes.InvalidArgument, "TOPIC_REQUIRED", "topic")
	s.taxonomy.Current.Store(2)
	s.member(t, "jeanne").submit(t, func(r *messagingpb.SubmitMessageRequest) { r.TaxonomyVersion = 2 }) // makes it known
	got, err := claire.recategorise(t, id, "dsn", "", "")
	if err != nil || got.GetTaxonomyVersion() != 2 || got.GetTheme().GetLabel() != "DSN v2" || got.GetTopic() != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// Whoever tries a submission again gets the first answer, whatever an agent has
// corrected since.
func TestSubmit_ReplayAfterCorrections(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	key := uuid.NewString()
	submit := func() *messagingpb.SubmitMessageResponse {
		t.Helper()
		resp, err := s.messaging.SubmitMessage(jeanne.call(t, key), question())
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	first := submit()
	id := first.GetConversation().GetId()
	for _, correct := range []func() error{
		func() error { return second(claire.transfer(t, id, "sante")) },
		func() error { return second(claire.recategorise(t, id, "sante", "soins", "remboursement")) },
		func() error { return second(claire.recategorise(t, id, "famille-logement", "logement", "aide")) },
	} {
		if err := correct(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, submit(), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	corrected := question()
	corrected.Topic, corrected.Reason = "logement", "aide"
	_, err := s.messaging.SubmitMessage(jeanne.call(t, key), corrected)
	refused(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "")
}

func TestReopen(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	closed, answered, sent, inHand := jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	claire.end(t, closed)
	claire.reply(t, answered, true)
	claire.claim(t, inHand)
	for id, want := range map[string]messagingpb.Status{
		closed: messagingpb.Status_REOPENED, answered: messagingpb.Status_REOPENED, sent: messagingpb.Status_SENT, inHand: messagingpb.Status_IN_PROGRESS,
	} {
		for range 2 { // the second time there is nothing to do
			if got, err := claire.reopen(t, id); err != nil || got.GetStatus() != want {
				t.Errorf("%v, %v, want %v", got, err, want)
			}
		}
	}
	if ids, _ := claire.queue(t, &messagingpb.AgentServiceListConversationsRequest{}); !slices.Equal(ids, []string{sent, inHand, closed, answered}) && !slices.Equal(ids, []string{sent, inHand, answered, closed}) {
		t.Errorf("waiting: %v", ids)
	}
	var ids []string
	for _, event := range payloads(t, s, eventspb.TypeConversationReopened, func() *eventspb.ConversationReopened { return &eventspb.ConversationReopened{} }) {
		want := int32(3)
		if event.GetOrigin().GetConversationId() == closed {
			want = 4 // 2 was the sentence, 3 the end
		}
		if event.GetOrigin().GetVersion() != want {
			t.Errorf("%v", event)
		}
		ids = append(ids, event.GetOrigin().GetConversationId())
	}
	slices.Sort(ids) // UUIDv7: in the order in which they were opened
	if !slices.Equal(ids, []string{closed, answered}) {
		t.Errorf("published: %v", ids)
	}
	if diff := cmp.Diff([]string{"agent:claire reply", "agent:claire close", "agent:claire reopen"}, s.actions(t, closed)); diff != "" {
		t.Error(diff)
	}
	if got := claire.reply(t, closed, true); got.GetStatus() != messagingpb.Status_ANSWERED {
		t.Errorf("answered after all: %v", got)
	}
}

func TestCorrections_Refused(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	id, closed, ended := jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	claire.claim(t, id)
	claire.end(t, closed)
	claire.reply(t, ended, true)
	claire.claim(t, ended)
	before := s.count(t, `SELECT count(*) FROM audit`)
	calls := func(by caller, id string) map[string]error {
		return map[string]error{
			"transfer":     second(by.transfer(t, id, "sante")),
			"recategorise": second(by.recategorise(t, id, "sante", "soins", "remboursement")),
			"reopen":       second(by.reopen(t, id)),
		}
	}
	for name, claims := range map[string]map[string]any{
		"another caisse": {"caisse": "msa-44"}, "another queue": {"queues": []string{"sante"}}, "no queue": {"queues": nil}, "no caisse": {"caisse": ""},
	} {
		for call, err := range calls(s.clerk(t, "eve", claims), id) {
			t.Log(name, call)
			refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
		}
	}
	for _, held := range []string{id, ended} {
		for call, err := range calls(omar, held) {
			t.Log("held", call)
			if meta := refused(t, err, codes.FailedPrecondition, "CLAIM_HELD", ""); meta["agent"] != "claire Canari (agent)" {
				t.Errorf("%s: the refusal names the holder as %v", call, meta)
			}
		}
	}
	_, err := claire.transfer(t, closed, "sante")
	refused(t, err, codes.FailedPrecondition, "CONVERSATION_CLOSED", "")
	_, err = claire.recategorise(t, closed, "sante", "soins", "remboursement")
	refused(t, err, codes.FailedPrecondition, "CONVERSATION_CLOSED", "")
	for call, err := range calls(jeanne, id) {
		t.Log("a member", call)
		refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
	}
	if after := s.count(t, `SELECT count(*) FROM audit`); after != before {
		t.Errorf("%d refusals were audited", after-before)
	}
	if n := s.count(t, `SELECT count(*) FROM event_log WHERE type IN ($1, $2)`, eventspb.TypeConversationRecategorised, eventspb.TypeConversationReopened); n != 0 {
		t.Errorf("%d events", n)
	}
}
