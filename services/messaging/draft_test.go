package messaging

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/draft"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

func (c caller) draft(t *testing.T, id, text string) *messagingpb.Draft {
	t.Helper()
	resp, err := c.messaging.SaveDraft(c.call(t), &messagingpb.SaveDraftRequest{
		Id: id, Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", TaxonomyVersion: 1, Text: text,
	})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetDraft()
}

func TestDraft(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, paul := s.member(t, "jeanne"), s.member(t, "paul")
	first, other := uuid.NewString(), uuid.NewString()
	jeanne.draft(t, first, "Bon")
	jeanne.draft(t, other, "")
	saved := jeanne.draft(t, first, memberText)
	if saved.GetText() != memberText || saved.GetTheme() != "famille-logement" || saved.GetUpdateTime() == nil {
		t.Errorf("saved %v", saved)
	}
	got, err := jeanne.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: first})
	if err != nil || got.GetDraft().GetText() != memberText || got.GetDraft().GetTaxonomyVersion() != 1 {
		t.Errorf("read %v, %v", got, err)
	}
	list, err := jeanne.messaging.ListDrafts(jeanne.call(t), &messagingpb.ListDraftsRequest{})
	if err != nil || len(list.GetDrafts()) != 2 || list.GetDrafts()[0].GetId() != first {
		t.Errorf("listed %v, %v: want the last changed first", list, err)
	}
	if got := list.GetDrafts()[0]; got.GetExcerpt() != memberText || got.GetExpireTime().AsTime().Sub(got.GetUpdateTime().AsTime()) != draft.Life || saved.GetExcerpt() != "" || saved.GetExpireTime() == nil {
		t.Errorf("listed %v, saved %v", got, saved)
	}
	if secret := holdsSecret(s.dump(t)); secret != "" {
		t.Errorf("the database holds %q in clear", secret)
	}
	// Somebody else's is not there, and their own under the same id is another.
	refused(t, second(paul.messaging.GetDraft(paul.call(t), &messagingpb.GetDraftRequest{Id: first})), codes.NotFound, "DRAFT_NOT_FOUND", "")
	if _, err := paul.messaging.DeleteDraft(paul.call(t), &messagingpb.DeleteDraftRequest{Id: first}); err != nil {
		t.Error(err)
	}
	paul.draft(t, first, "Un autre texte")
	if got, err := jeanne.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: first}); err != nil || got.GetDraft().GetText() != memberText {
		t.Errorf("after another member's: %v, %v", got, err)
	}
	for range 2 { // the second time there is none, which is no error
		if _, err := jeanne.messaging.DeleteDraft(jeanne.call(t), &messagingpb.DeleteDraftRequest{Id: first}); err != nil {
			t.Error(err)
		}
	}
	refused(t, second(jeanne.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: first})), codes.NotFound, "DRAFT_NOT_FOUND", "")
}

// further saves the draft of a further message.
func (c caller) further(t *testing.T, conversation, text string) *messagingpb.Draft {
	t.Helper()
	resp, err := c.messaging.SaveDraft(c.call(t), &messagingpb.SaveDraftRequest{Id: conversation, ConversationId: conversation, Text: text})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetDraft()
}

// A draft of a further message is told from others wherever it is read, and has one place.
func TestDraft_FurtherMessage(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, paul := s.member(t, "jeanne"), s.member(t, "paul")
	sent, pauls, other := jeanne.submit(t), paul.submit(t).GetId(), uuid.NewString()
	id := sent.GetId()
	jeanne.draft(t, other, "Une autre question")
	if saved := jeanne.further(t, id, memberText); saved.GetConversationId() != id || saved.GetConversationReference() != sent.GetReference() || saved.GetText() != memberText {
		t.Errorf("saved %v", saved)
	}
	got, err := jeanne.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: id})
	if err != nil || got.GetDraft().GetConversationId() != id || got.GetDraft().GetText() != memberText {
		t.Errorf("read %v, %v", got, err)
	}
	list, err := jeanne.messaging.ListDrafts(jeanne.call(t), &messagingpb.ListDraftsRequest{})
	if err != nil || len(list.GetDrafts()) != 2 || list.GetDrafts()[0].GetConversationId() != id || list.GetDrafts()[0].GetConversationReference() != sent.GetReference() ||
		list.GetDrafts()[1].GetConversationId() != "" || list.GetDrafts()[1].GetConversationReference() != "" {
		t.Errorf("listed %v, %v", list, err)
	}
	all, err := jeanne.messaging.ExportMyData(jeanne.call(t), &messagingpb.ExportMyDataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var exported []string
	for piece, err := all.Recv(); err == nil; piece, err = all.Recv() {
		if piece.GetDraft() != nil {
			exported = append(exported, piece.GetDraft().GetConversationId())
		}
	}
	if !slices.Equal(exported, []string{id, ""}) {
		t.Errorf("exported %q", exported)
	}
	for name, row := range map[string]struct {
		id, conversation, reason, field string
		code                            codes.Code
	}{
		"another's":           {pauls, pauls, "CONVERSATION_NOT_FOUND", "", codes.NotFound},
		"none":                {other, other, "CONVERSATION_NOT_FOUND", "", codes.NotFound},
		"under another id":    {other, id, "DRAFT_PLACE_INVALID", "conversationId", codes.InvalidArgument},
		"no id of one":        {id, "1", "UUID_INVALID", "conversationId", codes.InvalidArgument},
		"two faults at once":  {"1", id, "UUID_INVALID", "id", codes.InvalidArgument},
		"another's, with tag": {pauls, pauls, "CONVERSATION_NOT_FOUND", "", codes.NotFound},
	} {
		t.Log(name)
		ctx := jeanne.call(t)
		if name == "another's, with tag" {
			ctx = withTags(ctx, `"stale"`)
		}
		_, err := jeanne.messaging.SaveDraft(ctx, &messagingpb.SaveDraftRequest{Id: row.id, ConversationId: row.conversation, Text: memberText})
		refused(t, err, row.code, row.reason, row.field)
	}
	// Letters of an id in another case are the same one.
	if _, err := jeanne.messaging.SaveDraft(jeanne.call(t), &messagingpb.SaveDraftRequest{Id: strings.ToUpper(id), ConversationId: id}); err != nil {
		t.Error(err)
	}
	if n := s.count(t, `SELECT count(*) FROM draft`); n != 2 {
		t.Errorf("%d drafts", n)
	}
	// Sending does not delete it, as what was sent is for the front end to know.
	if _, err := jeanne.followUp(t, id, uuid.NewString(), memberText); err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, `SELECT count(*) FROM draft WHERE conversation_id = $1`, id); n != 1 {
		t.Errorf("%d drafts after it was sent", n)
	}
	jeanne.erase(t)
	if n := s.count(t, `SELECT count(*) FROM draft`); n != 0 {
		t.Errorf("%d drafts after the erasure", n)
	}
	_, err = jeanne.messaging.SaveDraft(jeanne.call(t), &messagingpb.SaveDraftRequest{Id: id, ConversationId: id, Text: memberText})
	refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
}

// A draft that is saved while its conversation is deleted is not stored behind it.
func TestDraft_ConversationDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id := jeanne.submit(t).GetId()
	claire.begin(t, id, agentText, "")
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	for _, sql := range []string{
		`SELECT id FROM conversation WHERE id = $1 FOR UPDATE`, `DELETE FROM message WHERE conversation_id = $1`,
		`DELETE FROM agent_draft WHERE conversation_id = $1`, `DELETE FROM conversation WHERE id = $1`,
	} {
		if _, err := tx.Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
	}
	saved := make(chan error, 2)
	go func() {
		_, err := jeanne.messaging.SaveDraft(jeanne.call(t), &messagingpb.SaveDraftRequest{Id: id, ConversationId: id, Text: memberText})
		saved <- err
	}()
	go func() {
		_, err := claire.agent.SaveDraft(claire.call(t), &messagingpb.AgentServiceSaveDraftRequest{ConversationId: id, Text: agentText})
		saved <- err
	}()
	messagingtest.Eventually(t, "both wait", func() bool {
		return s.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 2
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		refused(t, <-saved, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	}
	if n := s.count(t, `SELECT (SELECT count(*) FROM draft) + (SELECT count(*) FROM agent_draft)`); n != 0 {
		t.Errorf("%d drafts of what is gone", n)
	}
}

func TestDraft_Limits(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	id := uuid.NewString()
	jeanne.draft(t, id, strings.Repeat("é", 8000))
	_, err := jeanne.messaging.SaveDraft(jeanne.call(t), &messagingpb.SaveDraftRequest{Id: id, Text: strings.Repeat("é", 8001)})
	refused(t, err, codes.InvalidArgument, "TOO_LONG", "text")
	_, err = jeanne.messaging.SaveDraft(jeanne.call(t), &messagingpb.SaveDraftRequest{Id: "1"})
	refused(t, err, codes.InvalidArgument, "UUID_INVALID", "id")
	for range draft.Most {
		jeanne.draft(t, uuid.NewString(), "x")
	}
	refused(t, second(jeanne.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: id})), codes.NotFound, "DRAFT_NOT_FOUND", "")
	if n := s.count(t, `SELECT count(*) FROM draft`); n != draft.Most {
		t.Errorf("%d drafts, want %d: the oldest makes room", n, draft.Most)
	}
}

// What was chosen, and nothing written, makes room before what was written; what is being saved stays.
func TestDraft_LimitsKeepWords(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	words, last := uuid.NewString(), ""
	jeanne.draft(t, words, "Bonjour")
	for range draft.Most + 3 {
		last = uuid.NewString()
		jeanne.draft(t, last, "")
	}
	for _, id := range []string{words, last} {
		if _, err := jeanne.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: id}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	for range draft.Most {
		jeanne.draft(t, uuid.NewString(), "x")
	}
	jeanne.draft(t, last, "") // with as many that have words
	if _, err := jeanne.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: last}); err != nil {
		t.Error(err)
	}
	if n := s.count(t, `SELECT count(*) FROM draft`); n != draft.Most {
		t.Errorf("%d drafts", n)
	}
}

func TestDraft_SevenDays(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	old, young := uuid.NewString(), uuid.NewString()
	jeanne.draft(t, old, "x")
	jeanne.draft(t, young, "x")
	if _, err := s.pool.Exec(t.Context(), `UPDATE draft SET updated_at = now() - CASE WHEN id = $1 THEN interval '7 days' ELSE interval '7 days' - interval '1 minute' END`, old); err != nil {
		t.Fatal(err)
	}
	refused(t, second(jeanne.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: old})), codes.NotFound, "DRAFT_NOT_FOUND", "")
	if _, err := jeanne.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: young}); err != nil {
		t.Error(err)
	}
	// The next process sweeps when it starts.
	s.stop()
	s.start(t)
	messagingtest.Eventually(t, "the old draft is gone", func() bool { return s.count(t, `SELECT count(*) FROM draft`) == 1 })
}

func TestDrafts_Pages(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	var newest []string
	for range 5 {
		newest = append([]string{jeanne.draft(t, uuid.NewString(), "").GetId()}, newest...)
	}
	page := func(size int32, token string) (ids []string, next string) {
		t.Helper()
		resp, err := jeanne.messaging.ListDrafts(jeanne.call(t), &messagingpb.ListDraftsRequest{PageSize: size, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, draft := range resp.GetDrafts() {
			ids = append(ids, draft.GetId())
		}
		return ids, resp.GetNextPageToken()
	}
	first, token := page(2, "")
	// What comes in between neither shifts nor repeats what follows.
	jeanne.draft(t, uuid.NewString(), "")
	second, next := page(2, token)
	third, end := page(2, next)
	if got := slices.Concat(first, second, third); !slices.Equal(got, newest) || end != "" {
		t.Errorf("%v, then %q; want %v", got, end, newest)
	}
	if all, next := page(0, ""); len(all) != 6 || next != "" {
		t.Errorf("all: %v, %q", all, next)
	}
	paul := s.member(t, "paul")
	_, err := paul.messaging.ListDrafts(paul.call(t), &messagingpb.ListDraftsRequest{PageToken: token})
	refused(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
}
