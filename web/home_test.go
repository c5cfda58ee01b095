package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/calendar"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// row is a page and all that must be there for it.
type row struct {
	method, at string
	form       url.Values
	who        session.Session
	// code and says are what is answered when all is well, to where it leads.
	code int
	says string
	to   string
	// needs are the methods without which the page cannot be.
	needs []string
}

// Each page: as it should be, refused, with the gateway away, with the session ended.
func TestPages(t *testing.T) {
	t.Parallel()
	conversation, agents := "/messagerie/conversations/"+conversationID, "/agent/conversations/"+conversationID
	draft := "/messagerie/brouillons/" + draftID
	for _, p := range []row{
		{at: "/messagerie", who: jeanne, says: "Reprendre : Famille", needs: []string{"MessagingService/ListConversations", "MessagingService/ListDrafts"}},
		{at: "/messagerie?q=absent", who: jeanne, says: "conversations trouvées", needs: []string{"MessagingService/ListConversations"}},
		{at: "/messagerie?masquees=1&suite=x", who: jeanne, says: "Conversations masquées", needs: []string{"MessagingService/ListConversations"}},
		{at: conversation, who: jeanne, says: "Le virement part demain.", needs: []string{"MessagingService/GetConversation", "MessagingService/MarkConversationRead"}},
		{at: conversation + "/texte", who: jeanne, needs: []string{"MessagingService/GetConversation"}},
		{method: "POST", at: conversation + "/masquer", who: jeanne, to: "/messagerie", needs: []string{"MessagingService/HideConversation"}},
		{method: "POST", at: conversation + "/afficher", who: jeanne, to: "/messagerie", needs: []string{"MessagingService/ShowConversation"}},
		{method: "POST", at: conversation + "/suite", form: url.Values{"cle": {otherID}, "texte": {written}}, who: jeanne, to: conversation, needs: []string{"MessagingService/PostFollowUp"}},
		{at: "/messagerie/nouveau", who: jeanne, says: "Quel est le thème", needs: []string{"TaxonomyService/GetTaxonomy"}},
		{at: draft + "/theme", who: jeanne, says: "Quel est le thème", needs: []string{"TaxonomyService/GetTaxonomy", "MessagingService/GetDraft"}},
		{at: draft + "/message", who: jeanne, says: "Écrivez votre message", needs: []string{"MessagingService/GetDraft"}},
		{at: draft + "/recapitulatif", who: jeanne, says: written, needs: []string{"MessagingService/GetDraft"}},
		{method: "POST", at: draft + "/theme", form: url.Values{"theme": {"retraite"}}, who: jeanne, to: draft + "/sujet", needs: []string{"MessagingService/GetDraft", "MessagingService/SaveDraft"}},
		{method: "POST", at: draft + "/envoyer", form: recapForm(written), who: jeanne, to: "/messagerie/confirmation/" + conversationID, needs: []string{"MessagingService/SubmitMessage"}},
		{method: "POST", at: draft + "/supprimer", who: jeanne, to: "/messagerie", needs: []string{"MessagingService/DeleteDraft"}},
		{at: draft + "/service/paiements", who: jeanne, to: "https://services.example.org/paiements", needs: []string{"MessagingService/GetDraft", "TaxonomyService/ResolveSuggestion"}},
		{at: "/messagerie/confirmation/" + conversationID, who: jeanne, says: reference, needs: []string{"MessagingService/GetConversation"}},
		{method: "POST", at: "/messagerie/recherche", form: url.Values{"choix": {"t=famille"}}, who: jeanne, needs: []string{"TaxonomyService/GetTaxonomy", "MessagingService/SaveDraft"}, code: http.StatusSeeOther},
		{at: "/preferences", who: jeanne, says: "jeanne@example.org", needs: []string{"MessagingService/GetPreferences"}},
		{method: "POST", at: "/preferences", form: url.Values{"langue": {"fr"}}, who: jeanne, to: "/preferences", needs: []string{"MessagingService/ReplacePreferences"}},
		{at: "/donnees-personnelles", who: jeanne, says: "Vos données"},
		{at: "/donnees-personnelles/export", who: jeanne, needs: []string{"MessagingService/ExportMyData"}},
		{method: "POST", at: "/donnees-personnelles/effacement", form: url.Values{"confirmer": {"oui"}}, who: jeanne, to: "/donnees-personnelles", needs: []string{"MessagingService/EraseMyData"}},
		{at: "/espace", who: jeanne, says: "espace"},
		{at: "/espace/contact", who: jeanne, says: "Mes messages"},
		{at: "/espace/messages", who: jeanne, says: "Accéder à la messagerie"},
		{at: "/profil", who: jeanne, says: "profil"},

		{at: "/agent", who: claire, says: "Service famille (7)", needs: []string{"AgentService/ListConversations", "AgentService/ListQueues"}},
		{at: agents, who: claire, says: "Le virement part demain.", needs: []string{"AgentService/GetConversation", "AgentService/ListTemplates", "AgentService/ListQueues"}},
		{method: "POST", at: agents + "/prendre", who: claire, to: agents, needs: []string{"AgentService/ClaimConversation"}},
		{method: "POST", at: agents + "/confier", form: url.Values{"agent": {"agents:sofiane"}}, who: claire, to: agents, needs: []string{"AgentService/AssignConversation"}},
		{method: "POST", at: agents + "/reprendre", who: claire, to: agents, needs: []string{"AgentService/TakeOverConversation"}},
		{method: "POST", at: agents + "/relacher", who: claire, to: "/agent", needs: []string{"AgentService/ReleaseConversation"}},
		{method: "POST", at: agents + "/clore", who: claire, to: agents, needs: []string{"AgentService/CloseConversation"}},
		{method: "POST", at: agents + "/rouvrir", who: claire, to: agents, needs: []string{"AgentService/ReopenConversation"}},
		{method: "POST", at: agents + "/transfert", form: url.Values{"file": {"retraite"}}, who: claire, to: "/agent", needs: []string{"AgentService/TransferConversation"}},
		{method: "POST", at: agents + "/reclasser", form: url.Values{"choix": {"famille/logement/demande"}}, who: claire, to: agents, needs: []string{"AgentService/RecategoriseConversation"}},
		{method: "POST", at: agents + "/repondre", form: url.Values{"cle": {otherID}, "texte": {"Bonjour"}, "faire": {"envoyer"}}, who: claire, to: agents, needs: []string{"AgentService/PostReply"}},
		{method: "POST", at: agents + "/noter", form: url.Values{"cle": {otherID}, "note": {"À rappeler"}}, who: claire, to: agents, needs: []string{"AgentService/AddNote"}},
		{at: agents + "/motifs", who: claire, says: "Reclasser la conversation", needs: []string{"AgentService/GetConversation"}},
		{method: "POST", at: agents + "/motifs", form: url.Values{"q": {"virement"}}, who: claire, code: http.StatusSeeOther},
		{at: "/agent/recherche", who: claire, says: "Référence ou numéro d’adhérent"},
		{method: "POST", at: "/agent/recherche", form: url.Values{"q": {reference}}, who: claire, code: http.StatusSeeOther},
		{at: "/agent/audit", who: claire, says: "a lu la conversation", needs: []string{"AgentService/ListAuditEntries"}},
		{method: "POST", at: "/agent/audit", form: url.Values{"conversation": {conversationID}}, who: claire, to: "/agent/audit?conversation=" + conversationID},
		{at: "/agent/statistiques", who: claire, says: "3,0 j", needs: []string{"AgentService/GetStatistics"}},
		{at: "/agent/modeles", who: claire, says: "Accusé", needs: []string{"AgentService/ListTemplates", "AgentService/ListQueues"}},
		{method: "POST", at: "/agent/modeles", form: url.Values{"id": {otherID}, "titre": {"Accusé"}, "texte": {"Bonjour"}}, who: claire, to: "/agent/modeles", needs: []string{"AgentService/SaveTemplate"}},
		{method: "POST", at: "/agent/modeles/" + otherID + "/supprimer", who: claire, to: "/agent/modeles", needs: []string{"AgentService/DeleteTemplate"}},
	} {
		t.Run(strings.ReplaceAll(strings.TrimPrefix(p.method+p.at, "/"), "/", "_"), func(t *testing.T) {
			t.Parallel()
			p.check(t)
		})
	}
}

func (p row) check(t *testing.T) {
	f := newFront(t)
	// ask sends the request while a method is answered otherwise.
	ask := func(method string, answer script) (*browser, *httptest.ResponseRecorder) {
		f.keep(selected(written))
		f.forgetTrees()
		if method != "" {
			well := f.scripts[method]
			f.on(method, answer)
			defer f.on(method, well)
		}
		b := f.browse(t, p.who)
		if p.method == "POST" {
			return b, b.post(p.at, p.form)
		}
		return b, b.get(p.at)
	}
	b, w := ask("", nil)
	want := p.code
	switch {
	case p.to != "":
		want = http.StatusSeeOther
	case want == 0:
		want = http.StatusOK
	}
	if w.Code != want || p.to != "" && w.Header().Get("Location") != p.to {
		t.Errorf("answered %d to %q, want %d to %q", w.Code, w.Header().Get("Location"), want, p.to)
	}
	if p.says != "" {
		b.shows(w, want, p.says)
	}
	if strings.Contains(w.Body.String(), "%!") || strings.Contains(w.Body.String(), "<no value>") {
		t.Errorf("a placeholder is left open: %s", w.Body)
	}
	for _, needed := range p.needs {
		for code, answer := range map[codes.Code]int{codes.Unavailable: http.StatusServiceUnavailable, codes.PermissionDenied: http.StatusForbidden, codes.Internal: http.StatusInternalServerError} {
			b, w := ask(needed, refuses(refused(code, "", nil)))
			b.shows(w, answer)
		}
		b, w := ask(needed, refuses(status.Error(codes.Unauthenticated, "")))
		if needed == "TaxonomyService/GetTaxonomy" {
			continue // it is asked for without anybody's token
		}
		if p.form.Has("texte") || p.form.Has("note") || p.form.Has("q") {
			// What was typed stays: see TestTyped. This form does not say whose it is.
			if b.shows(w, http.StatusUnauthorized, "Votre session est terminée"); !has(w, []string{p.form.Get("texte"), p.form.Get("note"), p.form.Get("q")}) || b.cookies[session.Cookie] != "" {
				t.Errorf("what was typed is lost, or the session goes on, ended for %s", needed)
			}
			continue
		}
		if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || !strings.HasPrefix(to, "/connexion?pour="+string(p.who.Realm)+"&retour=") || b.cookies[session.Cookie] != "" {
			t.Errorf("when the session has ended for %s: %d to %q", needed, w.Code, to)
		}
	}
	// Nothing is asked for anybody who is not signed in, or on the other side.
	f.calls()
	stranger := &browser{t: t, front: f, cookies: map[string]string{}}
	if w := stranger.get(p.at); p.method == "" && (w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/connexion?")) {
		t.Errorf("a stranger: %d to %q", w.Code, w.Header().Get("Location"))
	}
	wrong := claire
	if p.who.Realm == session.Agent {
		wrong = jeanne
	}
	if w := f.browse(t, wrong).get(p.at); p.method == "" && w.Code != http.StatusForbidden {
		t.Errorf("the other side: %d", w.Code)
	}
	if calls := f.names(); len(calls) != 0 {
		t.Errorf("for them, %v is asked for", calls)
	}
}

// The first page has the number of unread replies of its own list; it asks once.
func TestHome(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	f.on("MessagingService/ListConversations", answers(&messagingpb.ListConversationsResponse{Conversations: []*messagingpb.Conversation{sampleConversation()}, NextPageToken: "suite-2", UnreadCount: 1}))
	w := b.get("/messagerie")
	b.shows(w, http.StatusOK, "Envoyer un document", "Famille – Allocations", "Non lu", "Conversations suivantes")
	if n := strings.Count(strings.Join(f.names(), " "), "ListConversations"); n != 1 {
		t.Errorf("the list is read %d times", n)
	}
	if !strings.Contains(w.Body.String(), `id="unread">1<`) {
		t.Error("the number of unread replies is not in the head")
	}
	if strings.Contains(w.Body.String(), otherID) {
		t.Error("another profile's draft is listed")
	}
	b.get("/messagerie?masquees=1&suite=xyz")
	got, _ := one[*messagingpb.ListConversationsRequest](t, f.gateway, "MessagingService/ListConversations")
	if !got.GetHidden() || got.GetPageToken() != "xyz" || got.GetAudience() != taxonomypb.Audience_PARTICULIER {
		t.Errorf("asked for %v", got)
	}
	// Without the taxonomy, the list is worth showing.
	f = newFront(t)
	f.on("TaxonomyService/GetTaxonomy", refuses(status.Error(codes.Unavailable, "")))
	b = f.browse(t, jeanne)
	b.shows(b.get("/messagerie"), http.StatusOK, "message commencé", reference)
	f.on("MessagingService/ListConversations", answers(&messagingpb.ListConversationsResponse{}))
	w = b.get("/messagerie")
	b.shows(w, http.StatusOK, "pas encore de conversation")
	if !strings.Contains(w.Body.String(), `id="unread" hidden>`) {
		t.Error("the head shows that nothing is unread")
	}
	// Elsewhere the number comes with the stream of hints.
	if w := b.get("/espace"); !strings.Contains(w.Body.String(), `id="unread" hidden>`) || len(f.calls()) == 0 {
		t.Errorf("elsewhere: %s", w.Body)
	}
}

// A line has what its member recognises the conversation by, and what is to be expected of it.
// Whatever comes of a search of the list, its words are on the page.
func TestList_WordsOfASearchThatFails(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.on("MessagingService/ListConversations", refuses(status.Error(codes.Unavailable, "")))
	b := f.browse(t, jeanne)
	w := b.get("/messagerie?q=prime%20%3Cb%3E%20" + strings.Repeat("x", 200))
	b.shows(w, http.StatusServiceUnavailable, "Vous cherchiez :", "prime <b> "+strings.Repeat("x", 90))
	if want := "<bdi>prime &lt;b&gt; " + strings.Repeat("x", 90) + "</bdi>"; !strings.Contains(w.Body.String(), want) {
		t.Errorf("the page lacks %s: more is shown than the field takes, or as it came", want)
	}
	b.shows(f.browse(t, claire).get("/messagerie?q=prime"), http.StatusForbidden, "Vous cherchiez :", "prime")
	if body := b.get("/messagerie").Body.String(); strings.Contains(body, "Vous cherchiez") {
		t.Error("nothing was looked for")
	}
}

func TestHome_Lines(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	now := time.Now()
	open, answered, bare := waiting(now), sampleConversation(), sampleConversation()
	open.Excerpt, open.UpdateTime = "Bonjour, <b>où</b> en est…", open.GetCreateTime()
	answered.Excerpt, answered.UpdateTime, answered.ExpectedDelay = "שלום", timestamppb.New(sent.Add(24*time.Hour)), open.GetExpectedDelay()
	bare.Topic, bare.Reason, bare.Unread = nil, nil, false
	list := func(all ...*messagingpb.Conversation) string {
		f.on("MessagingService/ListConversations", answers(&messagingpb.ListConversationsResponse{Conversations: all}))
		w := b.get("/messagerie")
		b.shows(w, http.StatusOK)
		return w.Body.String()
	}
	body := list(open)
	for _, want := range []string{"Famille – Allocations – Paiement absent", `<p class="words" dir="auto">Bonjour, &lt;b&gt;où&lt;/b&gt; en est…</p>`, calendar.Answer(f.ByLanguage["fr"], now, 3, now)} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in a line: %s", want, body)
		}
	}
	for _, not := range []string{"dernier changement", "Non lu"} {
		if strings.Contains(body, not) {
			t.Errorf("%q is in a line of what was just sent", not)
		}
	}
	if body = list(answered); !strings.Contains(body, `dir="auto">שלום<`) || !strings.Contains(body, "dernier changement le 24/11/2026 à 10 h 30") || strings.Contains(body, "attendue avant le") || !strings.Contains(body, "Non lu") {
		t.Errorf("answered: %s", body)
	}
	if body = list(bare); strings.Contains(body, "Famille –") || strings.Count(body, `class="words"`) != 1 /* the draft's */ || strings.Contains(body, `rel="next"`) || strings.Contains(body, `rel="prev"`) {
		t.Errorf("bare: %s", body)
	}
}

// A search keeps its words on each page that it leads to, says how many it has found, and leads
// back; and so do the pages of the list.
func TestHome_SearchAndPages(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	some := func(n int) []*messagingpb.Conversation {
		list := make([]*messagingpb.Conversation, n)
		for i := range list {
			list[i] = sampleConversation()
		}
		return list
	}
	const prev, next = `<a rel="prev" href="`, `<a rel="next" href="`
	for _, row := range []struct {
		at     string
		answer *messagingpb.ListConversationsResponse
		asked  *messagingpb.ListConversationsRequest
		says   []string
		has    []string
		not    []string
	}{
		{
			"/messagerie?q=+l%27%22absent+", &messagingpb.ListConversationsResponse{Conversations: some(1), UnreadCount: 7}, &messagingpb.ListConversationsRequest{Q: `l'"absent`},
			[]string{`Une conversation trouvée pour « l'"absent »`, "Toutes vos conversations", "Chercher dans les conversations masquées"},
			[]string{`name="q" value="l&#39;&#34;absent"`, `href="/messagerie?masquees=1&amp;q=l%27%22absent"`, `class="back" href="/messagerie"`, "<h2><a"},
			[]string{"vous attend", "Vos brouillons", "Rédiger", prev, next},
		},
		{
			"/messagerie?q=absent", &messagingpb.ListConversationsResponse{Conversations: some(20), NextPageToken: "n-2"}, &messagingpb.ListConversationsRequest{Q: "absent"},
			[]string{"Plus de 20 conversations trouvées"},
			[]string{next + `/messagerie?q=absent&amp;suite=n-2"`},
			[]string{prev},
		},
		{
			"/messagerie?q=absent&suite=n-2", &messagingpb.ListConversationsResponse{Conversations: some(2), PreviousPageToken: "p-1"}, &messagingpb.ListConversationsRequest{Q: "absent", PageToken: "n-2"},
			[]string{"Suite des conversations trouvées pour « absent »"},
			[]string{prev + `/messagerie?q=absent&amp;suite=p-1"`},
			[]string{next, "Plus de"},
		},
		{
			"/messagerie?q=absent&masquees=1", &messagingpb.ListConversationsResponse{Conversations: some(2)}, &messagingpb.ListConversationsRequest{Q: "absent", Hidden: true},
			[]string{"2 conversations trouvées pour « absent »", "Toutes les conversations masquées"},
			[]string{`name="masquees" value="1"`, `class="back" href="/messagerie?masquees=1"`},
			[]string{"Chercher dans"},
		},
		{
			"/messagerie?q=zzz", &messagingpb.ListConversationsResponse{}, &messagingpb.ListConversationsRequest{Q: "zzz"},
			[]string{"Aucune conversation affichée ne correspond à « zzz »."},
			[]string{`value="zzz"`, `<a href="/messagerie">`},
			[]string{"pas encore", "trouvée"},
		},
		{
			"/messagerie?q=zzz&masquees=1", &messagingpb.ListConversationsResponse{}, &messagingpb.ListConversationsRequest{Q: "zzz", Hidden: true},
			[]string{"Aucune conversation masquée ne correspond à « zzz »."},
			nil,
			[]string{"n’est masquée"},
		},
		{
			"/messagerie?suite=n-2", &messagingpb.ListConversationsResponse{Conversations: some(1), PreviousPageToken: "p-1", NextPageToken: "n-3"}, &messagingpb.ListConversationsRequest{PageToken: "n-2"},
			[]string{"Conversations précédentes", "Conversations suivantes", "Chercher une conversation"},
			[]string{prev + `/messagerie?suite=p-1"`, next + `/messagerie?suite=n-3"`, `class="back" href="/messagerie"`},
			[]string{"trouvée", "Vos brouillons"},
		},
		{
			"/messagerie?suite=p-1", &messagingpb.ListConversationsResponse{Conversations: some(1), NextPageToken: "n-2"}, &messagingpb.ListConversationsRequest{PageToken: "p-1"},
			[]string{"Vos brouillons", "Rédiger un nouveau message"},
			[]string{"<h3><a", next + `/messagerie?suite=n-2"`},
			[]string{`class="back"`, prev},
		},
		{
			"/messagerie?suite=n-2&masquees=1", &messagingpb.ListConversationsResponse{Conversations: some(1), NextPageToken: "n-3"}, &messagingpb.ListConversationsRequest{PageToken: "n-2", Hidden: true},
			nil,
			[]string{next + `/messagerie?masquees=1&amp;suite=n-3"`, `class="back" href="/messagerie?masquees=1"`},
			nil,
		},
		{
			"/messagerie?q=" + strings.Repeat("%C3%A9", 101), &messagingpb.ListConversationsResponse{}, &messagingpb.ListConversationsRequest{Q: strings.Repeat("é", 100)}, nil, nil, nil,
		},
	} {
		f.on("MessagingService/ListConversations", answers(row.answer))
		f.calls()
		w := b.get(row.at)
		b.shows(w, http.StatusOK, row.says...)
		got, _ := one[*messagingpb.ListConversationsRequest](t, f.gateway, "MessagingService/ListConversations")
		row.asked.Audience, row.asked.OrderBy = taxonomypb.Audience_PARTICULIER, "unread"
		if !proto.Equal(got, row.asked) {
			t.Errorf("%s asks for %v", row.at, got)
		}
		body := w.Body.String()
		_, main, _ := strings.Cut(body, "<main")
		for _, has := range row.has {
			if !strings.Contains(body, has) {
				t.Errorf("%s: %q is missing: %s", row.at, has, main)
			}
		}
		for _, not := range row.not {
			if strings.Contains(main, not) {
				t.Errorf("%s: %q is there: %s", row.at, not, main)
			}
		}
	}
}

// A draft says what it is of, how it begins and until when it is kept.
func TestHome_Drafts(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	f.on("MessagingService/ListDrafts", answers(&messagingpb.ListDraftsResponse{Drafts: []*messagingpb.Draft{
		{Id: draftID, Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille", Excerpt: "Bonjour, je <u>…", UpdateTime: timestamppb.New(sent), ExpireTime: timestamppb.New(sent.AddDate(0, 0, 7))},
		{Id: conversationID, ConversationId: conversationID, ConversationReference: "MSA-2222222A", Excerpt: "Encore un mot", UpdateTime: timestamppb.New(sent), ExpireTime: timestamppb.New(sent.AddDate(0, 0, 6))},
		{Id: otherID, Audience: taxonomypb.Audience_EXPLOITANT, Excerpt: "Un autre profil", UpdateTime: timestamppb.New(sent)},
	}}))
	w := b.get("/messagerie")
	b.shows(w, http.StatusOK, "Reprendre : Famille", "Enregistré le 23/11/2026 à 10 h 30, conservé jusqu’au 30/11/2026 à 10 h 30", "Reprendre : suite de MSA-2222222A", "Encore un mot", "conservé jusqu’au 29/11/2026 à 10 h 30")
	for _, want := range []string{`<p class="words" dir="auto">Bonjour, je &lt;u&gt;…</p>`, `href="/messagerie/conversations/` + conversationID + `#text"`, `/brouillons/` + conversationID + `/supprimer`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q is missing: %s", want, w.Body)
		}
	}
	if strings.Contains(w.Body.String(), "Un autre profil") {
		t.Error("a draft of a profile that the member does not have is listed")
	}
	b.cookies[render.LanguageCookie] = "en"
	b.shows(b.get("/messagerie"), http.StatusOK, "further message in MSA-2222222A", "Saved on 23 Nov 2026, 10:30, kept until 30 Nov 2026, 10:30")
}

// listOf answers with as many conversations of each profile as are given: shown read, shown
// unread, hidden read, hidden unread.
func listOf(all map[taxonomypb.Audience][4]int32, next string) script {
	return func(request proto.Message) ([]proto.Message, error) {
		req := request.(*messagingpb.ListConversationsRequest)
		resp := &messagingpb.ListConversationsResponse{NextPageToken: next}
		for audience, n := range all {
			resp.UnreadCount += n[1] + n[3]
			if audience != req.GetAudience() {
				continue
			}
			first := 0
			if req.GetHidden() {
				first = 2
			}
			for i := range n[first] + n[first+1] {
				c := sampleConversation()
				c.Unread = i < n[first+1]
				resp.Conversations = append(resp.Conversations, c)
			}
		}
		return []proto.Message{resp}, nil
	}
}

// What the head counts and the list does not show is said, with the way there; and an empty
// list says why.
func TestHome_Elsewhere(t *testing.T) {
	t.Parallel()
	const mine, others = taxonomypb.Audience_PARTICULIER, taxonomypb.Audience_EXPLOITANT
	marc := jeanne
	marc.Profiles = []string{"PARTICULIER", "EXPLOITANT"}
	for name, row := range map[string]struct {
		who  session.Session
		all  map[taxonomypb.Audience][4]int32
		next string
		says []string
		not  []string
	}{
		"all is here":            {marc, map[taxonomypb.Audience][4]int32{mine: {1, 1, 1, 0}, others: {4, 0, 0, 0}}, "", nil, []string{"vous attend"}},
		"under another profile":  {marc, map[taxonomypb.Audience][4]int32{mine: {1, 0, 0, 0}, others: {0, 1, 0, 0}}, "", []string{"Une réponse non lue vous attend sous le profil Exploitant.", "Passer au profil Exploitant"}, []string{"masquées sous", "pas encore"}},
		"hidden":                 {jeanne, map[taxonomypb.Audience][4]int32{mine: {1, 1, 0, 2}}, "", []string{"2 réponses non lues vous attendent dans vos conversations masquées."}, []string{"profil "}},
		"hidden there":           {marc, map[taxonomypb.Audience][4]int32{mine: {1, 0, 0, 0}, others: {0, 0, 0, 1}}, "", []string{"dans vos conversations masquées sous le profil Exploitant."}, nil},
		"older":                  {jeanne, map[taxonomypb.Audience][4]int32{mine: {1, 1, 0, 0}, others: {0, 1, 0, 0}}, "suite", []string{"Une réponse non lue vous attend dans les conversations suivantes."}, []string{"profil "}},
		"none at all":            {jeanne, nil, "", []string{"Vous n’avez pas encore de conversation. Pour"}, []string{"masquées sous", "vous attend"}},
		"none under the profile": {marc, map[taxonomypb.Audience][4]int32{others: {2, 0, 0, 0}}, "", []string{"Vous n’avez pas encore de conversation sous le profil Particulier."}, nil},
		"all hidden":             {jeanne, map[taxonomypb.Audience][4]int32{mine: {0, 0, 2, 0}}, "", []string{"Toutes vos conversations sont masquées."}, []string{"pas encore"}},
	} {
		f := newFront(t)
		b := f.browse(t, row.who)
		f.on("MessagingService/ListConversations", listOf(row.all, row.next))
		w := b.get("/messagerie")
		b.shows(w, http.StatusOK, row.says...)
		for _, not := range row.not {
			if strings.Contains(text(w), not) {
				t.Errorf("%s: %q is on the page: %s", name, not, text(w))
			}
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
	f := newFront(t)
	f.on("MessagingService/ListConversations", listOf(nil, ""))
	b := f.browse(t, jeanne)
	b.shows(b.get("/messagerie?masquees=1"), http.StatusOK, "Aucune conversation n’est masquée.")
	b.shows(b.get("/messagerie?suite=x"), http.StatusOK, "Il n’y a pas d’autre conversation.")
	// Where nobody can tell, nothing is claimed.
	f.on("MessagingService/ListConversations", func(request proto.Message) ([]proto.Message, error) {
		if request.(*messagingpb.ListConversationsRequest).GetHidden() {
			return nil, status.Error(codes.Unavailable, "")
		}
		return []proto.Message{&messagingpb.ListConversationsResponse{UnreadCount: 1}}, nil
	})
	b.shows(b.get("/messagerie"), http.StatusOK, "Aucune conversation n’est affichée.")
}

func TestConversation(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/conversations/" + conversationID
	w := b.get(at)
	b.shows(w, http.StatusOK, "Famille – Allocations – Paiement absent", reference, "Bonjour, <b>rien</b> ne vient.", "Le SMS de confirmation vous est parvenu.", "L’e-mail d’annonce de la réponse va partir.")
	if got, _ := one[*messagingpb.MarkConversationReadRequest](t, f.gateway, "MessagingService/MarkConversationRead"); got.GetMessageId() != lastID {
		t.Errorf("read up to %q, not to what is shown", got.GetMessageId())
	}
	// What is new begins with the first of the agent's last messages.
	_, first, _ := strings.Cut(w.Body.String(), `id="m-m2"`)
	if before, _, _ := strings.Cut(first, `id="m-`+lastID+`"`); !strings.Contains(before, "Nouveau") || strings.Count(w.Body.String(), ">Nouveau<") != 1 {
		t.Error("the first new message is not marked")
	}
	// The steps and the deliveries are in the order of time.
	said := text(w)
	if a, b, c := strings.Index(said, "Votre message est reçu"), strings.Index(said, "vous est parvenu"), strings.Index(said, "vous avons répondu"); a < 0 || a > b || b > c {
		t.Errorf("not in order: %s", said)
	}
	read := sampleConversation()
	read.Unread, read.Status = false, messagingpb.Status_CLOSED
	f.on("MessagingService/GetConversation", answers(&messagingpb.GetConversationResponse{Conversation: read}))
	f.on("NotifierService/ListDeliveries", refuses(status.Error(codes.Unavailable, "")))
	f.calls()
	b.shows(b.get(at), http.StatusOK, "Cette conversation est close.", "Votre message est reçu")
	if calls := strings.Join(f.names(), " "); strings.Contains(calls, "MarkConversationRead") {
		t.Errorf("what was read is marked again: %s", calls)
	}
	f.on("MessagingService/GetConversation", refuses(status.Error(codes.NotFound, "")))
	b.shows(b.get(at), http.StatusNotFound, "n’est pas disponible")
}

// By when an answer is expected is said as long as there is none, and where the target is
// known.
func TestConversation_Expected(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/conversations/" + conversationID
	shown := func(c *messagingpb.Conversation) string {
		f.on("MessagingService/GetConversation", answers(&messagingpb.GetConversationResponse{Conversation: c}))
		return text(b.get(at))
	}
	now := time.Now()
	for _, since := range []time.Time{now, now.AddDate(0, 0, -30)} {
		fresh := waiting(since)
		if said := shown(fresh); !strings.Contains(said, strings.ReplaceAll(calendar.Answer(f.ByLanguage["fr"], since, 3, now), "\u00a0", " ")) {
			t.Errorf("since %s: %s", since, said)
		}
		fresh.Status = messagingpb.Status_IN_PROGRESS
		if said := shown(fresh); !strings.Contains(said, "attendue avant le") {
			t.Errorf("claimed: %s", said)
		}
	}
	for _, status := range []messagingpb.Status{messagingpb.Status_ANSWERED, messagingpb.Status_PARTLY_ANSWERED, messagingpb.Status_CLOSED, messagingpb.Status_REOPENED, messagingpb.Status_WAITING_FOR_MEMBER} {
		answered := waiting(now)
		answered.Status = status
		if said := shown(answered); strings.Contains(said, "attendue avant le") {
			t.Errorf("%s: %s", status, said)
		}
	}
	untold := waiting(now)
	untold.ExpectedDelay = nil
	if said := shown(untold); strings.Contains(said, "attendue avant le") || !strings.Contains(said, reference) {
		t.Errorf("without a target: %s", said)
	}
}

// Until when a conversation is kept is what the service says, and nothing where it says
// nothing.
func TestConversation_Expiry(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/conversations/" + conversationID
	if w := b.get(at); strings.Contains(text(w), "est conservée") {
		t.Errorf("without a term: %s", text(w))
	}
	ended := sampleConversation()
	ended.Unread, ended.Status = false, messagingpb.Status_CLOSED
	ended.ExpireTime = timestamppb.New(time.Date(2031, time.March, 11, 23, 30, 0, 0, time.UTC)) // the next day in Paris
	f.on("MessagingService/GetConversation", answers(&messagingpb.GetConversationResponse{Conversation: ended}))
	w := b.get(at)
	b.shows(w, http.StatusOK, "Cette conversation est conservée au moins jusqu’au 12 mars 2031.")
	if !strings.Contains(w.Body.String(), `href="/donnees-personnelles/export"`) {
		t.Error("no link to the export")
	}
	b.cookies[render.LanguageCookie] = "en"
	b.shows(b.get(at), http.StatusOK, "This conversation is kept at least until 12 March 2031.")
}

func TestConversation_FollowUp(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/conversations/" + conversationID
	b.led(b.post(at+"/suite", url.Values{"cle": {otherID}, "texte": {written}}), at)
	if got, header := one[*messagingpb.PostFollowUpRequest](t, f.gateway, "MessagingService/PostFollowUp"); got.GetId() != conversationID || got.GetText() != written || strings.Join(header.Get("idempotency-key"), ",") != otherID {
		t.Errorf("sent %v under %v", got, header.Get("idempotency-key"))
	}
	b.led(b.post(at+"/suite", url.Values{"cle": {"not a key"}, "texte": {written}}), at)
	for _, call := range f.names() {
		if call == "MessagingService/PostFollowUp" {
			t.Error("sent without a key")
		}
	}
	f.on("MessagingService/PostFollowUp", refuses(refused(codes.InvalidArgument, "BODY_TOO_SHORT", map[string]string{"limit": "10", "actual": "3"}, "text")))
	w := b.post(at+"/suite", url.Values{"cle": {otherID}, "texte": {"Bon"}})
	b.shows(w, http.StatusUnprocessableEntity, "Écrivez au moins 10 caractères. Votre texte en compte 3.", "Bon")
	if !strings.Contains(w.Body.String(), `name="cle" value="`+otherID+`"`) {
		t.Error("the key is not kept")
	}
	f.on("MessagingService/PostFollowUp", refuses(refused(codes.FailedPrecondition, "CONVERSATION_CLOSED", nil)))
	b.shows(b.post(at+"/suite", url.Values{"cle": {otherID}, "texte": {written}}), http.StatusConflict, "Cette conversation est close")
}

func TestConversation_Text(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	w := f.browse(t, jeanne).get("/messagerie/conversations/" + conversationID + "/texte")
	want := "Conversation " + reference + "\nFamille – Allocations – Paiement absent\nÉtat\u00a0: Réponse donnée\n\n" +
		"Vous, 23/11/2026 à 10 h 30\n\nBonjour, <b>rien</b> ne vient.\n\n---\n\n" +
		"Service famille, 23/11/2026 à 11 h 30\n\nC’est réglé.\n\n---\n\n" +
		"Service famille, 23/11/2026 à 12 h 30\n\nLe virement part demain.\n\n---\n\n"
	if w.Body.String() != want || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("Content-Disposition") != `attachment; filename="`+reference+`.txt"` {
		t.Errorf("%v\n%s", w.Header(), w.Body)
	}
}
