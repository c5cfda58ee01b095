package web

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// said are the words of a page's elements of a kind, one string each, as a person reads them.
func said(w *httptest.ResponseRecorder, tags string) []string {
	var list []string
	for _, tag := range strings.Fields(tags) {
		for _, found := range regexp.MustCompile(`(?s)<`+tag+`\b[^>]*>(.*?)</`+tag+`>`).FindAllStringSubmatch(w.Body.String(), -1) {
			words := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(found[1], " ")
			list = append(list, strings.Join(strings.Fields(html.UnescapeString(words)), " "))
		}
	}
	return list
}

func isSaid(w *httptest.ResponseRecorder, tags, words string) bool {
	for _, got := range said(w, tags) {
		if got == words {
			return true
		}
	}
	return false
}

// The guide's lines stand on its pages, word for word: each is all that an element says.
func TestGuide_WordForWord(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	draft := "/messagerie/brouillons/" + draftID
	f.keep(selected(written))
	b.post(draft+"/motif", url.Values{"reason": {"absent"}}) // the window is next
	f.on("MessagingService/GetConversation", answers(&messagingpb.GetConversationResponse{Conversation: waiting(time.Now())}))
	const secure = "L’utilisation de la messagerie est sécurisée, vos échanges sont protégés."
	for _, page := range []struct {
		at    string
		lines [][2]string // the element, and what it says
	}{
		{"/espace", [][2]string{{"h1", "Mon espace privé"}, {"a", "Contact & échanges"}, {"a", "Accéder à la messagerie"}}},
		{"/espace/contact", [][2]string{{"h1", "Contact & échanges"}, {"a", "Mes messages"}}},
		{"/espace/messages", [][2]string{{"h1", "Mes messages"}, {"a", "Accéder à la messagerie"}}},
		{"/messagerie", [][2]string{{"h1", "Ma messagerie"}, {"a", "Rédiger un nouveau message"}, {"a", "Envoyer un document"}, {"a", "Afficher les conversations masquées"}}},
		{"/messagerie?masquees=1", [][2]string{{"h1", "Conversations masquées"}}},
		{draft + "/theme", [][2]string{{"h1", "Quel est le thème de votre message ?"}}},
		{draft + "/sujet", [][2]string{{"h1", "Quel est le sujet ?"}}},
		{draft + "/motif", [][2]string{{"h1", "Quel est le motif ?"}}},
		{draft + "/message", [][2]string{
			{"h2", "Un service en ligne peut vous répondre plus vite"},
			{"p", "« Consulter mes paiements » peut vous répondre tout de suite."},
			{"a", "J’utilise le service en ligne"},
			{"button", "Fermer et écrire un message"},
			{"button", "Fermer et modifier le thème"},
			{"button", "Fermer et modifier le sujet"},
			{"button", "Fermer et modifier le motif"},
			{"h1", "Écrivez votre message"},
			{"p", secure},
			{"p", "Entre 10 et 750 caractères."},
		}},
		{draft + "/recapitulatif", [][2]string{{"dt", "Profil"}, {"dt", "Thème"}, {"dt", "Sujet"}, {"dt", "Motif"}, {"dt", "Message"}, {"button", "Envoyer le message"}}},
		{"/messagerie/confirmation/" + conversationID, [][2]string{{"h1", "Votre message est envoyé"}, {"strong", reference}}},
		{"/messagerie/conversations/" + conversationID, [][2]string{{"p", secure}, {"label", "Ajouter un message"}, {"button", "Masquer cette conversation"}}},
	} {
		w := b.get(page.at)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", page.at, w.Code)
		}
		for _, line := range page.lines {
			if !isSaid(w, line[0], line[1]) {
				t.Errorf("%s: no <%s> says %q but %q", page.at, line[0], line[1], said(w, line[0]))
			}
		}
	}
	// Where one writes, that it is secure is said beside the field, not only at the page's foot.
	for _, at := range []string{draft + "/message", "/messagerie/conversations/" + conversationID} {
		_, form, _ := strings.Cut(b.get(at).Body.String(), `<label for="text">`)
		if beside, _, _ := strings.Cut(form, "<textarea"); !strings.Contains(beside, secure) {
			t.Errorf("%s: beside the field there is %q", at, beside)
		}
	}
	// A link that leaves the messaging says so, also to who hears it alone.
	b.post(draft+"/motif", url.Values{"reason": {"absent"}})
	for at, words := range map[string]string{"/messagerie": "Vous quittez Ma messagerie", draft + "/message": "vous quittez Ma messagerie"} {
		body := b.get(at).Body.String()
		described := regexp.MustCompile(`<a class="button[^>]* aria-describedby="(?:s0 )?(deposit|x0)"`).FindStringSubmatch(body)
		if described == nil || !regexp.MustCompile(`<p class="hint" id="`+described[1]+`">[^<]*`+words).MatchString(body) {
			t.Errorf("%s: the link is described by %q: %s", at, described, body)
		}
	}
	// A closed conversation leads to a new message by the same words.
	closed := sampleConversation()
	closed.Status = messagingpb.Status_CLOSED
	f.on("MessagingService/GetConversation", answers(&messagingpb.GetConversationResponse{Conversation: closed}))
	if w := b.get("/messagerie/conversations/" + conversationID); !isSaid(w, "a", "Rédiger un nouveau message") {
		t.Errorf("a closed conversation leads on by %q", said(w, "a"))
	}
}

// The words that mails quote lead somewhere: whoever signs in finds them on the page where they
// come out, in the language of the mail.
func TestMails_WordsAreOnThePages(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	quoted := regexp.MustCompile(`[«“]\s*([^»”]+?)\s*[»”]`)
	for _, lang := range render.Languages {
		b := f.browse(t, jeanne)
		b.cookies[render.LanguageCookie] = lang
		first := b.led(b.get("/"), "/espace")
		for _, file := range []string{"footer", "acknowledgement", "reply", "closing"} {
			words, err := os.ReadFile("../services/notifier/internal/letter/templates/" + file + "." + lang + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			found := quoted.FindAllStringSubmatch(string(words), -1)
			if file == "footer" && len(found) != 2 {
				t.Errorf("%s.%s quotes %q, not the way to a conversation and to the preferences", file, lang, found)
			}
			for _, quote := range found {
				if !isSaid(first, "a", strings.Join(strings.Fields(quote[1]), " ")) {
					t.Errorf("%s.%s leads to %q, which is not among %q", file, lang, quote[1], said(first, "a"))
				}
			}
		}
	}
}
