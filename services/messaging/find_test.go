package messaging

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// mayFind are the claims of an agent who may look for members' conversations.
var mayFind = map[string]any{"roles": []string{auth.RoleAgent, "member.read"}}

// find returns the ids of all conversations that are found, page by page.
func (c caller) find(t *testing.T, req *messagingpb.FindConversationsRequest) (ids []string) {
	t.Helper()
	for pages := 0; ; pages++ {
		resp, err := c.agent.FindConversations(c.call(t), req)
		if err != nil || pages > 100 {
			t.Fatal(pages, err)
		}
		for _, found := range resp.GetConversations() {
			if ids = append(ids, found.GetId()); found.GetMember() != nil || len(found.GetMessages()) > 0 {
				t.Errorf("a list has more than it is to: %v", found)
			}
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return ids
		}
	}
}

type findRequest = messagingpb.FindConversationsRequest

func TestFind_ByReference(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire := s.clerk(t, "claire", mayFind)
	sent := s.member(t, "jeanne").submit(t)
	for _, typed := range []string{sent.GetReference(), strings.ToLower(sent.GetReference()), " " + strings.TrimPrefix(sent.GetReference(), "MSA-")} {
		if got := claire.find(t, &findRequest{Reference: typed}); !slices.Equal(got, []string{sent.GetId()}) {
			t.Errorf("%q: %v", typed, got)
		}
	}
	if got := claire.find(t, &findRequest{Reference: "MSA-7K3D92QD"}); len(got) != 0 {
		t.Errorf("a reference of nobody's: %v", got)
	}
	// What was erased is found as it is seen.
	s.member(t, "jeanne").erase(t)
	if got := claire.find(t, &findRequest{Reference: sent.GetReference()}); len(got) != 1 {
		t.Errorf("erased: %v", got)
	}
}

// What cannot be looked for is refused before anything is, with all that is wrong at once.
func TestFind_Refusals(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire := s.clerk(t, "claire", mayFind)
	sent := s.member(t, "jeanne").submit(t)
	wrong := sent.GetReference()[:11] + "2"
	if wrong == sent.GetReference() {
		wrong = sent.GetReference()[:11] + "3"
	}
	for name, test := range map[string]struct {
		req           *findRequest
		reason, field string
	}{
		"nothing":                    {&findRequest{}, "SEARCH_INVALID", "reference"},
		"a wrong character":          {&findRequest{Reference: wrong}, "REFERENCE_INVALID", "reference"},
		"spaces alone":               {&findRequest{Reference: "  "}, "REFERENCE_INVALID", "reference"},
		"a number without any":       {&findRequest{MemberNumber: " - "}, "SEARCH_INVALID", "memberNumber"},
		"reference and number":       {&findRequest{Reference: sent.GetReference(), MemberNumber: memberNumber}, "SEARCH_INVALID", "memberNumber"},
		"reference and conversation": {&findRequest{Reference: sent.GetReference(), ConversationId: sent.GetId()}, "SEARCH_INVALID", "conversationId"},
		"all three":                  {&findRequest{Reference: sent.GetReference(), MemberNumber: memberNumber, ConversationId: sent.GetId()}, "SEARCH_INVALID", "conversationId"},
		"no UUID":                    {&findRequest{ConversationId: "x"}, "UUID_INVALID", "conversationId"},
		"too long":                   {&findRequest{MemberNumber: strings.Repeat("1", 65)}, "TOO_LONG", "memberNumber"},
		"another list's token":       {&findRequest{Reference: sent.GetReference(), PageToken: "AAAAAAAAAAAA"}, "PAGE_TOKEN_INVALID", "pageToken"},
	} {
		t.Log(name)
		refused(t, second(s.agent.FindConversations(claire.call(t), test.req)), codes.InvalidArgument, test.reason, test.field)
	}
	err := second(s.agent.FindConversations(claire.call(t), &findRequest{Reference: wrong, MemberNumber: "-", ConversationId: "x"}))
	got := faultsOf(err)
	if slices.Sort(got); !slices.Equal(got, []string{"conversationId UUID_INVALID", "memberNumber SEARCH_INVALID", "reference REFERENCE_INVALID"}) {
		t.Errorf("faults %v", got)
	}
	if n := s.count(t, `SELECT count(*) FROM audit`); n != 0 {
		t.Errorf("%d entries of the audit", n)
	}
}

// A member's conversations are found by their number, however it is typed, in all their
// accounts, the last changed first and each once, and among those that the agent may see.
func TestFind_ByNumber(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire := s.clerk(t, "claire", mayFind)
	jeanne, again := s.member(t, "jeanne"), s.member(t, "jeanne-2", map[string]any{"member_number": "c4 n4r1 517"})
	s.member(t, "paul", map[string]any{"member_number": "C4-N4R1-518"}).submit(t)
	s.member(t, "nobody", map[string]any{"member_number": nil}).submit(t)
	var want []string
	for i := range 7 {
		who := []caller{jeanne, again}[i%2]
		id := who.submit(t).GetId()
		want = append([]string{id}, want...)
		if i%3 == 0 {
			if _, err := s.messaging.HideConversation(who.call(t), &messagingpb.HideConversationRequest{Id: id}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, size := range []int32{0, 1, 2, 3, 7, 100} {
		if diff := cmp.Diff(want, claire.find(t, &findRequest{MemberNumber: " c4.n4r1.517", PageSize: size})); diff != "" {
			t.Errorf("pages of %d: %s", size, diff)
		}
	}
	// One that changes moves to the front.
	if _, err := jeanne.followUp(t, want[6], uuid.NewString(), memberText); err != nil {
		t.Fatal(err)
	}
	if got := claire.find(t, &findRequest{MemberNumber: memberNumber}); got[0] != want[6] || len(got) != 7 {
		t.Errorf("after a follow-up: %v", got)
	}
	employer := again.submit(t, func(req *messagingpb.SubmitMessageRequest) {
		req.Audience, req.Theme, req.Topic, req.Reason = taxonomypb.Audience_EMPLOYEUR, "dsn", "depot", ""
	}).GetId()
	for name, row := range map[string]struct {
		claims map[string]any
		want   int
	}{
		"one queue":          {map[string]any{"queues": []string{"famille"}}, 7},
		"another queue":      {map[string]any{"queues": []string{"entreprises"}}, 1},
		"two queues":         {map[string]any{"queues": []string{"entreprises", "famille", "famille"}}, 8},
		"no queue":           {map[string]any{"queues": nil}, 0},
		"another caisse":     {map[string]any{"caisse": "msa-35"}, 0},
		"no caisse":          {map[string]any{"caisse": nil}, 0},
		"none that can be":   {map[string]any{"caisse": "%"}, 0},
		"a supervisor":       {map[string]any{"roles": []string{auth.RoleSupervisor}}, 8},
		"a scope, no role":   {map[string]any{"roles": []string{auth.RoleAgent}, "scope": "member.read"}, 8},
		"supervisor, abroad": {map[string]any{"roles": []string{auth.RoleSupervisor}, "caisse": "msa-35"}, 0},
	} {
		got := s.clerk(t, "a", mayFind, row.claims).find(t, &findRequest{MemberNumber: memberNumber})
		if len(got) != row.want || name == "another queue" && got[0] != employer {
			t.Errorf("%s: %v, want %d", name, got, row.want)
		}
	}
	refused(t, second(s.agent.FindConversations(s.clerk(t, "a").call(t), &findRequest{MemberNumber: memberNumber})), codes.PermissionDenied, "SCOPE_MISSING", "")
	again.erase(t)
	if got := claire.find(t, &findRequest{MemberNumber: memberNumber}); len(got) != 4 {
		t.Errorf("after one account is erased: %v", got)
	}
}

// A number that was corrected, or is not claimed any more, is found no more, once the member has
// written; what an earlier version has stored is, from then on.
func TestFind_NumberChanges(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire := s.clerk(t, "claire", mayFind)
	with := func(number any) caller { return s.member(t, "jeanne", map[string]any{"member_number": number}) }
	finds := func(number string, want int) {
		t.Helper()
		if got := claire.find(t, &findRequest{MemberNumber: number}); len(got) != want {
			t.Errorf("%s: %v, want %d", number, got, want)
		}
	}
	with("1").submit(t)
	finds("1", 1)
	if _, err := s.pool.Exec(t.Context(), `UPDATE member SET number_hash = NULL, updated_at = now() - interval '2 days'`); err != nil {
		t.Fatal(err)
	}
	finds("1", 0)
	with("1").submit(t)
	finds("1", 2)
	with(2).submit(t)
	finds("1", 0)
	finds("2", 3)
	with(nil).submit(t)
	finds("2", 0)
}

// Of the same member are all others than the one, if the agent may see that one.
func TestFind_OfMember(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire, jeanne, paul := s.clerk(t, "claire", mayFind), s.member(t, "jeanne"), s.member(t, "paul")
	paul.submit(t)
	first, second := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	dsn := jeanne.submit(t, func(req *messagingpb.SubmitMessageRequest) {
		req.Audience, req.Theme, req.Topic, req.Reason = taxonomypb.Audience_EMPLOYEUR, "dsn", "depot", ""
	}).GetId()
	for id, want := range map[string][]string{first: {dsn, second}, second: {dsn, first}, dsn: {second, first}, uuid.NewString(): nil} {
		if got := claire.find(t, &findRequest{ConversationId: id, PageSize: 1}); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	firms := s.clerk(t, "firms", mayFind, map[string]any{"queues": []string{"entreprises"}})
	if got := firms.find(t, &findRequest{ConversationId: first}); len(got) != 0 {
		t.Errorf("of one that the agent does not see: %v", got)
	}
	if got := firms.find(t, &findRequest{ConversationId: dsn}); len(got) != 0 {
		t.Errorf("others that the agent does not see: %v", got)
	}
	jeanne.erase(t)
	jeanne.submit(t)
	if got := claire.find(t, &findRequest{ConversationId: first}); len(got) != 0 {
		t.Errorf("of one that is erased: %v", got)
	}
}

// Each search is one entry of the audit, which does not have what was looked for.
func TestFind_IsAudited(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire, jeanne := s.clerk(t, "claire", mayFind, map[string]any{"client_id": "console", "queues": []string{"famille"}}), s.member(t, "jeanne")
	sent, other := jeanne.submit(t), jeanne.submit(t)
	abroad := s.member(t, "anne", map[string]any{"caisse": "msa-35"}).submit(t)
	type entry struct {
		Action, AgentID, AgentName, Client, Caisse, Service, Target string
		ConversationID                                              uuid.UUID
	}
	by := func(action, id, service string) entry {
		return entry{action, "agent:claire", "claire Canari (agent)", "console", "msa-75", service, "", uuid.MustParse(id)}
	}
	nobody := uuid.Nil.String()
	for _, test := range []struct {
		req  *findRequest
		want entry
	}{
		{&findRequest{Reference: sent.GetReference()}, by("find-reference", sent.GetId(), "Service famille v1")},
		{&findRequest{Reference: "MSA-7K3D92QD"}, by("find-reference", nobody, "")},
		{&findRequest{Reference: abroad.GetReference()}, by("find-reference", nobody, "")},
		{&findRequest{MemberNumber: memberNumber}, by("find-number", nobody, "")},
		{&findRequest{MemberNumber: "of nobody"}, by("find-number", nobody, "")},
		{&findRequest{ConversationId: other.GetId()}, by("find-member", other.GetId(), "Service famille v1")},
		{&findRequest{ConversationId: abroad.GetId()}, by("find-member", nobody, "")},
	} {
		if _, err := s.pool.Exec(t.Context(), `TRUNCATE audit`); err != nil {
			t.Fatal(err)
		}
		claire.find(t, test.req)
		got, err := postgres.Many[entry](t.Context(), s.pool, "reading the audit",
			`SELECT action, agent_id, agent_name, client, caisse, service, target, conversation_id FROM audit`)
		if diff := cmp.Diff([]entry{test.want}, got); diff != "" || err != nil {
			t.Errorf("%v: %v %s", test.req, err, diff)
		}
	}
}

// A page token has nothing of the number, and is for whom it was given to.
func TestFind_PageToken(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire, jeanne := s.clerk(t, "claire", mayFind), s.member(t, "jeanne")
	jeanne.submit(t)
	jeanne.submit(t)
	resp, err := s.agent.FindConversations(claire.call(t), &findRequest{MemberNumber: memberNumber, PageSize: 1})
	if err != nil || resp.GetNextPageToken() == "" || strings.Contains(resp.GetNextPageToken(), normalNumber) {
		t.Fatal(resp, err)
	}
	for _, test := range []struct {
		who caller
		req *findRequest
	}{
		{claire, &findRequest{MemberNumber: "another", PageToken: resp.GetNextPageToken()}},
		{s.clerk(t, "marie", mayFind), &findRequest{MemberNumber: memberNumber, PageToken: resp.GetNextPageToken()}},
	} {
		refused(t, second(s.agent.FindConversations(test.who.call(t), test.req)), codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
	}
}

// A key set that was rotated, to the end, finds who was stored before.
func TestFind_AfterARotation(t *testing.T) {
	t.Parallel()
	s, file := rotating(t)
	s.start(t)
	id := s.member(t, "jeanne").submit(t).GetId()
	olga := s.clerk(t, "olga", map[string]any{"roles": []string{auth.RoleOperator}})
	operators := s.operators(t)
	_, before := wrappers(t, operators, olga.call(t))
	old := before.GetFit().GetPrimaryKeyId()
	next := file.add(t)
	reaches := func(what string, reached func(fit *messagingpb.KeyFit, keys map[uint32]*messagingpb.WrappingKey) bool) {
		t.Helper()
		messagingtest.Eventually(t, what, func() bool {
			keys, resp := wrappers(t, operators, olga.call(t))
			return reached(resp.GetFit(), keys)
		})
	}
	reaches("the new key is known", func(_ *messagingpb.KeyFit, keys map[uint32]*messagingpb.WrappingKey) bool {
		return keys[next].GetProcesses() == 1
	})
	file.promote(t, next)
	reaches("the new key wraps", func(fit *messagingpb.KeyFit, _ map[uint32]*messagingpb.WrappingKey) bool {
		return fit.GetPrimaryKeyId() == next
	})
	if n := rewrap(t, operators, olga.call(t)); n != 2 { // jeanne's, and that of numbers
		t.Errorf("%d keys were wrapped anew", n)
	}
	file.remove(t, old)
	s.stop()
	s.start(t)
	if got := s.clerk(t, "claire", mayFind).at(s.process).find(t, &findRequest{MemberNumber: memberNumber}); !slices.Equal(got, []string{id}) {
		t.Errorf("found %v", got)
	}
}

// Who writes is told by their account as it last was, and by what they have chosen.
func TestMember_OfAConversation(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire, none := s.clerk(t, "claire"), map[string]any{"email": nil, "phone_number": nil, "name": nil, "member_number": nil}
	const absent, account, chosen = messagingpb.Member_ABSENT, messagingpb.Member_ACCOUNT, messagingpb.Member_CHOSEN
	is := func(id string, name, number string, email, phone messagingpb.Member_Contact) {
		t.Helper()
		got := claire.read(t, id).GetMember()
		if got == nil || got.GetName() != name || got.GetNumber() != number || got.GetProfile() != taxonomypb.Audience_PARTICULIER || got.GetEmail() != email || got.GetPhone() != phone {
			t.Errorf("got %v", got)
		}
	}
	jeanne := s.member(t, "jeanne")
	id := jeanne.submit(t).GetId()
	is(id, memberName, memberNumber, account, account)
	jeanne.prefer(t, &messagingpb.Preferences{Email: "autre@canari.example", Locale: "fr"})
	is(id, memberName, memberNumber, chosen, account)
	s.member(t, "jeanne", map[string]any{"name": "Jeanne Canari-Martin", "phone_number": nil, "member_number": 517}).submit(t)
	is(id, "Jeanne Canari-Martin", "517", chosen, absent)
	is(s.member(t, "anonymous", none).submit(t).GetId(), "", "", absent, absent)

	noted, err := claire.note(t, id, agentText)
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string]*messagingpb.Conversation{"a reply": claire.reply(t, id, false), "a note": noted} {
		if got.GetMember().GetName() != "Jeanne Canari-Martin" {
			t.Errorf("%s: %v", what, got.GetMember())
		}
	}
	jeanne.erase(t)
	if got := claire.read(t, id); got.GetMember() != nil || !got.GetErased() {
		t.Errorf("erased: %v", got)
	}
	// Nobody knows them any more, and what they have written is read all the same.
	paul := s.member(t, "paul").submit(t).GetId()
	if _, err := s.pool.Exec(t.Context(), `DELETE FROM member WHERE id LIKE '%paul'`); err != nil {
		t.Fatal(err)
	}
	if got := claire.read(t, paul); got.GetMember() != nil || got.GetMessages()[0].GetText() != memberText {
		t.Errorf("nothing is stored of them: %v", got)
	}
	marc := s.member(t, "marc").submit(t).GetId()
	if _, err := s.pool.Exec(t.Context(), `UPDATE member SET key_id = gen_random_uuid() WHERE id LIKE '%marc'`); err != nil {
		t.Fatal(err)
	}
	if got := claire.read(t, marc); got.GetMember() != nil || got.GetMessages()[0].GetText() != memberText {
		t.Errorf("their key is lost: %v", got)
	}
}

// A submission of a member whose account has not changed stores nothing of them, and asks the
// vault for nothing.
func TestSaveAccount_ComparesAll(t *testing.T) {
	t.Parallel()
	s := running(t)
	writes := func() (n int) {
		return s.count(t, `SELECT count(*) FROM member WHERE updated_at > now() - interval '1 hour'`)
	}
	changes := []map[string]any{{}, {"name": "Autre Canari"}, {"member_number": "C4-N4R1-518"}, {"email": "autre@canari.example"}}
	for i, change := range changes {
		who := s.member(t, "jeanne", change)
		for j, want := range []int{1, 0} {
			if _, err := s.pool.Exec(t.Context(), `UPDATE member SET updated_at = now() - interval '2 hours'`); err != nil {
				t.Fatal(err)
			}
			who.submit(t)
			if got := writes(); got != want {
				t.Errorf("%s, submission %d: %d rows are written, want %d", fmt.Sprint(changes[i]), j+1, got, want)
			}
		}
	}
}
