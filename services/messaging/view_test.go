package messaging

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// listed is a list as an agent gets it.
type listed = messagingpb.AgentServiceListConversationsRequest

// What is reopened waits from then on, behind what has waited all the time; what waits anyway
// keeps its place.
func TestView_WaitsAgain(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	answered, closed, followed, last := jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	claire.reply(t, answered, true)
	claire.end(t, closed)
	followUp := func(id string) {
		t.Helper()
		if _, err := jeanne.followUp(t, id, uuid.NewString(), memberText); err != nil {
			t.Fatal(err)
		}
	}
	followUp(answered)
	followUp(followed) // it waits anyway
	if _, err := claire.reopen(t, closed); err != nil {
		t.Fatal(err)
	}
	want := []string{followed, last, answered, closed}
	if ids, _ := claire.queue(t, &listed{}); !slices.Equal(ids, want) {
		t.Errorf("waiting: %v, want %v", ids, want)
	}
	first, next := claire.queue(t, &listed{PageSize: 3})
	rest, _ := claire.queue(t, &listed{PageSize: 3, PageToken: next})
	if !slices.Equal(slices.Concat(first, rest), want) {
		t.Errorf("by pages: %v, %v", first, rest)
	}
	slices.Reverse(want)
	if ids, _ := claire.queue(t, &listed{OrderBy: "newest"}); !slices.Equal(ids, want) {
		t.Errorf("newest: %v, want %v", ids, want)
	}
	followUp(answered) // a second time, for nobody has seen it
	resp, err := claire.agent.GetConversation(claire.call(t), &messagingpb.AgentServiceGetConversationRequest{Id: answered})
	if err != nil {
		t.Fatal(err)
	}
	conversation := resp.GetConversation()
	said := conversation.GetMessages()
	if at := conversation.GetWaitTime().AsTime(); at.Before(said[2].GetCreateTime().AsTime()) || at.After(said[3].GetCreateTime().AsTime()) {
		t.Errorf("waits since %v, messages %v", at, said)
	}
	claire.reply(t, answered, true)
	resp, err = claire.agent.GetConversation(claire.call(t), &messagingpb.AgentServiceGetConversationRequest{Id: answered})
	if err != nil || resp.GetConversation().GetWaitTime() != nil {
		t.Errorf("answered: waits since %v, %v", resp.GetConversation().GetWaitTime(), err)
	}
	own, err := jeanne.messaging.GetConversation(jeanne.call(t), &messagingpb.GetConversationRequest{Id: followed})
	if err != nil || own.GetConversation().GetWaitTime() != nil {
		t.Errorf("the member sees %v, %v", own.GetConversation().GetWaitTime(), err)
	}
}

func TestView_Filters(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, sofiane := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "sofiane")
	family, care, done := jeanne.submit(t).GetId(), jeanne.submit(t, health).GetId(), jeanne.submit(t).GetId()
	claire.claim(t, care)
	sofiane.reply(t, done, true)
	for name, row := range map[string]struct {
		who  caller
		req  *listed
		want []string
	}{
		"mine":                 {claire, &listed{Mine: true}, []string{care}},
		"a colleague's":        {sofiane, &listed{Mine: true}, nil},
		"unassigned":           {claire, &listed{Unassigned: true}, []string{family}},
		"the profile":          {claire, &listed{Audience: taxonomypb.Audience_PARTICULIER}, []string{family, care}},
		"another profile":      {claire, &listed{Audience: taxonomypb.Audience_EXPLOITANT}, nil},
		"no such reason":       {claire, &listed{Reason: "none"}, nil},
		"all, last changed":    {claire, &listed{OrderBy: "changed"}, []string{done, care, family}},
		"changed since":        {claire, &listed{ChangedSince: timestamppb.New(time.Now().Add(-time.Hour))}, []string{family, care, done}},
		"of these, a status":   {claire, &listed{ChangedSince: timestamppb.New(time.Unix(0, 0)), Status: []messagingpb.Status{messagingpb.Status_ANSWERED}}, []string{done}},
		"changed in an hour":   {claire, &listed{ChangedSince: timestamppb.New(time.Now().Add(time.Hour))}, nil},
		"a theme and a status": {claire, &listed{Theme: "sante", Status: []messagingpb.Status{messagingpb.Status_IN_PROGRESS}}, []string{care}},
	} {
		if ids, _ := row.who.queue(t, row.req); !slices.Equal(ids, row.want) {
			t.Errorf("%s: %v, want %v", name, ids, row.want)
		}
	}
	var of []string
	for token := ""; ; {
		ids, next := claire.queue(t, &listed{OrderBy: "changed", PageSize: 1, PageToken: token})
		of = append(of, ids...)
		if token = next; token == "" {
			break
		}
	}
	if !slices.Equal(of, []string{done, care, family}) {
		t.Errorf("the last changed by pages: %v", of)
	}
	_, err := claire.agent.ListConversations(claire.call(t), &listed{Mine: true, Unassigned: true})
	refused(t, err, codes.InvalidArgument, "FILTERS_CONTRADICTORY", "unassigned")
	_, err = claire.agent.ListConversations(claire.call(t), &listed{Mine: true, Unassigned: true, PageSize: -1})
	refused(t, err, codes.InvalidArgument, "OUT_OF_RANGE", "pageSize")
	for _, detail := range status.Convert(err).Details() {
		if bad, is := detail.(*errdetails.BadRequest); is && len(bad.GetFieldViolations()) != 2 {
			t.Errorf("not both faults: %v", bad)
		}
	}
	_, err = claire.agent.ListConversations(claire.call(t), &listed{OrderBy: "longest"})
	refused(t, err, codes.InvalidArgument, "VALUE_UNKNOWN", "orderBy")
}
