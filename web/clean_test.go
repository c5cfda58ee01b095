package web

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

const (
	pasted    = "Bonjour,\vmon\u202e paiement\x00 n’est\f pas arrivé, \u2068محمد\u2069.\u2069"
	cleaned   = "Bonjour,\nmon paiement n’est\n pas arrivé, \u2068محمد\u2069."
	saidTaken = "3 caractères invisibles ont été retirés de votre texte."
)

// What people paste and cannot see is saidTaken out and not refused, and they are told: on the recap,
// which shows what will be stored, and once.
func TestClean_Message(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	f.keep(selected(written))
	at := "/messagerie/brouillons/" + draftID + "/"
	w := b.post(at+"message", recapForm(pasted))
	if to := w.Header().Get("Location"); to != at+"recapitulatif" {
		t.Fatalf("led to %q", to)
	}
	if saved, _ := one[*messagingpb.SaveDraftRequest](t, f.gateway, "MessagingService/SaveDraft"); saved.GetText() != cleaned {
		t.Errorf("%+q is saved", saved.GetText())
	}
	f.keep(selected(cleaned))
	w = b.get(at + "recapitulatif")
	if b.shows(w, http.StatusOK, cleaned); told(w) != saidTaken {
		t.Errorf("the recap says %q", told(w))
	}
	if again := told(b.get(at + "recapitulatif")); again != "" {
		t.Errorf("%q is said again where nothing was taken out", again)
	}
	// A page that comes at once says it, too, and what was too short is counted without it.
	w = b.post(at+"message", recapForm("neuf cara\x00"))
	if b.shows(w, http.StatusUnprocessableEntity, "Votre texte en compte 9", "neuf cara"); told(w) != "1 caractère invisible a été retiré de votre texte." {
		t.Errorf("the page says %q", told(w))
	}
	// What another front end keeps as it was typed is shown as it will be sent.
	f.keep(selected(pasted))
	for _, step := range []string{"recapitulatif", "message"} {
		w := b.get(at + step)
		if b.shows(w, http.StatusOK, cleaned); told(w) != saidTaken {
			t.Errorf("the page %s says %q", step, told(w))
		}
	}
}

var notices = regexp.MustCompile(`id="(?:removed|done)"[^>]*>([^<]*)<`)

// told is what a page says above its content.
func told(w *httptest.ResponseRecorder) string {
	var all []string
	for _, found := range notices.FindAllStringSubmatch(w.Body.String(), -1) {
		all = append(all, html.UnescapeString(found[1]))
	}
	return strings.ReplaceAll(strings.Join(all, " "), "\u00a0", " ")
}

func TestClean_FollowUpAndReply(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for _, row := range []struct {
		at, act, field string
		browser        *browser
		sent           func() string
	}{
		{"/messagerie/conversations/", "/suite", "texte", f.browse(t, jeanne), func() string {
			got, _ := one[*messagingpb.PostFollowUpRequest](t, f.gateway, "MessagingService/PostFollowUp")
			return got.GetText()
		}},
		{"/agent/conversations/", "/repondre", "texte", f.browse(t, claire), func() string {
			got, _ := one[*messagingpb.PostReplyRequest](t, f.gateway, "AgentService/PostReply")
			return got.GetText()
		}},
		{"/agent/conversations/", "/noter", "note", f.browse(t, claire), func() string {
			got, _ := one[*messagingpb.AddNoteRequest](t, f.gateway, "AgentService/AddNote")
			return got.GetText()
		}},
	} {
		forms := formsOf(t, row.browser.get(row.at+conversationID))
		form := forms[slices.IndexFunc(forms, func(form filled) bool { return slices.Contains(form.typed, row.field) })]
		form.values.Set(row.field, pasted)
		form.values.Set("faire", "envoyer")
		f.calls()
		w := row.browser.post(row.at+conversationID+row.act, form.values)
		if got := row.sent(); got != cleaned {
			t.Errorf("%s: %+q was sent", row.act, got)
		}
		if to := w.Header().Get("Location"); to == "" || !strings.HasSuffix(told(row.browser.get(to)), " "+saidTaken) {
			t.Errorf("%s leads to %q, which says %q", row.act, to, told(row.browser.get(to)))
		}
	}
}

// An address or a number from contacts, and the words of a search, are what people see.
func TestClean_OneLine(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	b.post("/preferences", url.Values{"langue": {"fr"}, "email": {"\u2068jeanne@example.org\u2069"}, "telephone": {"\u202a+33\u00a06 39\x00 98 00 01\u202c\n"}})
	got, _ := one[*messagingpb.ReplacePreferencesRequest](t, f.gateway, "MessagingService/ReplacePreferences")
	if p := got.GetPreferences(); p.GetEmail() != "jeanne@example.org" || p.GetPhone() != "+33 6 39 98 00 01" {
		t.Errorf("%+q, %+q", p.GetEmail(), p.GetPhone())
	}
	c := f.browse(t, claire)
	c.follow(c.post("/agent/recherche", url.Values{"q": {"\u2068MSA-7K3D92QX\u2069"}}), claire)
	found, _ := one[*messagingpb.FindConversationsRequest](t, f.gateway, "AgentService/FindConversations")
	if found.GetReference() != "MSA-7K3D92QX" {
		t.Errorf("%+q is looked for", found.GetReference())
	}
}
