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
