package web

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// Without JavaScript too, another language does not cost what was typed: the button sends the form
// that one types into, which nothing takes.
func TestLanguage_KeepsWhatIsTyped(t *testing.T) {
	t.Parallel()
	button := regexp.MustCompile(`<button class="link" lang="en" form="(\w+)" name="vers" value="([^"]+)" formnovalidate>`)
	for at, who := range pagesToTypeOn {
		if strings.HasSuffix(at, "/recapitulatif") {
			continue // its text was sent with the page before
		}
		f := newFront(t)
		f.keep(selected(written))
		b := f.browse(t, who)
		page := b.get(at)
		found := button.FindStringSubmatch(page.Body.String())
		if found == nil || found[2] != "en"+at {
			t.Errorf("%s has the button %q", at, found)
			continue
		}
		action := regexp.MustCompile(`<form id="` + found[1] + `"[^>]* action="([^"]+)"`).FindStringSubmatch(page.Body.String())
		if action == nil {
			t.Errorf("%s has no form %s", at, found[1])
			continue
		}
		goesThere := func(form filled) bool { return form.action == action[1] }
		forms := formsOf(t, page)
		form := forms[slices.IndexFunc(forms, goesThere)]
		var texts []string
		for _, name := range form.typed {
			form.values.Set(name, marked[name])
			texts = append(texts, marked[name])
		}
		form.values.Set(kept.Language, found[2])
		f.calls()
		w := b.post(form.action, form.values)
		b.shows(w, http.StatusOK, "Here is what you had written", "Nothing has been sent yet.")
		if !has(w, texts) {
			t.Errorf("%s: not all of %q is shown", at, texts)
		}
		for _, name := range f.names() {
			if _, verb, _ := strings.Cut(name, "/"); !strings.HasPrefix(verb, "Get") && !strings.HasPrefix(verb, "List") {
				t.Errorf("%s: %s was called", at, name)
			}
		}
		if strings.Contains(w.Body.String(), `type="hidden" name="vers"`) {
			t.Errorf("%s: what is shown would change the language again", at)
		}
		// What comes of it is in that language, and can be sent as it would have been.
		if !slices.ContainsFunc(formsOf(t, w), goesThere) {
			t.Errorf("%s: no form goes to %s", at, action[1])
		}
		b.shows(b.get("/aide"), http.StatusOK, "Help")
	}
}

// Who has typed nothing is back on the page, in the other language, and so is who types nowhere.
func TestLanguage_OfAPageWithNothingTyped(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for _, row := range []struct {
		who      session.Session
		at       string
		form     map[string][]string
		to, says string
	}{
		{jeanne, "/preferences", map[string][]string{"vers": {"en/preferences"}, "email": {""}}, "/preferences", "Your preferences"},
		{claire, "/agent/recherche", map[string][]string{"vers": {"en/agent?etat=1"}, "q": {""}}, "/agent?etat=1", "conversations"},
		{jeanne, "/messagerie/conversations/" + conversationID + "/suite", map[string][]string{"vers": {"en/"}, "texte": {""}}, "/messagerie/conversations/" + conversationID, "Add a message"},
		// The words of a list's search, begun or not, are in the address of its answer.
		{jeanne, "/langue", map[string][]string{"vers": {"en/messagerie"}, "q": {"où & quand"}}, "/messagerie?q=o%C3%B9+%26+quand", "Your conversations"},
		{jeanne, "/langue", map[string][]string{"vers": {"en/messagerie?masquees=1&q=avant"}, "q": {"après"}, "masquees": {"1"}}, "/messagerie?masquees=1&q=apr%C3%A8s", "Hidden conversations"},
		// It leads nowhere else, and into no language that there is not.
		{jeanne, "/preferences", map[string][]string{"vers": {"en//example.org"}}, "/preferences", "Your preferences"},
		{jeanne, "/preferences", map[string][]string{"vers": {"de/preferences"}}, "/preferences", "Vos préférences"},
		{jeanne, "/preferences", map[string][]string{"vers": {"e"}}, "/preferences", "Vos préférences"},
	} {
		b := f.browse(t, row.who)
		w := b.post(row.at, row.form)
		if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != row.to {
			t.Errorf("%v: %d to %s", row.form, w.Code, to)
			continue
		}
		b.shows(b.follow(w, row.who), http.StatusOK, row.says)
	}
}

// A page that answers a form stays the same in the other language: the question that was not
// answered, of a draft that there is or is not yet.
func TestLanguage_OfAPageWithAFault(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	draft := "/messagerie/brouillons/" + draftID
	for _, row := range []struct {
		who        session.Session
		at         string
		form       url.Values
		kept       *messagingpb.Draft
		says, then string
	}{
		{jeanne, draft + "/theme", nil, nil, "Choisissez un thème.", "What is the theme of your message?"},
		{jeanne, draft + "/theme", nil, selected(""), "Choisissez un thème.", "What is the theme of your message?"},
		{jeanne, draft + "/sujet", nil, selected(""), "Choisissez un sujet.", "What is the topic?"},
		{jeanne, draft + "/motif", url.Values{"recap": {"1"}}, selected(written), "Choisissez un motif.", "What is the reason?"},
		{jeanne, "/donnees-personnelles/effacement", nil, nil, "Cochez la case", "Your personal data"},
		{jeanne, "/preferences", url.Values{"telephone": {""}}, nil, "Écrivez une adresse", "Your preferences"},
		{claire, "/agent/modeles", nil, nil, "Donnez un titre", "Reply templates"},
	} {
		f.on("MessagingService/GetDraft", f.getDraft)
		if row.kept == nil {
			f.on("MessagingService/GetDraft", refuses(refused(codes.NotFound, "DRAFT_NOT_FOUND", nil)))
		}
		f.keep(row.kept)
		f.on("MessagingService/ReplacePreferences", refuses(refused(codes.InvalidArgument, "EMAIL_INVALID", nil, "preferences.email")))
		b := f.browse(t, row.who)
		w := b.post(row.at, row.form)
		b.shows(w, http.StatusUnprocessableEntity, row.says)
		button := regexp.MustCompile(`<button class="link" lang="en"(?: form="(\w+)")? name="vers" value="([^"]+)"`).FindStringSubmatch(w.Body.String())
		if button == nil {
			t.Errorf("%s: no button: %s", row.at, w.Body)
			continue
		}
		to := "/langue"
		if button[1] != "" {
			to = regexp.MustCompile(`<form id="` + button[1] + `"[^>]* action="([^"]+)"`).FindStringSubmatch(w.Body.String())[1]
		}
		b.shows(b.follow(b.post(to, url.Values{"vers": {button[2]}}), row.who), http.StatusOK, row.then)
	}
}

// The button of a page with the search of the list sends its words, and no other does.
func TestLanguage_OfTheList(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	list := b.get("/messagerie?q=allocations").Body.String()
	for _, want := range []string{`<form class="seek" id="seek" role="search" action="/messagerie">`, `form="seek" formmethod="post" formaction="/langue" name="vers" value="en/messagerie?q=allocations"`} {
		if !strings.Contains(list, want) {
			t.Errorf("the list lacks %s", want)
		}
	}
	f.on("MessagingService/ListConversations", answers(&messagingpb.ListConversationsResponse{}))
	if empty := b.get("/messagerie").Body.String(); strings.Contains(empty, `form="seek"`) || !strings.Contains(empty, `action="/langue"`) {
		t.Error("a list without conversations has no search, and no button of one")
	}
}

// What an agent has written is sent by the page that shows it in the other language, and not
// shown as a preview; so it is when the session has ended meanwhile, and that speaks it too.
func TestLanguage_ThenTheReplyIsSent(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	at := "/agent/conversations/" + conversationID
	for _, ended := range []bool{false, true} {
		b := f.browse(t, claire)
		forms := formsOf(t, b.get(at))
		form := forms[slices.IndexFunc(forms, func(form filled) bool { return strings.HasSuffix(form.action, "/repondre") })]
		delete(form.values, "faire") // the button that was pressed is another
		form.values.Set("texte", marked["texte"])
		form.values.Set(kept.Language, "en"+at)
		if ended {
			delete(b.cookies, session.Cookie)
		}
		w := b.follow(b.post(at+"/repondre", form.values), claire)
		b.shows(w, http.StatusOK, "Here is what you had written")
		f.calls()
		again := formsOf(t, w)
		sent := again[slices.IndexFunc(again, func(form filled) bool { return strings.HasSuffix(form.action, "/repondre") })]
		sent.values.Set("texte", marked["texte"])
		if w := b.post(sent.action, sent.values); w.Code != http.StatusSeeOther || !slices.Contains(f.names(), "AgentService/PostReply") {
			t.Errorf("ended %t: %d, %v", ended, w.Code, f.names())
		}
	}
}

// Whoever does not want to send what is handed back is not handed it back.
func TestLanguage_OfWhatIsHandedBack(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	w := b.post("/preferences", url.Values{"email": {"j@example.org"}, "vers": {"en/repris"}})
	b.shows(w, http.StatusOK, "Do not send it")
	if strings.Contains(w.Body.String(), `href="/repris"`) {
		t.Error("what is not to be sent is handed back again")
	}
}
