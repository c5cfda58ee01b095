package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/inquiry"
)

const search = "/messagerie/recherche"

// typing is what a page's script sends while a member types.
func (b *browser) typing(at, words string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, at, strings.NewReader(url.Values{"q": {words}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	return b.do(r)
}

// counted are the searches that were counted since it was last asked, and their keys.
func (f *front) counted() (searches, keys []string) {
	for _, call := range f.calls() {
		if req, ok := call.request.(*taxonomypb.RecordSearchRequest); ok {
			end := " unchosen"
			if req.GetChosen() {
				end = " chosen"
			}
			searches = append(searches, req.GetQ()+end)
			keys = append(keys, call.header.Get("idempotency-key")...)
		}
	}
	return searches, keys
}

// A search is counted when it has ended, once, with a choice or without.
func TestSearch_Counted(t *testing.T) {
	t.Parallel()
	chosen := url.Values{"choix": {"t=famille&s=allocations&m=absent"}}
	ask := func(words string) func(*browser) {
		return func(b *browser) { b.post(search, url.Values{"q": {words}}) }
	}
	typed := func(words string) func(*browser) { return func(b *browser) { b.typing(search, words) } }
	get := func(at string) func(*browser) { return func(b *browser) { b.get(at) } }
	choose := func(b *browser) { b.post(search, chosen) }
	for name, row := range map[string]struct {
		does []func(*browser)
		want []string
	}{
		"a choice":                        {[]func(*browser){ask("virement"), choose, choose, get("/messagerie")}, []string{"virement chosen"}},
		"a choice of what was only typed": {[]func(*browser){typed("vi"), typed("virement"), choose}, []string{"virement chosen"}},
		"another search":                  {[]func(*browser){ask("rib"), ask("virement"), choose}, []string{"rib unchosen", "virement chosen"}},
		"typed further, and shortened":    {[]func(*browser){ask("rib"), typed("rib nou"), ask("Rib nouveau"), ask("rib"), get("/messagerie")}, []string{"rib unchosen"}},
		"back to the list":                {[]func(*browser){ask("rib"), get("/messagerie"), get("/messagerie")}, []string{"rib unchosen"}},
		"to the themes":                   {[]func(*browser){ask("rib"), get("/messagerie/nouveau")}, []string{"rib unchosen"}},
		"a theme chosen beside it": {[]func(*browser){ask("rib"), func(b *browser) {
			b.post("/messagerie/brouillons/"+draftID+"/theme", url.Values{"theme": {"famille"}})
		}}, []string{"rib unchosen"}},
		"an online service": {[]func(*browser){ask("rib"), get(search + "/service/paiements"), get("/messagerie")}, []string{"rib chosen"}},
		"no such service":   {[]func(*browser){ask("rib"), get(search + "/service/autre")}, nil},
		"typed in passing":  {[]func(*browser){typed("vi"), typed("rib"), get("/messagerie")}, nil},
		"nothing":           {[]func(*browser){get("/messagerie"), choose}, nil},
		"signed out":        {[]func(*browser){ask("rib"), func(b *browser) { b.post("/deconnexion", nil) }}, nil},
		"what is found, reloaded": {[]func(*browser){func(b *browser) {
			at := b.post(search, url.Values{"q": {"rib"}}).Header().Get("Location")
			b.get(at)
			b.get(at)
		}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			f.on("TaxonomyService/SearchReasons", answers(&taxonomypb.SearchReasonsResponse{Services: []*taxonomypb.OnlineService{{Code: "paiements", Url: "https://services.example.org/paiements"}}}))
			b := f.browse(t, jeanne)
			for _, do := range row.does {
				do(b)
			}
			got, keys := f.counted()
			if !slices.Equal(got, row.want) {
				t.Errorf("counted %q, want %q", got, row.want)
			}
			for i, key := range keys {
				if uuid.Validate(key) != nil || slices.Contains(keys[:i], key) {
					t.Errorf("the keys are %q", keys)
				}
			}
			if strings.Contains(b.cookies[inquiry.Cookie], "rib") {
				t.Error("the words can be read in the cookie")
			}
		})
	}
}

// Neither a script that reads the list behind somebody nor somebody else's sign-in ends a search,
// and nobody waits for its count to be right.
func TestSearch_CountedForItsOwn(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	b.post(search, url.Values{"q": {"rib"}})
	r := httptest.NewRequest(http.MethodGet, "/messagerie", nil)
	r.Header.Set("Sec-Fetch-Mode", "cors")
	b.do(r)
	paul := jeanne
	paul.ID, paul.Subject = "paul", "members:paul"
	after := f.browse(t, paul)
	after.cookies[inquiry.Cookie] = b.cookies[inquiry.Cookie]
	after.get("/messagerie")
	if got, _ := f.counted(); got != nil {
		t.Errorf("counted %q", got)
	}
	f.on("TaxonomyService/RecordSearch", refuses(status.Error(codes.Unavailable, "")))
	b.shows(b.get("/messagerie"), http.StatusOK, "Ma messagerie")
	if w := b.get(search + "/service/paiements"); w.Header().Get("Location") != "/messagerie/nouveau" {
		t.Errorf("a service of a search that has ended: %d", w.Code)
	}
}

func TestStatistics_Searches(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	supervisor := claire
	supervisor.Supervisor = true
	b := f.browse(t, supervisor)
	b.shows(b.get("/agent/statistiques?jours=7"), http.StatusOK, "Recherches par mots Recherches 8 Sans choix 2 (25 %)", "lundi 23 novembre 2026 5 2", "puma 7")
	if got, _ := one[*taxonomypb.GetSearchStatisticsRequest](t, f.gateway, "TaxonomyService/GetSearchStatistics"); got.GetDays() != 7 {
		t.Errorf("asked for %d days", got.GetDays())
	}
	f.on("TaxonomyService/GetSearchStatistics", answers(&taxonomypb.GetSearchStatisticsResponse{}))
	b.shows(b.get("/agent/statistiques"), http.StatusOK, "Aucune recherche sur cette période.", "Aucun mot pour l’instant.")
	f.on("TaxonomyService/GetSearchStatistics", refuses(status.Error(codes.Unavailable, "")))
	if w := b.get("/agent/statistiques"); w.Code != http.StatusOK || strings.Contains(text(w), "Recherches par mots") {
		t.Errorf("without them: %d", w.Code)
	}
	f.calls()
	ordinary := claire
	ordinary.Supervisor = false
	if w := f.browse(t, ordinary).get("/agent/statistiques"); strings.Contains(text(w), "Recherches par mots") || strings.Contains(strings.Join(f.names(), " "), "GetSearchStatistics") {
		t.Error("who is no supervisor sees searches")
	}
}

// An agent finds by words the reason that a conversation is to be under, and what was typed on its
// page is its draft meanwhile.
func TestReclassify(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	conversation := "/agent/conversations/" + conversationID
	at := conversation + "/motifs"
	form := url.Values{"cle": {otherID}, "etag": {`"seen"`}, "texte": {"Une réponse"}, "note": {"Une note"}, "retour": {"/agent?mains=moi"}}
	opened := b.post(at, form)
	if saved, _ := one[*messagingpb.AgentServiceSaveDraftRequest](t, f.gateway, "AgentService/SaveDraft"); saved.GetText() != "Une réponse" || saved.GetNote() != "Une note" {
		t.Errorf("saved %v", saved)
	}
	w := b.follow(opened, claire)
	b.shows(w, http.StatusOK, "Classée sous : Famille › Allocations › Paiement absent")
	if !strings.Contains(w.Body.String(), `href="`+conversation+`?retour=`) || strings.Contains(w.Body.String(), "<button class=\"link\" name=\"choix\"") {
		t.Errorf("it does not lead back to the list, or has found something: %s", w.Body)
	}
	f.calls()
	asked := b.post(at, url.Values{"q": {" virement "}, "retour": {"/agent?mains=moi"}})
	to := asked.Header().Get("Location")
	if asked.Code != http.StatusSeeOther || !strings.HasPrefix(to, at+"?r=") || strings.Contains(to, "virement") {
		t.Errorf("%d to %s", asked.Code, to)
	}
	w = b.follow(asked, claire)
	b.shows(w, http.StatusOK, "Un motif trouvé.", "Paiement absent", "Trouvé pour : virement", "Ou encore")
	if got, _ := one[*taxonomypb.SearchReasonsRequest](t, f.gateway, "TaxonomyService/SearchReasons"); got.GetQ() != "virement" || got.GetAudience() != sampleConversation().GetAudience() {
		t.Errorf("searched %v", got)
	}
	if value(w, "", "q") != "virement" {
		t.Errorf("%q is in the field", value(w, "", "q"))
	}
	b.shows(b.typing(at, "virement"), http.StatusOK, "Paiement absent")
	b.shows(b.post(at, url.Values{"q": {" "}}), http.StatusUnprocessableEntity, "Écrivez un mot ou une question.")
	f.calls()
	b.led(b.post(conversation+"/reclasser", url.Values{"choix": {"t=famille&s=allocations&m=absent"}, "retour": {"/agent?mains=moi"}}), conversation+"?retour=%2Fagent%3Fmains%3Dmoi")
	if got, _ := one[*messagingpb.RecategoriseConversationRequest](t, f.gateway, "AgentService/RecategoriseConversation"); !proto.Equal(got, &messagingpb.RecategoriseConversationRequest{Id: conversationID, Theme: "famille", Topic: "allocations", Reason: "absent"}) {
		t.Errorf("asked for %v", got)
	}
	f.on("AgentService/SaveDraft", refuses(status.Error(codes.Unavailable, "")))
	b.shows(b.post(at, form), http.StatusOK, "Ce que vous aviez écrit est ci-dessous, mais n’est pas enregistré.", "Une note")
	f.on("TaxonomyService/SearchReasons", refuses(status.Error(codes.Unavailable, "")))
	if w := b.get(to); value(w, "", "q") != "virement" || w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d: the words are not in their field: %s", w.Code, text(w))
	}
}
