package messaging

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
)

// unclean are claims with what no database takes.
func unclean() map[string]any {
	return map[string]any{
		"name": "Claire\x00\u202e Canari (agent)", "email": "jeanne@canari.example\x00", "phone_number": "\x00" + memberPhone, "locale": "en\x00",
		"profiles": []string{"PARTICULIER", "EMPLOY\x00EUR"}, "caisse": " MSA-75\n",
	}
}

// What a token carries beside who its person is locks nobody out.
func TestClaims_LockNobodyOut(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne\x00", unclean())
	claire := s.clerk(t, "claire\x00", unclean(), map[string]any{"queues": []string{"famille\x00", "sante", "famille"}})
	id := jeanne.submit(t).GetId()
	if ids, _ := jeanne.page(t, &messagingpb.ListConversationsRequest{}); !slices.Equal(ids, []string{id}) {
		t.Errorf("the member lists %v", ids)
	}
	jeanne.draft(t, uuid.NewString(), "Bonjour")
	jeanne.preferences(t)
	if ids, _ := claire.queue(t, &messagingpb.AgentServiceListConversationsRequest{}); !slices.Equal(ids, []string{id}) {
		t.Errorf("the agent lists %v", ids)
	}
	if got := claire.claim(t, id).GetClaim().GetAgent(); got != "Claire Canari (agent)" {
		t.Errorf("claimed by %q", got)
	}
	if _, err := claire.note(t, id, "Une note."); err != nil {
		t.Error(err)
	}
	if got := claire.reply(t, id, true); len(got.GetMessages()) != 2 {
		t.Errorf("got %v", got)
	}
	if s.count(t, `SELECT count(*) FROM conversation WHERE member_id LIKE 'member:sha256:%'`) != 1 {
		t.Error("the member is not stored by a digest")
	}
}

// A draft is kept as it is: it is text that somebody is still at work on.
func TestDraft_KeepsWhatItMayNotSend(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, id := s.member(t, "jeanne"), uuid.NewString()
	const text = "a\x00b\u202e\x1b"
	if got := jeanne.draft(t, id, text).GetText(); got != text {
		t.Errorf("answered %q", got)
	}
	got, err := s.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: id})
	if err != nil || got.GetDraft().GetText() != text {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = s.messaging.SaveDraft(jeanne.call(t), &messagingpb.SaveDraftRequest{Id: id, Theme: "a\x00b"})
	refused(t, err, codes.InvalidArgument, "CONTROL_CHARACTERS", "theme")
}

// A page that is too long is cut, one that is negative refused.
func TestPageSize(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	jeanne.submit(t)
	for range page.Longest {
		jeanne.submit(t)
	}
	if ids, next := jeanne.page(t, &messagingpb.ListConversationsRequest{PageSize: math.MaxInt32}); len(ids) != page.Longest || next == "" {
		t.Errorf("%d conversations, next %q", len(ids), next)
	}
	if ids, next := claire.queue(t, &messagingpb.AgentServiceListConversationsRequest{PageSize: page.Longest + 1}); len(ids) != page.Longest || next == "" {
		t.Errorf("%d in the queue, next %q", len(ids), next)
	}
	events := &messagingpb.ListEventsRequest{
		Types: []string{eventspb.TypeMessageSubmitted}, From: timestamppb.New(time.Now().Add(-time.Hour)), Before: timestamppb.New(time.Now().Add(time.Hour)), PageSize: math.MaxInt32,
	}
	if resp, err := s.events.ListEvents(s.machine(t).call(t), events); err != nil || len(resp.GetEvents()) != page.Longest+1 {
		t.Errorf("%d events, %v", len(resp.GetEvents()), err)
	}
	events.PageSize = -1
	_, err := s.events.ListEvents(s.machine(t).call(t), events)
	refused(t, err, codes.InvalidArgument, "OUT_OF_RANGE", "pageSize")
	_, err = s.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{PageSize: -1})
	refused(t, err, codes.InvalidArgument, "OUT_OF_RANGE", "pageSize")
	_, err = s.agent.ListConversations(claire.call(t), &messagingpb.AgentServiceListConversationsRequest{PageSize: -1})
	refused(t, err, codes.InvalidArgument, "OUT_OF_RANGE", "pageSize")
}
