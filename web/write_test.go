package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/calendar"
	"github.com/ma-messagerie/messagerie/web/internal/receipt"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/visit"
	"github.com/ma-messagerie/messagerie/web/internal/window"
)

// callsMost bounds what one message may ask of the gateway, of the 40 that a caller may
// ask at once: from "new" to the confirmation, the taxonomy not kept yet.
const callsMost = 19

const written = "Bonjour, mon paiement n’est pas arrivé."

// selected is a draft with a whole selection.
func selected(words string) *messagingpb.Draft {
	return &messagingpb.Draft{Id: draftID, Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille", Topic: "allocations", Reason: "absent", Text: words}
}

// recapForm is what the recap's page sends.
func recapForm(words string) url.Values {
	return url.Values{"theme": {"famille"}, "topic": {"allocations"}, "reason": {"absent"}, "version": {"3"}, "texte": {words}}
}

func TestWrite_OneMessage(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	w := b.get("/messagerie/nouveau")
	b.shows(w, http.StatusOK, "Étape 1 sur 5", "Quel est le thème", "Famille", "Prestations")
	_, after, _ := strings.Cut(w.Body.String(), `action="/messagerie/brouillons/`)
	id, _, _ := strings.Cut(after, "/")
	at := "/messagerie/brouillons/" + id + "/"
	w = b.led(b.post(at+"theme", url.Values{"theme": {"famille"}}), at+"sujet")
	b.shows(w, http.StatusOK, "Étape 2 sur 5", "Quel est le sujet", "Allocations", "Logement")
	w = b.led(b.post(at+"sujet", url.Values{"topic": {"allocations"}}), at+"motif")
	b.shows(w, http.StatusOK, "Étape 3 sur 5", "Quel est le motif", "Paiement en retard")
	w = b.led(b.post(at+"motif", url.Values{"reason": {"absent"}}), at+"message")
	b.shows(w, http.StatusOK, "Un service en ligne peut vous répondre plus vite", "« Consulter mes paiements » peut vous répondre tout de suite.", "J’utilise le service en ligne", calendar.Announced(f.ByLanguage["fr"], time.Now(), 3), "Famille › Allocations › Paiement absent", "Entre 10 et 750 caractères")
	w = b.led(b.post(at+"message", recapForm(written)), at+"recapitulatif")
	b.shows(w, http.StatusOK, "Étape 5 sur 5", written, "Paiement absent")
	sending := recapForm(written)
	sending.Set("etag", `"seen"`)
	w = b.led(b.post(at+"envoyer", sending), "/messagerie/confirmation/"+conversationID)
	b.shows(w, http.StatusOK, reference, "Reçu le lundi 23 novembre 2026 par : Service famille", "avant le vendredi 27 novembre",
		"Un accusé de réception part à j…e@example.org, et un SMS de confirmation au 06 .. .. .. 78.")
	calls := f.calls()
	if len(calls) > callsMost {
		t.Errorf("one message takes %d calls of the gateway, more than %d", len(calls), callsMost)
	}
	deleted := ""
	for _, call := range calls {
		if gone, ok := call.request.(*messagingpb.DeleteDraftRequest); ok {
			deleted = gone.GetId()
		}
		request, ok := call.request.(*messagingpb.SubmitMessageRequest)
		if !ok {
			continue
		}
		want := &messagingpb.SubmitMessageRequest{Audience: 1, Theme: "famille", Topic: "allocations", Reason: "absent", TaxonomyVersion: 3, Text: written}
		if !proto.Equal(request, want) || strings.Join(call.header.Get("idempotency-key"), ",") != id {
			t.Errorf("sent %v under %v", request, call.header.Get("idempotency-key"))
		}
	}
	if deleted != id {
		t.Errorf("the draft deleted is %q", deleted)
	}
	t.Logf("%d calls", len(calls))
	// The next message finds the taxonomy kept.
	b.get("/messagerie/nouveau")
	if calls := f.names(); len(calls) != 0 {
		t.Errorf("a second message begins with %v", calls)
	}
}

// The confirmation says the same when it is loaded again from memory, all but where the
// acknowledgement went without, and nothing to whom it does not concern.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/confirmation/" + conversationID
	f.on("MessagingService/GetConversation", answers(&messagingpb.GetConversationResponse{Conversation: waiting(sent)}))
	first := b.led(b.post("/messagerie/brouillons/"+draftID+"/envoyer", recapForm(written)), at)
	f.calls()
	if again := b.get(at); text(again) != text(first) || again.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("loaded again: %s, %s", text(again), again.Header())
	}
	if calls := f.names(); len(calls) != 0 {
		t.Errorf("loaded again, it asks for %v", calls)
	}
	for name, change := range map[string]func(*browser){
		"later": func(b *browser) { delete(b.cookies, receipt.Cookie) },
		"in a new session": func(b *browser) {
			kept := b.cookies[receipt.Cookie]
			*b = *f.browse(t, other(jeanne, "again"))
			b.cookies[receipt.Cookie] = kept
		},
		"a cookie made up":   func(b *browser) { b.cookies[receipt.Cookie] = strings.Repeat("A", 100) },
		"a session's cookie": func(b *browser) { b.cookies[receipt.Cookie] = b.cookies["__Host-session"] },
	} {
		b := f.browse(t, jeanne)
		b.post("/messagerie/brouillons/"+draftID+"/envoyer", recapForm(written))
		change(b)
		f.calls()
		w := b.get(at)
		said := strings.ReplaceAll(text(first), "Un accusé de réception part à j…e@example.org, et un SMS de confirmation au 06 .. .. .. 78. ", "")
		if said = strings.ReplaceAll(said, "Un e-mail vous prévient dès que la réponse est là. Un SMS vous l’annonce aussi. ", ""); text(w) != said || said == text(first) {
			t.Errorf("%s: %s", name, text(w))
		}
		if calls := f.names(); len(calls) != 1 || calls[0] != "MessagingService/GetConversation" {
			t.Errorf("%s, it asks for %v", name, calls)
		}
	}
	// Of another conversation, and of nobody who may see it.
	f.on("MessagingService/GetConversation", refuses(status.Error(codes.NotFound, "")))
	b.shows(b.get("/messagerie/confirmation/"+otherID), http.StatusNotFound, "n’est pas disponible")
	b.post("/deconnexion", nil)
	if b.cookies[receipt.Cookie] != "" {
		t.Error("the receipt is left when its member signs out")
	}
	// Without a delay, the rest is shown.
	untold := waiting(sent)
	untold.ExpectedDelay = nil
	f.on("MessagingService/GetConversation", answers(&messagingpb.GetConversationResponse{Conversation: untold}))
	b = f.browse(t, jeanne)
	b.shows(b.get(at), http.StatusOK, reference, "Nous vous répondons.")
	if said := text(b.get(at)); strings.Contains(said, "avant le") {
		t.Errorf("without a target, a date is given: %s", said)
	}
	// Once it is answered, nothing of that is to come.
	f.on("MessagingService/GetConversation", answers(&messagingpb.GetConversationResponse{Conversation: sampleConversation()}))
	if said := text(b.get(at)); strings.Contains(said, "Et maintenant") || strings.Contains(said, "répondons") {
		t.Errorf("after the answer: %s", said)
	}
	// Where nobody can tell how the member is reached, nothing is said of it.
	f.on("MessagingService/GetPreferences", refuses(status.Error(codes.Unavailable, "")))
	w := b.led(b.post("/messagerie/brouillons/"+draftID+"/envoyer", recapForm(written)), at)
	if said := text(w); strings.Contains(said, "SMS") || strings.Contains(said, "e-mail") || strings.Contains(said, "accusé") {
		t.Errorf("without the preferences: %s", said)
	}
}

// What a member may write is the taxonomy's to say, within the guide's 10 to 750.
func TestWrite_Limits(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	tree := sampleTree()
	tree.TextLimits = &taxonomypb.TextLimits{Min: 50, Max: 300}
	f.on("TaxonomyService/GetTaxonomy", answers(tree))
	b := f.browse(t, jeanne)
	at := "/messagerie/brouillons/" + draftID + "/message"
	for _, row := range []struct {
		chars int
		says  string
	}{
		{10, "Écrivez au moins 50 caractères. Votre texte en compte 10."},
		{49, "Écrivez au moins 50 caractères. Votre texte en compte 49."},
		{50, ""},
		{300, ""},
		{301, "Écrivez au plus 300 caractères. Votre texte en compte 301."},
		{750, "Écrivez au plus 300 caractères. Votre texte en compte 750."},
	} {
		f.calls()
		words := strings.Repeat("é", row.chars)
		w := b.post(at, recapForm(words))
		if row.says == "" {
			b.led(w, "/messagerie/brouillons/"+draftID+"/recapitulatif")
			continue
		}
		b.shows(w, http.StatusUnprocessableEntity, row.says, words, "Entre 50 et 300 caractères")
		for _, call := range f.names() {
			if call == "MessagingService/SaveDraft" {
				t.Errorf("%d characters are saved", row.chars)
			}
		}
	}
	b.shows(b.get("/messagerie/conversations/"+conversationID), http.StatusOK, "Entre 1 et 300 caractères")
}

// Who skips a step, or comes back to one whose answer is gone, is led to what is open.
func TestWrite_Steps(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/brouillons/" + draftID + "/"
	for name, row := range map[string]struct {
		draft    *messagingpb.Draft
		step, to string
	}{
		"nothing chosen":     {&messagingpb.Draft{}, "recapitulatif", "theme"},
		"a theme":            {&messagingpb.Draft{Theme: "famille"}, "motif", "sujet"},
		"no reason":          {&messagingpb.Draft{Theme: "famille", Topic: "allocations"}, "message", "motif"},
		"no text":            {selected(""), "recapitulatif", "message"},
		"a theme that left":  {&messagingpb.Draft{Theme: "habitat", Topic: "allocations"}, "sujet", "theme"},
		"a reason elsewhere": {&messagingpb.Draft{Theme: "famille", Topic: "logement", Reason: "absent", Text: written}, "recapitulatif", "motif"},
		"no step at all":     {selected(written), "envoyer", "recapitulatif"},
		"all of it":          {selected(written), "recapitulatif", ""},
		"one to change":      {selected(written), "theme", ""},
	} {
		row.draft.Id, row.draft.Audience = draftID, taxonomypb.Audience_PARTICULIER
		f.keep(row.draft)
		w := b.get(at + row.step)
		if to := strings.TrimPrefix(w.Header().Get("Location"), at); to != row.to {
			t.Errorf("%s: led to %q, want %q", name, to, row.to)
		}
	}
	// Another profile's draft is not this one's.
	stranger := selected(written)
	stranger.Audience = taxonomypb.Audience_EXPLOITANT
	f.keep(stranger)
	b.shows(b.get(at+"recapitulatif"), http.StatusConflict, "Vous l’avez commencé sous le profil Exploitant", written)
	b.shows(b.get("/messagerie/brouillons/"+otherID+"/message"), http.StatusGone, "Ce brouillon n’est plus dans Ma messagerie")
	for _, step := range []string{"sujet", "motif", "enregistrer", "service"} {
		b.shows(b.post("/messagerie/brouillons/"+otherID+"/"+step, url.Values{"texte": {written}}), http.StatusGone)
	}
	b.shows(b.post("/messagerie/brouillons/42/theme", nil), http.StatusNotFound)
	f.keep(selected(written))
	b.shows(b.post("/messagerie/brouillons/"+draftID+"/rien", nil), http.StatusNotFound)
}

// A draft stays with its profile. Whoever changes theirs, on the recap or in another tab,
// finds its text, the way back, and a way to take it along.
func TestWrite_OtherProfile(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	marc := jeanne
	marc.Profiles = []string{"PARTICULIER", "EXPLOITANT"}
	b := f.browse(t, marc)
	at := "/messagerie/brouillons/" + draftID + "/"
	recap := "/profil?retour=" + url.QueryEscape(at+"recapitulatif")
	says := []string{"Vous l’avez commencé sous le profil Particulier, et vous utilisez maintenant le profil Exploitant.", written, "Revenir au profil Particulier et continuer", "Reprendre ce message sous le profil Exploitant"}
	f.keep(selected(written))
	if w := b.get(at + "recapitulatif"); !strings.Contains(w.Body.String(), `href="`+strings.ToLower(recap)+`"`) {
		t.Errorf("the recap does not come back from the choice of the profile: %s", w.Body)
	}
	b.shows(b.get(recap), http.StatusOK, "Votre message est conservé")
	if said := text(b.get("/profil")); strings.Contains(said, "Votre message") {
		t.Errorf("without a draft: %s", said)
	}
	// To another profile and back.
	change := func(to string) *httptest.ResponseRecorder {
		return b.post("/profil", url.Values{"profil": {to}, "retour": {at + "recapitulatif"}})
	}
	b.shows(b.led(change("EXPLOITANT"), at+"recapitulatif"), http.StatusConflict, says...)
	f.on("MessagingService/ListDrafts", answers(&messagingpb.ListDraftsResponse{Drafts: []*messagingpb.Draft{selected(written)}}))
	b.shows(b.get("/messagerie"), http.StatusOK, "Sous le profil Particulier, enregistré le")
	b.shows(b.led(change("PARTICULIER"), at+"recapitulatif"), http.StatusOK, "Vérifiez votre message", written)
	// What a page of the other profile sends is not done, and what was typed in it is kept there.
	change("EXPLOITANT")
	newer := written + " Merci."
	for step, form := range map[string]url.Values{
		"message": recapForm(newer), "envoyer": recapForm(newer), "theme": {"theme": {"retraite"}}, "motif": {"reason": {"retard"}}, "service": {"issue": {"theme"}},
	} {
		f.keep(selected(written))
		f.calls()
		form.Set("profil", "PARTICULIER")
		b.shows(b.post(at+step, form), http.StatusConflict, says[0], says[2])
		want := selected(form.Get("texte"))
		if want.GetText() == "" {
			want.Text = written
		}
		if got := f.draft(draftID); !proto.Equal(got, want) {
			t.Errorf("%s leaves %v, want %v", step, got, want)
		}
		if calls := strings.Join(f.names(), " "); strings.Contains(calls, "SubmitMessage") || strings.Contains(calls, "RecordSuggestionOutcome") {
			t.Errorf("%s: %s", step, calls)
		}
	}
	b.shows(b.get(at+"service/paiements"), http.StatusConflict, says...)
	// The script of such a page saves where the draft is.
	if w := b.post(at+"enregistrer", url.Values{"texte": {newer}}); w.Code != http.StatusNoContent || f.draft(draftID).GetAudience() != taxonomypb.Audience_PARTICULIER || f.draft(draftID).GetText() != newer {
		t.Errorf("%d, saved %v", w.Code, f.draft(draftID))
	}
	// The first answer is no draft yet.
	b.shows(b.post("/messagerie/brouillons/"+otherID+"/theme", url.Values{"theme": {"retraite"}, "profil": {"PARTICULIER"}}), http.StatusConflict, says[0])
	if got := f.draft(otherID); got.GetTheme() != "retraite" || got.GetAudience() != taxonomypb.Audience_PARTICULIER {
		t.Errorf("the first answer is kept as %v", got)
	}
	// It is taken over with as much of the selection as the other profile has.
	tree := sampleTree()
	tree.Audience, tree.Themes[0].Topics[0].Reasons = taxonomypb.Audience_EXPLOITANT, nil
	f.forgetTrees()
	f.on("TaxonomyService/GetTaxonomy", answers(tree))
	b.led(b.led(b.post(at+"adopter", nil), at+"recapitulatif"), at+"motif")
	if got := f.draft(draftID); got.GetAudience() != taxonomypb.Audience_EXPLOITANT || got.GetText() != newer || got.GetTopic() != "allocations" || got.GetReason() != "" {
		t.Errorf("taken over as %v", got)
	}
	// A profile that the member has not is nobody's.
	f.keep(selected(written))
	b.shows(b.post(at+"message", url.Values{"profil": {"EMPLOYEUR"}, "texte": {"court"}, "theme": {"famille"}, "topic": {"logement"}, "reason": {"demande"}}), http.StatusUnprocessableEntity, "court")
}

func TestWrite_Answers(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/brouillons/" + draftID + "/"
	for name, row := range map[string]struct {
		step string
		form url.Values
		says string
	}{
		"no theme":           {"theme", url.Values{}, "Choisissez un thème."},
		"an unknown theme":   {"theme", url.Values{"theme": {"habitat"}}, "Choisissez un thème."},
		"no topic":           {"sujet", url.Values{}, "Choisissez un sujet."},
		"a topic elsewhere":  {"sujet", url.Values{"topic": {"preparer"}}, "Choisissez un sujet."},
		"no reason":          {"motif", url.Values{}, "Choisissez un motif."},
		"a reason elsewhere": {"motif", url.Values{"reason": {"demande"}}, "Choisissez un motif."},
	} {
		f.keep(selected(written))
		f.calls()
		w := b.post(at+row.step, row.form)
		b.shows(w, http.StatusUnprocessableEntity, row.says)
		if !strings.Contains(w.Body.String(), "<title>Erreur\u00a0: ") {
			t.Errorf("%s: the title does not say that there is an error", name)
		}
		if calls := f.names(); len(calls) > 1 && calls[len(calls)-1] == "MessagingService/SaveDraft" {
			t.Errorf("%s is saved", name)
		}
	}
	// One line of the recap is changed: what is still right is not asked for again.
	for name, row := range map[string]struct {
		step string
		form url.Values
		to   string
	}{
		"another theme":       {"theme", url.Values{"theme": {"retraite"}, "recap": {"1"}}, "sujet?recap=1"},
		"the same theme":      {"theme", url.Values{"theme": {"famille"}, "recap": {"1"}}, "message"},
		"another topic":       {"sujet", url.Values{"topic": {"logement"}, "recap": {"1"}}, "motif?recap=1"},
		"another reason":      {"motif", url.Values{"reason": {"retard"}, "recap": {"1"}}, "message"},
		"a theme, from start": {"theme", url.Values{"theme": {"retraite"}}, "sujet"},
	} {
		f.keep(selected(written))
		if to := strings.TrimPrefix(b.post(at+row.step, row.form).Header().Get("Location"), at); to != row.to {
			t.Errorf("%s leads to %q, want %q", name, to, row.to)
		}
	}
	// Without an online service, straight on.
	f.on("TaxonomyService/ResolveSuggestion", answers(&taxonomypb.ResolveSuggestionResponse{}))
	f.keep(selected(written))
	b.led(b.post(at+"motif", url.Values{"reason": {"retard"}, "recap": {"1"}}), at+"recapitulatif")
	f.keep(selected(""))
	b.led(b.post(at+"motif", url.Values{"reason": {"retard"}, "recap": {"1"}}), at+"message")
	f.on("TaxonomyService/ResolveSuggestion", refuses(status.Error(codes.Unavailable, "")))
	b.led(b.post(at+"motif", url.Values{"reason": {"absent"}}), at+"message")
}

// The window opens after a selection was made, and then no more.
func TestWrite_WindowOpensOnce(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	at := "/messagerie/brouillons/" + draftID + "/"
	opens := func(w *httptest.ResponseRecorder) bool { return strings.Contains(w.Body.String(), `id="proposal"`) }
	// chosen is a browser in which the selection was just made.
	chosen := func() *browser {
		b := f.browse(t, jeanne)
		f.keep(selected(written))
		if w := b.post(at+"motif", url.Values{"reason": {"absent"}}); w.Header().Get("Location") != at+"message" {
			t.Fatalf("led to %q", w.Header().Get("Location"))
		}
		return b
	}
	b := chosen()
	if !opens(b.get(at + "message")) {
		t.Fatal("the window does not open after a selection")
	}
	for what, again := range map[string]func() *httptest.ResponseRecorder{
		"loaded again": func() *httptest.ResponseRecorder { return b.get(at + "message") },
		"in another language": func() *httptest.ResponseRecorder {
			return b.led(b.post("/langue", url.Values{"vers": {"en" + at + "message"}}), at+"message")
		},
		"after it was left": func() *httptest.ResponseRecorder {
			b.led(b.post(at+"service", url.Values{"issue": {"ecrire"}}), at+"message#text")
			return b.get(at + "message")
		},
		"after another sign-in": func() *httptest.ResponseRecorder {
			again := f.browse(t, other(jeanne, "again"))
			again.cookies[window.Cookie] = b.cookies[window.Cookie]
			return again.get(at + "message")
		},
		"with a fault in the text": func() *httptest.ResponseRecorder { return b.post(at+"message", recapForm("court")) },
		"by its old address":       func() *httptest.ResponseRecorder { return b.get(at + "message?proposition=1") },
	} {
		if w := again(); opens(w) || !strings.Contains(w.Body.String(), `id="text"`) {
			t.Errorf("%s, it opens: %s", what, text(w))
		}
	}
	// A sign-in between the selection and the page does not keep it from opening.
	b = chosen()
	delete(b.cookies, session.Cookie)
	if w := b.get(at + "message"); w.Code != http.StatusSeeOther {
		t.Errorf("a stranger: %d", w.Code)
	}
	again := f.browse(t, other(jeanne, "later"))
	again.cookies[window.Cookie] = b.cookies[window.Cookie]
	if !opens(again.get(at + "message")) {
		t.Error("after a sign-in, the window is lost")
	}
	// It is that selection's, and no script's.
	b = chosen()
	r := httptest.NewRequest(http.MethodGet, at+"message", nil)
	r.Header.Set("Sec-Fetch-Mode", "cors")
	if opens(b.do(r)) {
		t.Error("a script opens it")
	}
	elsewhere := selected(written)
	elsewhere.Reason = "retard"
	f.keep(elsewhere)
	if opens(b.get(at + "message")) {
		t.Error("it opens for another selection")
	}
	f.keep(selected(written))
	f.on("TaxonomyService/ResolveSuggestion", refuses(status.Error(codes.Unavailable, "")))
	b.shows(b.get(at+"message"), http.StatusOK, "Écrivez votre message")
}

// The window of the online service has three ways out, and each is counted.
func TestWrite_Window(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/brouillons/" + draftID + "/"
	f.keep(selected(written))
	// To change the selection leads to the level that is to be changed.
	b.shows(b.led(b.post(at+"motif", url.Values{"reason": {"absent"}}), at+"message"), http.StatusOK,
		"Fermer et modifier le thème", "Fermer et modifier le sujet", "Fermer et modifier le motif")
	for _, step := range []string{"sujet", "motif"} {
		b.led(b.post(at+"service", url.Values{"issue": {step}}), at+step)
	}
	keys := make(map[string]bool)
	for _, row := range []struct {
		issue, to string
		outcome   taxonomypb.SuggestionOutcome
	}{
		{"ecrire", at + "message#text", taxonomypb.SuggestionOutcome_WROTE_ANYWAY},
		{"theme", at + "theme", taxonomypb.SuggestionOutcome_CHANGED_SELECTION},
	} {
		f.calls()
		if w := b.post(at+"service", url.Values{"issue": {row.issue}}); w.Header().Get("Location") != row.to {
			t.Errorf("%s leads to %q", row.issue, w.Header().Get("Location"))
		}
		got, header := one[*taxonomypb.RecordSuggestionOutcomeRequest](t, f.gateway, "TaxonomyService/RecordSuggestionOutcome")
		if got.GetOutcome() != row.outcome || got.GetService() != "paiements" || got.GetReason() != "absent" {
			t.Errorf("%s is counted as %v", row.issue, got)
		}
		// The same again is counted once: it has the same key, and another way out another.
		key := strings.Join(header.Get("idempotency-key"), ",")
		b.post(at+"service", url.Values{"issue": {row.issue}})
		_, header = one[*taxonomypb.RecordSuggestionOutcomeRequest](t, f.gateway, "TaxonomyService/RecordSuggestionOutcome")
		if again := strings.Join(header.Get("idempotency-key"), ","); uuid.Validate(key) != nil || again != key || keys[key] {
			t.Errorf("%s is counted under %q, then %q", row.issue, key, again)
		}
		keys[key] = true
	}
	w := b.get(at + "service/paiements")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "https://services.example.org/paiements" {
		t.Errorf("%d to %q", w.Code, w.Header().Get("Location"))
	}
	if got, _ := one[*taxonomypb.RecordSuggestionOutcomeRequest](t, f.gateway, "TaxonomyService/RecordSuggestionOutcome"); got.GetOutcome() != taxonomypb.SuggestionOutcome_FOLLOWED {
		t.Errorf("counted as %v", got)
	}
	b.shows(b.get(at+"service/autre"), http.StatusNotFound)
	b.shows(b.get("/messagerie/brouillons/"+otherID+"/service/paiements"), http.StatusGone)
	// It is no condition of going on.
	f.on("TaxonomyService/RecordSuggestionOutcome", refuses(status.Error(codes.Unavailable, "")))
	b.led(b.post(at+"service", url.Values{"issue": {"ecrire"}}), at+"message#text")
}

// What was typed is on the page again, whatever the gateway says.
func TestWrite_KeepsTheText(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/brouillons/" + draftID + "/"
	for name, row := range map[string]struct {
		err  error
		code int
		says string
	}{
		"away":    {status.Error(codes.Unavailable, ""), http.StatusServiceUnavailable, "momentanément indisponible"},
		"limited": {status.Error(codes.ResourceExhausted, ""), http.StatusServiceUnavailable, "momentanément indisponible"},
		"late":    {status.Error(codes.DeadlineExceeded, ""), http.StatusServiceUnavailable, "momentanément indisponible"},
		"refused": {status.Error(codes.InvalidArgument, ""), http.StatusUnprocessableEntity, "ne peut pas être enregistré"},
	} {
		f.on("MessagingService/SaveDraft", refuses(row.err))
		w := b.post(at+"message", recapForm(written))
		if b.shows(w, row.code, row.says, written); t.Failed() {
			t.Log(name)
		}
	}
	f.on("MessagingService/SaveDraft", refuses(status.Error(codes.PermissionDenied, "")))
	b.shows(b.post(at+"message", recapForm(written)), http.StatusForbidden)
	f.on("MessagingService/SaveDraft", f.saveDraft)
	// A draft that was sent or deleted meanwhile begins again from the form.
	b.led(b.post(at+"message", recapForm(written)), at+"recapitulatif")
	// Without a selection there is nothing to keep the text under.
	b.led(b.post(at+"message", url.Values{"texte": {written}}), at+"theme")
	b.led(b.post(at+"message", url.Values{"texte": {written}, "theme": {"famille"}, "topic": {"logement"}}), at+"motif")
	// Whatever is too long comes back whole.
	long := strings.Repeat("😀", 20000)
	w := b.post(at+"message", recapForm(long))
	b.shows(w, http.StatusUnprocessableEntity, "Votre texte en compte 20000.", long)
	// A form above the limit cannot be read at all.
	f.keep(selected(written))
	w = b.led(b.post(at+"message", recapForm(strings.Repeat("é", visit.MaxFormBytes))), at+"message")
	b.shows(w, http.StatusOK, written)
	if !strings.Contains(w.Body.String(), "Votre texte est bien trop long") {
		t.Error("nobody is told why the text is not there")
	}
}

// The script saves behind the page, and is told by the status alone.
func TestWrite_Autosave(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	f.keep(selected("Ancien texte."))
	at := "/messagerie/brouillons/" + draftID + "/enregistrer"
	if w := b.post(at, url.Values{"texte": {written}}); w.Code != http.StatusNoContent {
		t.Errorf("answered %d", w.Code)
	}
	if got, _ := one[*messagingpb.SaveDraftRequest](t, f.gateway, "MessagingService/SaveDraft"); got.GetText() != written || got.GetReason() != "absent" || got.GetTaxonomyVersion() != 3 || got.GetAudience() != 1 {
		t.Errorf("saved %v", got)
	}
	for code, want := range map[codes.Code]int{codes.Unavailable: http.StatusServiceUnavailable, codes.InvalidArgument: http.StatusUnprocessableEntity} {
		f.on("MessagingService/SaveDraft", refuses(status.Error(code, "")))
		if w := b.post(at, url.Values{"texte": {written}}); w.Code != want {
			t.Errorf("%s: %d", code, w.Code)
		}
	}
}

// A message that is refused leads to where it can be mended.
func TestSend_Refused(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/brouillons/" + draftID + "/"
	f.keep(selected(written))
	bad := "\u200b\u2800\u200b"
	f.on("MessagingService/SubmitMessage", refuses(refused(codes.InvalidArgument, "BODY_BLANK", nil, "text")))
	b.shows(b.post(at+"envoyer", recapForm(bad)), http.StatusUnprocessableEntity, "ce texte n’a aucun caractère visible", bad, "Étape 4 sur 5")
	// The taxonomy has changed meanwhile: the tree is read anew.
	b.get(at + "recapitulatif")
	f.calls()
	f.on("MessagingService/SubmitMessage", refuses(refused(codes.InvalidArgument, "TAXONOMY_VERSION_OUTDATED", nil, "taxonomyVersion")))
	changed := sampleTree()
	changed.Version, changed.Themes = 4, changed.Themes[1:]
	f.on("TaxonomyService/GetTaxonomy", answers(changed))
	w := b.led(b.post(at+"envoyer", recapForm(written)), at+"recapitulatif")
	w = b.led(w, at+"theme")
	if !strings.Contains(w.Body.String(), "Les thèmes proposés ont changé") {
		t.Error("nobody is told that the themes have changed")
	}
	b.shows(w, http.StatusOK, "Retraite")
	for reason, code := range map[string]codes.Code{"REASON_UNKNOWN": codes.InvalidArgument, "THEME_NOT_FOR_AUDIENCE": codes.InvalidArgument, "TOPIC_REQUIRED": codes.InvalidArgument} {
		f.on("MessagingService/SubmitMessage", refuses(refused(code, reason, nil, "reason")))
		if w := b.post(at+"envoyer", recapForm(written)); w.Header().Get("Location") != at+"recapitulatif" {
			t.Errorf("%s leads to %q", reason, w.Header().Get("Location"))
		}
	}
	f.on("MessagingService/SubmitMessage", refuses(refused(codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", nil)))
	f.calls()
	w = b.post(at+"envoyer", recapForm(written))
	again, _ := one[*messagingpb.SaveDraftRequest](t, f.gateway, "MessagingService/SaveDraft")
	if again.GetId() == draftID || again.GetText() != written {
		t.Errorf("begun again as %v", again)
	}
	if to := w.Header().Get("Location"); to != "/messagerie/brouillons/"+again.GetId()+"/recapitulatif" {
		t.Errorf("led to %s", to)
	}
	if w = b.follow(w, jeanne); !strings.Contains(told(w), "Celui-ci n’est pas envoyé : c’est un nouveau message.") {
		t.Errorf("the page says %q", told(w))
	}
	f.on("MessagingService/SaveDraft", refuses(status.Error(codes.Unavailable, "")))
	b.shows(b.post(at+"envoyer", recapForm(written)), http.StatusConflict, "Un message est déjà parti depuis ce brouillon", written)
	f.on("MessagingService/SubmitMessage", refuses(status.Error(codes.Unavailable, "")))
	b.shows(b.post(at+"envoyer", recapForm(written)), http.StatusServiceUnavailable, "Ce que vous avez écrit", written)
}

func TestDraft_Delete(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	w := b.led(b.post("/messagerie/brouillons/"+draftID+"/supprimer", nil), "/messagerie")
	if !strings.Contains(w.Body.String(), "Le brouillon est supprimé.") {
		t.Error("nobody is told that the draft was deleted")
	}
	if got, _ := one[*messagingpb.DeleteDraftRequest](t, f.gateway, "MessagingService/DeleteDraft"); got.GetId() != draftID {
		t.Errorf("deleted %v", got)
	}
	f.on("MessagingService/DeleteDraft", refuses(status.Error(codes.Unavailable, "")))
	b.shows(b.post("/messagerie/brouillons/"+draftID+"/supprimer", nil), http.StatusServiceUnavailable)
}

func TestSearch(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	typed := strings.Repeat("é", 120)
	asked := b.post(search, url.Values{"q": {typed}})
	at := asked.Header().Get("Location")
	if asked.Code != http.StatusSeeOther || !strings.HasPrefix(at, search+"?r=") || strings.Contains(at, "é") || strings.Contains(at, "%C3") {
		t.Errorf("%d to %q", asked.Code, at)
	}
	// It can be loaded again, and come back to.
	for range 2 {
		w := b.get(at)
		b.shows(w, http.StatusOK, "Paiement absent", "Un motif trouvé.", "Trouvé pour : virement", "Ou encore", "Autre question")
		if title := regexp.MustCompile(`<title>.*</title>`).FindString(w.Body.String()); title != "<title>Recherche – Ma messagerie</title>" {
			t.Errorf("the title is %s", title)
		}
		if value(w, "", "q") != strings.Repeat("é", 100) {
			t.Errorf("%q is in the field", value(w, "", "q"))
		}
		if got, _ := one[*taxonomypb.SearchReasonsRequest](t, f.gateway, "TaxonomyService/SearchReasons"); len([]rune(got.GetQ())) != 100 {
			t.Errorf("searched for %d characters", len([]rune(got.GetQ())))
		}
		f.calls()
	}
	// It is nobody else's, and does not stay for ever.
	b.led(f.browse(t, session.Session{ID: "p", Realm: session.Member, Subject: "members:paul", Profiles: jeanne.Profiles, Audience: jeanne.Audience}).get(at), "/messagerie/nouveau")
	b.led(b.get(search+"?q=paiement"), "/messagerie/nouveau")
	none := b.post(search, url.Values{"q": {" "}})
	b.shows(none, http.StatusUnprocessableEntity, "Erreur : Écrivez un mot ou une question.", "Votre recherche")
	for _, want := range []string{`href="#q"`, `aria-invalid="true"`, `data-found="found" novalidate>`, `value="en/messagerie/nouveau"`} {
		if !strings.Contains(none.Body.String(), want) {
			t.Errorf("without words: no %s: %s", want, none.Body)
		}
	}
	// A page's script has it at once.
	r := httptest.NewRequest(http.MethodPost, search, strings.NewReader("q=rib"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	b.shows(b.do(r), http.StatusOK, "Paiement absent")
	f.on("TaxonomyService/SearchReasons", answers(&taxonomypb.SearchReasonsResponse{Reasons: []*taxonomypb.FoundReason{{Theme: &taxonomypb.Theme{Code: "famille", Label: "Famille"}, Near: true}}}))
	b.shows(b.get(at), http.StatusOK, "Aucun motif ne correspond tout à fait. Voici les plus proches.", "Motifs les plus proches", "Famille")
	for choice, to := range map[string]string{"t=famille&s=allocations&m=absent": "/message", "t=famille": "/sujet"} {
		w := b.post(search, url.Values{"choix": {choice}})
		if w.Code != http.StatusSeeOther || !strings.HasSuffix(w.Header().Get("Location"), to) {
			t.Errorf("%s leads to %q", choice, w.Header().Get("Location"))
		}
	}
	for _, choice := range []string{"", "t=habitat", "%zz"} {
		b.shows(b.post(search, url.Values{"choix": {choice}}), http.StatusNotFound)
	}
	f.on("TaxonomyService/SearchReasons", refuses(status.Error(codes.Unavailable, "")))
	b.shows(b.get(at), http.StatusServiceUnavailable)
}
