package messaging

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/draft"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// saveBegun saves what an agent has begun to write.
func (c caller) saveBegun(t *testing.T, id, reply, note string) (*messagingpb.AgentDraft, error) {
	t.Helper()
	resp, err := c.agent.SaveDraft(c.call(t), &messagingpb.AgentServiceSaveDraftRequest{ConversationId: id, Text: reply, Note: note})
	return resp.GetDraft(), err
}

func (c caller) begin(t *testing.T, id, reply, note string) *messagingpb.AgentDraft {
	t.Helper()
	saved, err := c.saveBegun(t, id, reply, note)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func (c caller) getBegun(t *testing.T, id string) (*messagingpb.AgentDraft, error) {
	t.Helper()
	resp, err := c.agent.GetDraft(c.call(t), &messagingpb.AgentServiceGetDraftRequest{ConversationId: id})
	return resp.GetDraft(), err
}

// begun lists an agent's drafts.
func (c caller) begun(t *testing.T) []*messagingpb.AgentDraft {
	t.Helper()
	resp, err := c.agent.ListDrafts(c.call(t), &messagingpb.AgentServiceListDraftsRequest{PageSize: draft.MostOfAgent})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetDrafts()
}

// A draft is its author's alone, and says nothing of itself anywhere else.
func TestAgentDraft(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	id, other := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	refused(t, second(claire.getBegun(t, id)), codes.NotFound, "DRAFT_NOT_FOUND", "")
	claire.begin(t, id, "Bon", "")
	claire.begin(t, other, "", " \x00\u202e ") // as it is, whatever its characters
	saved := claire.begin(t, id, agentText, noteText)
	if saved.GetConversationId() != id || saved.GetText() != agentText || saved.GetNote() != noteText || saved.GetUpdateTime() == nil {
		t.Errorf("saved %v", saved)
	}
	if got, err := claire.getBegun(t, id); err != nil || got.GetText() != agentText || got.GetNote() != noteText {
		t.Errorf("read %v, %v", got, err)
	}
	if list := claire.begun(t); len(list) != 2 || list[0].GetConversationId() != id || list[1].GetNote() != " \x00\u202e " || list[1].GetText() != "" {
		t.Errorf("listed %v: want the last changed first", list)
	}
	if secret := holdsSecret(s.dump(t)); secret != "" {
		t.Errorf("the database holds %q in clear", secret)
	}
	// A colleague has none, and then one of their own.
	refused(t, second(omar.getBegun(t, id)), codes.NotFound, "DRAFT_NOT_FOUND", "")
	if list := omar.begun(t); len(list) != 0 {
		t.Errorf("a colleague lists %v", list)
	}
	omar.begin(t, id, "Autre chose", "")
	// Neither a colleague's claim nor a closed conversation prevents it; what is sent stays.
	omar.claim(t, id)
	claire.begin(t, id, agentText, noteText)
	omar.reply(t, id, true)
	if _, err := claire.note(t, id, noteText); err != nil {
		t.Fatal(err)
	}
	omar.end(t, id)
	claire.begin(t, id, agentText, noteText)
	if got, err := omar.getBegun(t, id); err != nil || got.GetText() != "Autre chose" {
		t.Errorf("after the reply: %v, %v", got, err)
	}
	want := []string{"agent:omar claim", "agent:omar reply", "agent:claire note", "agent:omar reply", "agent:omar close"}
	if got := s.actions(t, id); !slices.Equal(got, want) {
		t.Errorf("audited %q, want %q", got, want)
	}
	for _, msg := range s.published(t) {
		if secret := holdsSecret(string(msg.Data) + msg.Subject); secret != "" {
			t.Errorf("an event holds %q", secret)
		}
	}
	// Members neither see nor export it.
	if _, drafts, texts := jeanne.export(t); len(drafts) != 0 || strings.Contains(strings.Join(texts, "|"), "Autre chose") {
		t.Errorf("exported %q, %q", drafts, texts)
	}
	for range 2 { // the second time there is none, which is no error
		if _, err := claire.agent.DeleteDraft(claire.call(t), &messagingpb.AgentServiceDeleteDraftRequest{ConversationId: id}); err != nil {
			t.Error(err)
		}
	}
	refused(t, second(claire.getBegun(t, id)), codes.NotFound, "DRAFT_NOT_FOUND", "")
	if _, err := omar.getBegun(t, id); err != nil {
		t.Errorf("a colleague's, after it was deleted: %v", err)
	}
}

func TestAgentDraft_Text(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire, id := s.clerk(t, "claire"), s.member(t, "jeanne").submit(t).GetId()
	claire.begin(t, id, "", "")
	claire.begin(t, id, strings.Repeat("é\r\n", text.OfAgent.Max/2), strings.Repeat("🙂", text.OfNote.Max))
	meta := refused(t, second(claire.saveBegun(t, id, strings.Repeat("é", text.OfAgent.Max+1), "")), codes.InvalidArgument, "BODY_TOO_LONG", "text")
	if meta["limit"] != "5000" || meta["actual"] != "5001" {
		t.Errorf("told %v", meta)
	}
	refused(t, second(claire.saveBegun(t, id, "", strings.Repeat("é", text.OfNote.Max+1))), codes.InvalidArgument, "BODY_TOO_LONG", "note")
	refused(t, second(claire.saveBegun(t, "1", strings.Repeat("é", text.OfAgent.Max+1), "")), codes.InvalidArgument, "UUID_INVALID", "conversationId")
}

// Of two tabs with one draft, neither overwrites what the other has saved.
func TestAgentDraft_TwoTabs(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire, id := s.clerk(t, "claire"), s.member(t, "jeanne").submit(t).GetId()
	save := func(reply, condition, tags string) (string, error) {
		var header metadata.MD
		_, err := s.agent.SaveDraft(metadata.AppendToOutgoingContext(claire.call(t), condition, tags), &messagingpb.AgentServiceSaveDraftRequest{ConversationId: id, Text: reply}, grpc.Header(&header))
		if err != nil {
			return "", err
		}
		return tagged(t, header), nil
	}
	for _, tags := range []string{"*", `"nothing"`} {
		_, err := save("rien", "if-match", tags)
		refused(t, err, codes.FailedPrecondition, "DRAFT_CHANGED", "") // there is none
	}
	const tabs = 8
	results := make(chan error, tabs)
	for range tabs {
		go func() { results <- second(save("un onglet", "if-none-match", "*")) }()
	}
	made := 0
	for range tabs {
		if err := <-results; err == nil {
			made++
		} else {
			refused(t, err, codes.FailedPrecondition, "DRAFT_EXISTS", "")
		}
	}
	if made != 1 {
		t.Errorf("%d tabs have made it", made)
	}
	var header metadata.MD
	if _, err := s.agent.GetDraft(claire.call(t), &messagingpb.AgentServiceGetDraftRequest{ConversationId: id}, grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	first := tagged(t, header)
	next, err := save("un onglet, plus tard", "if-match", first)
	if err != nil || next == first {
		t.Fatalf("saved: %s, %v", next, err)
	}
	_, err = save("l’autre onglet", "if-match", first)
	refused(t, err, codes.FailedPrecondition, "DRAFT_CHANGED", "")
	_, err = save("l’autre onglet", "if-none-match", next)
	refused(t, err, codes.FailedPrecondition, "DRAFT_EXISTS", "")
	_, err = s.agent.DeleteDraft(withTags(claire.call(t), first), &messagingpb.AgentServiceDeleteDraftRequest{ConversationId: id})
	refused(t, err, codes.FailedPrecondition, "DRAFT_CHANGED", "")
	if got, err := claire.getBegun(t, id); err != nil || got.GetText() != "un onglet, plus tard" {
		t.Errorf("it is %v, %v", got, err)
	}
	// A colleague's has the same place, and another tag.
	header = nil
	omar := s.clerk(t, "omar")
	if _, err := s.agent.SaveDraft(metadata.AppendToOutgoingContext(omar.call(t), "if-none-match", "*"), &messagingpb.AgentServiceSaveDraftRequest{ConversationId: id}, grpc.Header(&header)); err != nil || tagged(t, header) == next {
		t.Errorf("a colleague's: %v, %v", header, err)
	}
	// What has lapsed is not there.
	if _, err := s.pool.Exec(t.Context(), `UPDATE agent_draft SET updated_at = now() - interval '8 days'`); err != nil {
		t.Fatal(err)
	}
	refused(t, second(claire.getBegun(t, id)), codes.NotFound, "DRAFT_NOT_FOUND", "")
	_, err = save("rien", "if-match", next)
	refused(t, err, codes.FailedPrecondition, "DRAFT_CHANGED", "")
	tag, err := save("à nouveau", "if-none-match", "*")
	if err != nil {
		t.Fatalf("in place of one that has lapsed: %v", err)
	}
	if _, err := s.agent.DeleteDraft(withTags(claire.call(t), tag), &messagingpb.AgentServiceDeleteDraftRequest{ConversationId: id}); err != nil {
		t.Error(err)
	}
}

// Who may not see a conversation, or not any more, has no draft in it.
func TestAgentDraft_Where(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	family := s.clerk(t, "claire", map[string]any{"queues": []string{"famille"}})
	id, other := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	for name, claims := range map[string]map[string]any{
		"another caisse": {"caisse": "msa-44"}, "another queue": {"queues": []string{"sante"}}, "no queue": {"queues": nil},
	} {
		t.Log(name)
		eve := s.clerk(t, "eve", claims)
		refused(t, second(eve.saveBegun(t, id, agentText, "")), codes.NotFound, "CONVERSATION_NOT_FOUND", "")
		refused(t, second(eve.getBegun(t, id)), codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	}
	refused(t, second(claire.saveBegun(t, uuid.NewString(), agentText, "")), codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	refused(t, second(jeanne.saveBegun(t, id, agentText, "")), codes.PermissionDenied, "ACCESS_DENIED", "")
	refused(t, second(jeanne.getBegun(t, id)), codes.PermissionDenied, "ACCESS_DENIED", "")
	if n := s.count(t, `SELECT count(*) FROM agent_draft`); n != 0 {
		t.Errorf("%d drafts", n)
	}
	// The conversation goes to another queue.
	family.begin(t, id, agentText, noteText)
	family.begin(t, other, agentText, noteText)
	if _, err := claire.transfer(t, id, "sante"); err != nil {
		t.Fatal(err)
	}
	refused(t, second(family.getBegun(t, id)), codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	refused(t, second(family.saveBegun(t, id, agentText, "")), codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	if list := family.begun(t); len(list) != 1 || list[0].GetConversationId() != other {
		t.Errorf("listed %v", list)
	}
	// With the other queue it is theirs again, and without it they may delete it.
	if list := claire.begun(t); len(list) != 2 {
		t.Errorf("with all queues: %v", list)
	}
	if _, err := family.agent.DeleteDraft(family.call(t), &messagingpb.AgentServiceDeleteDraftRequest{ConversationId: id}); err != nil {
		t.Error(err)
	}
	if n := s.count(t, `SELECT count(*) FROM agent_draft`); n != 1 {
		t.Errorf("%d drafts are left", n)
	}
}

// A machine has drafts as it has replies, and notes in them as it has notes.
func TestAgentDraft_Machines(t *testing.T) {
	t.Parallel()
	s := running(t)
	id := s.member(t, "jeanne").submit(t).GetId()
	machine := func(scope string) caller {
		return caller{s, s.machines.Token(t, map[string]any{"sub": "crm", "client_id": "crm", "caisse": "msa-75", "queues": []string{auth.AllQueues}, "roles": []string{auth.RoleAgent}, "scope": scope})}
	}
	replies, both, reads := machine("replies.write queue.read"), machine("replies.write notes.write"), machine("queue.read")
	replies.begin(t, id, agentText, "")
	if got, err := reads.getBegun(t, id); err != nil || got.GetText() != agentText {
		t.Errorf("%v, %v", got, err)
	}
	for name, row := range map[string]struct {
		err   error
		scope string
	}{
		"a note without the scope":   {second(replies.saveBegun(t, id, agentText, noteText)), "notes.write"},
		"notes alone":                {second(machine("notes.write").saveBegun(t, id, "", noteText)), "replies.write"},
		"reading alone":              {second(reads.saveBegun(t, id, agentText, "")), "replies.write"},
		"reading, without the scope": {second(both.getBegun(t, id)), "queue.read"},
		"deleting, by reading":       {second(reads.agent.DeleteDraft(reads.call(t), &messagingpb.AgentServiceDeleteDraftRequest{ConversationId: id})), "replies.write"},
	} {
		t.Log(name)
		if meta := refused(t, row.err, codes.PermissionDenied, "SCOPE_MISSING", ""); meta["scope"] != row.scope {
			t.Errorf("told %v, want %s", meta, row.scope)
		}
	}
	both.begin(t, id, agentText, noteText)
	refused(t, second(s.machine(t).getBegun(t, id)), codes.PermissionDenied, "ACCESS_DENIED", "")
}

// Whoever has everything erased has what was begun to be answered erased with it.
func TestAgentDraft_ErasedMember(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	one, two := s.start(t), s.start(t)
	jeanne, claire := s.member(t, "jeanne").at(one), s.clerk(t, "claire").at(one)
	id, pauls := jeanne.submit(t).GetId(), s.member(t, "paul").at(one).submit(t).GetId()
	claire.begin(t, id, agentText, noteText)
	claire.begin(t, pauls, agentText, noteText)
	// What an earlier version erases keeps its row, of which nothing opens.
	if _, err := s.pool.Exec(t.Context(), `CREATE TABLE kept AS SELECT * FROM agent_draft`); err != nil {
		t.Fatal(err)
	}
	jeanne.at(two).erase(t)
	if n := s.count(t, `SELECT count(*) FROM agent_draft WHERE conversation_id = $1`, id); n != 0 {
		t.Errorf("%d drafts are left", n)
	}
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO agent_draft SELECT * FROM kept ON CONFLICT DO NOTHING`); err != nil {
		t.Fatal(err)
	}
	for name, process := range map[string]*process{"that remembered": one, "that erased": two} {
		claire := claire.at(process)
		t.Log(name)
		refused(t, second(claire.getBegun(t, id)), codes.NotFound, "DRAFT_NOT_FOUND", "")
		refused(t, second(claire.saveBegun(t, id, agentText, "")), codes.FailedPrecondition, "CONVERSATION_ERASED", "")
		if list := claire.begun(t); len(list) != 1 || list[0].GetConversationId() != pauls {
			t.Errorf("listed %v", list)
		}
	}
}

// Neither in place of another draft nor as the other text does one open.
func TestAgentDraft_MovedTexts(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	id, other := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	for name, sql := range map[string]string{
		"to another conversation": `UPDATE agent_draft SET body = (SELECT body FROM agent_draft WHERE agent_id = 'agent:claire' AND conversation_id <> $1) WHERE agent_id = 'agent:claire' AND conversation_id = $1`,
		"to a colleague":          `UPDATE agent_draft SET note = (SELECT note FROM agent_draft WHERE agent_id = 'agent:omar' AND conversation_id = $1) WHERE agent_id = 'agent:claire' AND conversation_id = $1`,
		"a note as a reply":       `UPDATE agent_draft SET body = note WHERE conversation_id = $1`,
		"a reply as a note":       `UPDATE agent_draft SET note = body WHERE conversation_id = $1`,
		"changed":                 `UPDATE agent_draft SET body = set_byte(body, 20, 255 - get_byte(body, 20)) WHERE conversation_id = $1`,
	} {
		claire.begin(t, id, agentText, noteText)
		claire.begin(t, other, agentText, noteText)
		omar.begin(t, id, agentText, noteText)
		if _, err := s.pool.Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
		t.Log(name)
		refused(t, second(claire.getBegun(t, id)), codes.Internal, "INTERNAL", "")
	}
}

// The oldest makes room, however many are saved at once.
func TestAgentDraft_Most(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	oldest := jeanne.submit(t).GetId()
	claire.begin(t, oldest, "x", "")
	omar.begin(t, oldest, "x", "")
	for range draft.MostOfAgent - 1 {
		claire.begin(t, jeanne.submit(t).GetId(), "x", "")
	}
	if list := claire.begun(t); len(list) != draft.MostOfAgent || list[len(list)-1].GetConversationId() != oldest {
		t.Errorf("%d drafts", len(list))
	}
	var wg sync.WaitGroup
	for range 5 {
		id := jeanne.submit(t).GetId()
		wg.Go(func() {
			if _, err := claire.saveBegun(t, id, "x", ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	refused(t, second(claire.getBegun(t, oldest)), codes.NotFound, "DRAFT_NOT_FOUND", "")
	if n := s.count(t, `SELECT count(*) FROM agent_draft WHERE agent_id = 'agent:claire'`); n != draft.MostOfAgent {
		t.Errorf("%d drafts, want %d", n, draft.MostOfAgent)
	}
	if _, err := omar.getBegun(t, oldest); err != nil {
		t.Errorf("a colleague's: %v", err)
	}
}

func TestAgentDraft_Pages(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	var newest []string
	for range 5 {
		newest = append([]string{claire.begin(t, jeanne.submit(t).GetId(), "x", "").GetConversationId()}, newest...)
	}
	var got []string
	token := ""
	for range 3 {
		resp, err := claire.agent.ListDrafts(claire.call(t), &messagingpb.AgentServiceListDraftsRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range resp.GetDrafts() {
			got = append(got, one.GetConversationId())
		}
		if token == "" { // what comes in between neither shifts nor repeats what follows
			claire.begin(t, jeanne.submit(t).GetId(), "x", "")
			omar := s.clerk(t, "omar")
			_, err := omar.agent.ListDrafts(omar.call(t), &messagingpb.AgentServiceListDraftsRequest{PageToken: resp.GetNextPageToken()})
			refused(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
		}
		token = resp.GetNextPageToken()
	}
	if !slices.Equal(got, newest) || token != "" {
		t.Errorf("%v, then %q; want %v", got, token, newest)
	}
}

func TestAgentDraft_SevenDays(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	old, young := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	claire.begin(t, old, "x", "")
	claire.begin(t, young, "x", "")
	if _, err := s.pool.Exec(t.Context(), `UPDATE agent_draft SET updated_at = now() - CASE WHEN conversation_id = $1 THEN interval '7 days' ELSE interval '7 days' - interval '1 minute' END`, old); err != nil {
		t.Fatal(err)
	}
	refused(t, second(claire.getBegun(t, old)), codes.NotFound, "DRAFT_NOT_FOUND", "")
	if list := claire.begun(t); len(list) != 1 || list[0].GetConversationId() != young {
		t.Errorf("listed %v", list)
	}
	// The next process sweeps when it starts.
	s.stop()
	s.start(t)
	messagingtest.Eventually(t, "the old draft is gone", func() bool { return s.count(t, `SELECT count(*) FROM agent_draft`) == 1 })
}
