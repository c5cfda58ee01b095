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
	"github.com/ma-messagerie/messagerie/web/internal/taxonomy"
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
		{at: "/messagerie?masquees=1&suite=x", who: jeanne, says: "Conversations masquées", needs: []string{"MessagingService/ListConversations", "MessagingService/ListDrafts"}},
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
		{at: "/messagerie/recherche?q=paiement", who: jeanne, says: "Paiement absent", needs: []string{"TaxonomyService/SearchReasons"}},
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
		{method: "POST", at: agents + "/noter", form: url.Values{"cle": {otherID}, "texte": {"À rappeler"}}, who: claire, to: agents, needs: []string{"AgentService/AddNote"}},
		{at: "/agent/recherche", who: claire, says: "Référence ou numéro d’adhérent"},
		{method: "POST", at: "/agent/recherche", form: url.Values{"q": {reference}}, who: claire, code: http.StatusOK, says: reference, needs: []string{"AgentService/FindConversations"}},
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
		f.trees = taxonomy.NewTrees(f.taxonomy)
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
		if p.form.Has("texte") || p.form.Has("q") {
			// What was typed stays: see TestTyped. This form does not say whose it is.
			if b.shows(w, http.StatusUnauthorized, "Votre session est terminée"); !has(w, []string{p.form.Get("texte"), p.form.Get("q")}) || b.cookies[session.Cookie] != "" {
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
	b.shows(w, http.StatusOK, "Envoyer un document", "Famille – Allocations", "Non lu", "Conversations plus anciennes")
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
		"older":                  {jeanne, map[taxonomypb.Audience][4]int32{mine: {1, 1, 0, 0}, others: {0, 1, 0, 0}}, "suite", []string{"Une réponse non lue vous attend dans vos conversations plus anciennes."}, []string{"profil "}},
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
	b.shows(b.get("/messagerie?suite=x"), http.StatusOK, "Il n’y a pas de conversation plus ancienne.")
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
	b.shows(b.get(at), http.StatusNotFound, "n’existe pas")
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
		if said := shown(fresh); !strings.Contains(said, strings.ReplaceAll(calendar.Answer(f.byLanguage["fr"], since, 3, now), "\u00a0", " ")) {
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
		f.calls()
		if said := shown(answered); strings.Contains(said, "attendue avant le") || strings.Contains(strings.Join(f.names(), " "), "GetExpectedDelay") {
			t.Errorf("%s: %s", status, said)
		}
	}
	f.on("MessagingService/GetExpectedDelay", answers(&messagingpb.GetExpectedDelayResponse{}))
	if said := shown(waiting(now)); strings.Contains(said, "attendue avant le") {
		t.Errorf("without a target: %s", said)
	}
	f.on("MessagingService/GetExpectedDelay", refuses(status.Error(codes.Unavailable, "")))
	if said := shown(waiting(now)); strings.Contains(said, "attendue avant le") || !strings.Contains(said, reference) {
		t.Errorf("while nobody can tell: %s", said)
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
	b.shows(w, http.StatusOK, "Cette conversation est conservée jusqu’au 12 mars 2031.")
	if !strings.Contains(w.Body.String(), `href="/donnees-personnelles/export"`) {
		t.Error("no link to the export")
	}
	b.cookies[render.LanguageCookie] = "en"
	b.shows(b.get(at), http.StatusOK, "This conversation is kept until 12 March 2031.")
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
	want := "Conversation " + reference + "\nFamille – Allocations – Paiement absent\nÉtat\u00a0: Répondu\n\n" +
		"Vous, 23/11/2026 à 10:30\n\nBonjour, <b>rien</b> ne vient.\n\n---\n\n" +
		"Service famille, 23/11/2026 à 11:30\n\nC’est réglé.\n\n---\n\n" +
		"Service famille, 23/11/2026 à 12:30\n\nLe virement part demain.\n\n---\n\n"
	if w.Body.String() != want || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("Content-Disposition") != `attachment; filename="`+reference+`.txt"` {
		t.Errorf("%v\n%s", w.Header(), w.Body)
	}
}
