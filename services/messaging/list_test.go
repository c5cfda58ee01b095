package messaging

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
)

// lists is the answer to a request.
func (c caller) lists(t *testing.T, req *messagingpb.ListConversationsRequest) *messagingpb.ListConversationsResponse {
	t.Helper()
	resp, err := c.messaging.ListConversations(c.call(t), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func idsOf(resp *messagingpb.ListConversationsResponse) (ids []string) {
	for _, c := range resp.GetConversations() {
		ids = append(ids, c.GetId())
	}
	return ids
}

func TestWordsOf(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string][]string{
		"":                         nil,
		" ?!\x00%_\u2028 ":         nil,
		"Congé maladie":            {"conge", "maladie"},
		"CONGE\u0301-maladie":      {"conge", "maladie"},
		"l'arrêt d’accident":       {"arret", "accident"},
		"Jusqu'à":                  {"a"},
		"qu'l":                     {"l"},
		"l'":                       {"l"},
		"'l' ''":                   {"l"},
		"aujourd'hui":              {"aujourd", "hui"},
		"Œuvre et cætera":          {"oeuvre", "et", "caetera"},
		"\u202emsa-7k3\u200bd92qx": {"msa", "7k3d92qx"},
		"ﬁlle №2":                  {"fille", "no2"},
		"عربي":                     {"عربي"},
	} {
		if got := wordsOf(typed); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

// A search finds by the reference and by words of labels, and never in texts or of others.
func TestList_Search(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	paul := s.member(t, "paul").submit(t)
	family := jeanne.submit(t)
	dsn := jeanne.submit(t, func(r *messagingpb.SubmitMessageRequest) {
		r.Audience, r.Theme, r.Topic, r.Reason = taxonomypb.Audience_EMPLOYEUR, "dsn", "depot", ""
	})
	// Labels as they are typed in catalogues.
	if _, err := s.pool.Exec(t.Context(), `UPDATE conversation SET theme_label = 'SANTÉ, Œuvres', topic_label = E'Conge\u0301s d’hiver', reason_label = '100 % et plus' WHERE id = $1`, dsn.GetId()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(t.Context(), `UPDATE conversation SET theme_label = 'Famille', topic_label = 'Allocations', reason_label = 'Paiement absent' WHERE id = $1`, family.GetId()); err != nil {
		t.Fatal(err)
	}
	code := strings.TrimPrefix(family.GetReference(), "MSA-")
	for q, want := range map[string][]string{
		"":                                 {dsn.GetId(), family.GetId()},
		family.GetReference():              {family.GetId()},
		strings.ToLower(code):              {family.GetId()},
		"msa " + code[:4] + " " + code[4:]: {family.GetId()},
		code[:5]:                           {family.GetId()},
		"paiement":                         {family.GetId()},
		"ABSENT paie":                      {family.GetId()},
		"l'absent de":                      nil,
		"l’allocation":                     {family.GetId()},
		"sante":                            {dsn.GetId()},
		"Santé congés":                     {dsn.GetId()},
		"oeuvre":                           {dsn.GetId()},
		"ŒUVRE hiver":                      {dsn.GetId()},
		"100":                              {dsn.GetId()},
		"100 %":                            {dsn.GetId()},
		"ante":                             nil, // no word begins so
		"sante paiement":                   nil, // of two conversations
		"%":                                nil,
		"_":                                nil,
		"\x00":                             nil,
		`\`:                                nil,
		"' OR true --":                     nil,
		"canari":                           nil, // of the text
		"dossier":                          nil,
		paul.GetReference():                nil,
		code[:7] + "0":                     nil,
		strings.Repeat("é", 100):           nil,
	} {
		if got := idsOf(jeanne.lists(t, &messagingpb.ListConversationsRequest{Q: q})); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", q, got, want)
		}
	}
	found := func(req *messagingpb.ListConversationsRequest) int {
		return len(jeanne.lists(t, req).GetConversations())
	}
	if found(&messagingpb.ListConversationsRequest{Q: "sante", Audience: taxonomypb.Audience_PARTICULIER}) != 0 || found(&messagingpb.ListConversationsRequest{Q: "sante", Hidden: true}) != 0 {
		t.Error("the other filters do not hold in a search")
	}
	_, err := jeanne.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{Q: strings.Repeat("é", 101)})
	refused(t, err, codes.InvalidArgument, "TOO_LONG", "q")
}

// Unread ones come first, page by page, both ways, and what changes between pages moves no other.
func TestList_UnreadFirst(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	var sent []string
	for range 7 {
		sent = append(sent, jeanne.submit(t).GetId())
	}
	for _, i := range []int{4, 0, 2} {
		claire.reply(t, sent[i], false)
	}
	for range 5 {
		s.member(t, "paul").submit(t)
	}
	whole := []string{sent[2], sent[0], sent[4], sent[6], sent[5], sent[3], sent[1]}
	req := func(token string) *messagingpb.ListConversationsRequest {
		return &messagingpb.ListConversationsRequest{OrderBy: "unread", PageSize: 2, PageToken: token}
	}
	var forward [][]string
	var last *messagingpb.ListConversationsResponse
	for token, n := "", 0; n == 0 || token != ""; n++ {
		last = jeanne.lists(t, req(token))
		if (n == 0) != (last.GetPreviousPageToken() == "") {
			t.Errorf("page %d: %q leads back", n, last.GetPreviousPageToken())
		}
		forward, token = append(forward, idsOf(last)), last.GetNextPageToken()
	}
	if diff := cmp.Diff([][]string{whole[:2], whole[2:4], whole[4:6], whole[6:]}, forward); diff != "" {
		t.Fatal(diff)
	}
	// Back from the last page, while one comes in and one is read.
	late := jeanne.submit(t).GetId()
	if _, err := jeanne.messaging.MarkConversationRead(jeanne.call(t), &messagingpb.MarkConversationReadRequest{Id: sent[4]}); err != nil {
		t.Fatal(err)
	}
	var back [][]string
	for token := last.GetPreviousPageToken(); token != ""; {
		resp := jeanne.lists(t, req(token))
		if resp.GetNextPageToken() == "" {
			t.Errorf("there is no way on from %v", idsOf(resp))
		}
		back, token = append(back, idsOf(resp)), resp.GetPreviousPageToken()
	}
	// What is read now has its place by its reply's time, before the others and behind what came
	// in; the first page is full.
	if diff := cmp.Diff([][]string{{sent[5], sent[3]}, {sent[4], sent[6]}, {sent[0], late}, {sent[2], sent[0]}}, back); diff != "" {
		t.Error(diff)
	}
	now := jeanne.lists(t, &messagingpb.ListConversationsRequest{OrderBy: "unread"})
	if diff := cmp.Diff([]string{sent[2], sent[0], late, sent[4], sent[6], sent[5], sent[3], sent[1]}, idsOf(now)); diff != "" || now.GetUnreadCount() != 2 || now.GetNextPageToken() != "" || now.GetPreviousPageToken() != "" {
		t.Error(diff, now.GetUnreadCount())
	}
	refused(t, second(jeanne.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{OrderBy: "oldest"})), codes.InvalidArgument, "VALUE_UNKNOWN", "orderBy")
}

// Turned back, a list whose first page would not be full shows the first page.
func TestList_Back(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	var newest []string
	for range 5 {
		newest = slices.Insert(newest, 0, jeanne.submit(t).GetId())
	}
	first := jeanne.lists(t, &messagingpb.ListConversationsRequest{PageSize: 2})
	next := jeanne.lists(t, &messagingpb.ListConversationsRequest{PageSize: 2, PageToken: first.GetNextPageToken()})
	turned := func() *messagingpb.ListConversationsResponse {
		return jeanne.lists(t, &messagingpb.ListConversationsRequest{PageSize: 2, PageToken: next.GetPreviousPageToken()})
	}
	if got := turned(); !slices.Equal(idsOf(got), newest[:2]) || got.GetPreviousPageToken() != "" || got.GetNextPageToken() != first.GetNextPageToken() {
		t.Errorf("back to the first page: %v", got)
	}
	late := jeanne.submit(t).GetId()
	got := turned()
	if !slices.Equal(idsOf(got), newest[:2]) || got.GetPreviousPageToken() == "" {
		t.Errorf("with one more before it: %v", got)
	}
	if got := jeanne.lists(t, &messagingpb.ListConversationsRequest{PageSize: 2, PageToken: got.GetPreviousPageToken()}); !slices.Equal(idsOf(got), []string{late, newest[0]}) || got.GetPreviousPageToken() != "" {
		t.Errorf("the first page, which is full: %v", got)
	}
	// What was before is gone, and what was behind.
	for _, id := range newest[1:] {
		if _, err := jeanne.messaging.HideConversation(jeanne.call(t), &messagingpb.HideConversationRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	empty := jeanne.lists(t, &messagingpb.ListConversationsRequest{PageSize: 2, PageToken: first.GetNextPageToken()})
	if len(empty.GetConversations()) != 0 || empty.GetNextPageToken() != "" || empty.GetPreviousPageToken() == "" {
		t.Errorf("behind all: %v", empty)
	}
	if got := jeanne.lists(t, &messagingpb.ListConversationsRequest{PageSize: 2, PageToken: empty.GetPreviousPageToken()}); !slices.Equal(idsOf(got), []string{late, newest[0]}) {
		t.Errorf("back from there: %v", got)
	}
	// A place of the other order is none here, whoever has made it.
	made := auth.NewContext(t.Context(), &auth.Identity{Subject: "member:jeanne"})
	token := page.Place{Second: true}.Token(made, &messagingpb.ListConversationsRequest{})
	refused(t, second(jeanne.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{PageToken: token})), codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
}

// The list has the first words, and by when the answer is due; what agents see has no words, and
// neither has what was erased.
func TestList_Excerpt(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	long := strings.Repeat("canari-du-membre 👩🏽‍🌾 ", 12)
	sent := jeanne.submit(t, func(r *messagingpb.SubmitMessageRequest) { r.Text = "Bonjour,\n\n" + long })
	want := "Bonjour, canari-du-membre"
	reply := claire.reply(t, sent.GetId(), false)
	check := func(c *messagingpb.Conversation) {
		t.Helper()
		if !strings.HasPrefix(c.GetExcerpt(), want) || !strings.HasSuffix(c.GetExcerpt(), "…") || strings.Contains(c.GetExcerpt(), "\n") {
			t.Errorf("first words: %q", c.GetExcerpt())
		}
		if c.GetExpectedDelay().GetWorkingDays() != 5 {
			t.Errorf("expected within %v", c.GetExpectedDelay())
		}
	}
	check(jeanne.lists(t, &messagingpb.ListConversationsRequest{}).GetConversations()[0])
	if full := jeanne.see(t, sent.GetId()); full.GetExcerpt() != "" || full.GetExpectedDelay().GetWorkingDays() != 5 {
		t.Errorf("in full: %v", full)
	}
	queue, err := claire.agent.ListConversations(claire.call(t), &messagingpb.AgentServiceListConversationsRequest{OrderBy: "changed"})
	if err != nil || len(queue.GetConversations()) != 1 || queue.GetConversations()[0].GetExcerpt() != "" || reply.GetExcerpt() != "" {
		t.Errorf("an agent has %v, %v", queue, err)
	}
	// A process that has yet to read the key reads it once; one that cannot shows the rest.
	s.stop()
	cfg := s.cfg
	s.start(t)
	check(jeanne.lists(t, &messagingpb.ListConversationsRequest{}).GetConversations()[0])
	if _, err := messagingtest.Open(t, cfg.VaultURL).Exec(t.Context(), `ALTER TABLE member_key RENAME TO away`); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.start(t)
	if got := jeanne.lists(t, &messagingpb.ListConversationsRequest{}).GetConversations(); len(got) != 1 || got[0].GetExcerpt() != "" || got[0].GetReference() != sent.GetReference() {
		t.Errorf("while the vault is away: %v", got)
	}
	if _, err := messagingtest.Open(t, cfg.VaultURL).Exec(t.Context(), `ALTER TABLE away RENAME TO member_key`); err != nil {
		t.Fatal(err)
	}
	check(jeanne.lists(t, &messagingpb.ListConversationsRequest{}).GetConversations()[0])
	// What does not open does not take the list away.
	spoil := func(body string) {
		t.Helper()
		if _, err := s.pool.Exec(t.Context(), `UPDATE message SET body = `+body); err != nil {
			t.Fatal(err)
		}
	}
	spoil(`body || '\x00'`)
	if got := jeanne.lists(t, &messagingpb.ListConversationsRequest{}).GetConversations(); len(got) != 1 || got[0].GetExcerpt() != "" {
		t.Errorf("what does not open: %v", got)
	}
	spoil(`substr(body, 1, length(body) - 1)`)
	check(jeanne.lists(t, &messagingpb.ListConversationsRequest{}).GetConversations()[0])
	if _, err := jeanne.messaging.EraseMyData(jeanne.call(t), &messagingpb.EraseMyDataRequest{Confirm: true}); err != nil {
		t.Fatal(err)
	}
	for _, c := range jeanne.lists(t, &messagingpb.ListConversationsRequest{}).GetConversations() {
		if c.GetExcerpt() != "" {
			t.Errorf("erased: %q", c.GetExcerpt())
		}
	}
}
