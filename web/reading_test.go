package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// parsed is a page as a browser has it.
func parsed(t *testing.T, w *httptest.ResponseRecorder) *html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// attr is the value of a node's attribute; empty without it.
func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// elements are those of a page that have a name, in order.
func elements(root *html.Node, names ...string) []*html.Node {
	var list []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && slices.Contains(names, n.Data) {
			list = append(list, n)
		}
	}
	return list
}

// byID is the element with an id; nil without one.
func byID(root *html.Node, id string) *html.Node {
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && attr(n, "id") == id && id != "" {
			return n
		}
	}
	return nil
}

// content is an element's text.
func content(n *html.Node) string {
	var out strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			out.WriteString(c.Data)
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// faulty are the forms that are refused, with the fields that are then at fault. The gateway
// refuses the method for the field that it calls violation.
var faulty = []struct {
	at                        string
	form                      url.Values
	who                       session.Session
	method, reason, violation string
	fields                    []string
}{
	{at: "/messagerie/brouillons/" + draftID + "/theme", who: jeanne, fields: []string{"theme"}},
	{at: "/messagerie/brouillons/" + draftID + "/sujet", who: jeanne, fields: []string{"topic"}},
	{at: "/messagerie/brouillons/" + draftID + "/motif", who: jeanne, fields: []string{"reason"}},
	{at: "/messagerie/brouillons/" + draftID + "/message", form: recapForm("court"), who: jeanne, fields: []string{"text"}},
	{at: "/messagerie/brouillons/" + draftID + "/envoyer", form: recapForm(written), who: jeanne, method: "MessagingService/SubmitMessage", reason: "BODY_TOO_LONG", violation: "text", fields: []string{"text"}},
	{at: "/messagerie/conversations/" + conversationID + "/suite", form: url.Values{"cle": {otherID}, "texte": {""}}, who: jeanne, method: "MessagingService/PostFollowUp", reason: "BODY_BLANK", violation: "text", fields: []string{"text"}},
	{at: "/preferences", form: url.Values{"email": {"x"}}, who: jeanne, method: "MessagingService/ReplacePreferences", reason: "EMAIL_INVALID", violation: "preferences.email", fields: []string{"email"}},
	{at: "/preferences", form: url.Values{"telephone": {"17"}}, who: jeanne, method: "MessagingService/ReplacePreferences", reason: "PHONE_INVALID", violation: "preferences.phone", fields: []string{"phone"}},
	{at: "/donnees-personnelles/effacement", who: jeanne, fields: []string{"confirmer"}},
	{at: "/agent/conversations/" + conversationID + "/repondre", form: url.Values{"cle": {otherID}, "dernier": {lastID}, "texte": {" "}, "faire": {"apercu"}}, who: claire, fields: []string{"text"}},
	{at: "/agent/conversations/" + conversationID + "/noter", form: url.Values{"cle": {otherID}, "note": {" "}}, who: claire, method: "AgentService/AddNote", reason: "BODY_BLANK", violation: "note", fields: []string{"note"}},
	{at: "/agent/conversations/" + conversationID + "/clore", form: url.Values{"cle": {otherID}}, who: claire, method: "AgentService/CloseConversation", reason: "CLOSING_TEXT_REQUIRED", violation: "text", fields: []string{"text"}},
	{at: "/agent/conversations/" + conversationID + "/confier", form: url.Values{"cle": {otherID}, "agent": {"agents:sofiane"}}, who: claire, method: "AgentService/AssignConversation", reason: "AGENT_UNKNOWN", violation: "agentId", fields: []string{"agent"}},
	{at: "/agent/conversations/" + conversationID + "/confier", form: url.Values{"cle": {otherID}, "note": {"x"}}, who: claire, method: "AgentService/AssignConversation", reason: "BODY_TOO_LONG", violation: "note", fields: []string{"note"}},
	{at: "/agent/conversations/" + conversationID + "/transfert", form: url.Values{"cle": {otherID}, "file": {"retraite"}}, who: claire, method: "AgentService/TransferConversation", reason: "QUEUE_UNKNOWN", violation: "queue", fields: []string{"vers"}},
	{at: "/agent/conversations/" + conversationID + "/transfert", form: url.Values{"cle": {otherID}, "note": {"x"}}, who: claire, method: "AgentService/TransferConversation", reason: "BODY_TOO_LONG", violation: "note", fields: []string{"note"}},
	{at: "/agent/recherche", form: url.Values{"q": {"MSA-2222222A"}}, who: claire, method: "AgentService/FindConversations", reason: "REFERENCE_INVALID", violation: "reference", fields: []string{"q"}},
	{at: "/agent/audit", form: url.Values{"conversation": {"rien"}}, who: claire, method: "AgentService/FindConversations", reason: "REFERENCE_INVALID", violation: "reference", fields: []string{"conversation"}},
	{at: "/agent/audit?depuis=x&jusque=y", who: claire, fields: []string{"since", "until"}},
	{at: "/agent/modeles", form: url.Values{"titre": {""}, "texte": {""}}, who: claire, fields: []string{"title", "text"}},
}

// Each fault is tied to its field: the summary leads there, and a screen reader says the fault
// with the field, beside its hints.
func TestFaultsAreTiedToTheirFields(t *testing.T) {
	t.Parallel()
	for _, row := range faulty {
		f := newFront(t)
		f.keep(selected(written))
		if row.method != "" {
			f.on(row.method, refuses(refused(codes.InvalidArgument, row.reason, map[string]string{"limit": "750", "actual": "751"}, row.violation)))
		}
		b := f.browse(t, row.who)
		var w *httptest.ResponseRecorder
		if strings.Contains(row.at, "?") {
			w = b.get(row.at)
		} else {
			w = b.post(row.at, row.form)
		}
		if to := w.Header().Get("Location"); strings.Contains(to, "?r=") {
			w = b.get(to)
		}
		if w.Code != http.StatusUnprocessableEntity {
			t.Errorf("%s is answered with %d", row.at, w.Code)
			continue
		}
		root := parsed(t, w)
		var led []string
		for _, link := range elements(byID(root, "faults"), "a") {
			led = append(led, strings.TrimPrefix(attr(link, "href"), "#"))
		}
		if !slices.Equal(led, row.fields) {
			t.Errorf("%s: the summary leads to %v, want %v", row.at, led, row.fields)
		}
		for _, id := range led {
			field := byID(root, id)
			if field == nil || !slices.Contains([]string{"input", "textarea", "select"}, field.Data) {
				t.Errorf("%s: #%s is no field", row.at, id)
				continue
			}
			said := field
			if attr(field, "type") == "radio" {
				for said = field.Parent; said.Data != "fieldset"; said = said.Parent {
				}
			}
			by := strings.Fields(attr(said, "aria-describedby"))
			if attr(said, "aria-invalid") != "true" || !slices.Contains(by, id+"-fault") {
				t.Errorf("%s: #%s is described by %q, invalid %q", row.at, id, by, attr(said, "aria-invalid"))
			}
			if fault := byID(root, id+"-fault"); fault == nil || !strings.HasPrefix(content(fault), "Erreur : ") {
				t.Errorf("%s: no fault at #%s", row.at, id)
			}
		}
		// What describes anything is there.
		for n := range root.Descendants() {
			for _, id := range strings.Fields(attr(n, "aria-describedby")) {
				if byID(root, id) == nil {
					t.Errorf("%s: %s is described by #%s, which is not there", row.at, n.Data, id)
				}
			}
		}
		if len(elements(root, "html")) != 1 || len(elements(byID(root, "main"), "textarea", "input", "select")) == 0 {
			t.Errorf("%s: no form", row.at)
		}
	}
}

// reading are pages that are read, each with all that it can show.
func reading() []row {
	agents, draft := "/agent/conversations/"+conversationID, "/messagerie/brouillons/"+draftID
	list := []row{
		{at: "/connexion"},
		{at: "/connexion?pour=agent&retour=/agent"},
		{at: "/rien"},
		{at: "/aide"},
		{at: "/accessibilite"},
		{at: "/mentions-legales"},
		{method: "POST", at: "/messagerie/recherche", form: url.Values{"choix": {"t=rien"}}, who: jeanne},
		{method: "POST", at: "/messagerie/recherche", form: url.Values{"q": {"paiement"}}, who: jeanne},
		{method: "POST", at: agents + "/repondre", form: url.Values{"cle": {otherID}, "dernier": {lastID}, "texte": {written}, "faire": {"apercu"}}, who: claire},
		{method: "POST", at: "/agent/recherche", form: url.Values{"q": {reference}}, who: claire},
		{method: "POST", at: "/agent/recherche", form: url.Values{"conversation": {conversationID}}, who: claire},
	}
	for _, at := range []string{
		"/espace", "/espace/contact", "/espace/messages", "/profil", "/messagerie", "/messagerie?masquees=1", "/messagerie/nouveau", draft + "/theme", draft + "/sujet", draft + "/motif",
		draft + "/message", draft + "/message?proposition=1", draft + "/recapitulatif", "/messagerie/confirmation/" + conversationID, "/messagerie/conversations/" + conversationID,
		"/preferences", "/donnees-personnelles",
	} {
		list = append(list, row{at: at, who: jeanne})
	}
	for _, at := range []string{"/agent", "/agent?theme=famille&etat=toutes", agents, "/agent/recherche", agents + "/motifs", "/agent/audit", "/agent/statistiques", "/agent/modeles?modifier=" + otherID} {
		list = append(list, row{at: at, who: claire})
	}
	return list
}

// fullFront is a front end whose conversations have all that there can be.
func fullFront(t *testing.T) *front {
	t.Helper()
	f := newFront(t)
	f.keep(selected(written))
	held := sampleForAgent()
	held.Claim = &messagingpb.ClaimInfo{Agent: "Sofiane Amrani", AgentId: "agents:sofiane", ExpireTime: timestamppb.New(sent)}
	held.Hold = &messagingpb.Hold{Note: "Une procédure est en cours", CreateTime: timestamppb.New(sent)}
	held.Notes = []*messagingpb.Note{{Agent: "Claire Bernard", Text: "À rappeler demain", CreateTime: timestamppb.New(sent)}}
	list := answers(&messagingpb.AgentServiceListConversationsResponse{Conversations: []*messagingpb.Conversation{held}})
	f.on("AgentService/ListConversations", list)
	f.on("AgentService/FindConversations", answers(&messagingpb.FindConversationsResponse{Conversations: []*messagingpb.Conversation{held}}))
	f.on("AgentService/GetConversation", func(proto.Message) ([]proto.Message, error) {
		shown := proto.CloneOf(held)
		shown.Claim.Mine = true
		return []proto.Message{&messagingpb.AgentServiceGetConversationResponse{Conversation: shown}}, nil
	})
	return f
}

// visited is each of those pages in a language.
func visited(t *testing.T, lang string, look func(at string, root *html.Node)) {
	t.Helper()
	f := fullFront(t)
	for _, p := range reading() {
		b := f.browse(t, p.who)
		if p.who.ID == "" {
			b.cookies = map[string]string{}
		}
		b.cookies[render.LanguageCookie] = lang
		w := b.get(p.at)
		if p.method == "POST" {
			w = b.post(p.at, p.form)
		}
		if to := w.Header().Get("Location"); strings.Contains(to, "?r=") {
			w = b.get(to)
		}
		if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			t.Errorf("%s is answered with %d and no page: %s", p.at, w.Code, w.Header())
			continue
		}
		look(p.at, parsed(t, w))
	}
}

// within is the value that an attribute has for a node: its own, or that of the nearest
// element around it.
func within(n *html.Node, name string) string {
	for ; n != nil; n = n.Parent {
		if n.Type == html.ElementNode && name == "dir" && n.Data == "bdi" && attr(n, name) == "" {
			return "auto"
		}
		if value := attr(n, name); value != "" {
			return value
		}
	}
	return ""
}

// What the taxonomy and the fund call things is French on every page, and a screen reader
// says it so; on French pages it needs no mark.
func TestFrenchPartsAreMarked(t *testing.T) {
	t.Parallel()
	french := []string{"Famille", "Prestations", "Allocations", "Logement", "Paiement", "Retraite", "Préparer", "Service famille", "Service retraite", "Consulter mes paiements", "Caisse d’Armorique", "Ma messagerie", "attestation"}
	found := make(map[string]bool)
	visited(t, "en", func(at string, root *html.Node) {
		for n := range elements(root, "body")[0].Descendants() {
			for _, label := range french {
				if n.Type != html.TextNode || !strings.Contains(n.Data, label) || strings.Contains(n.Data, "Audit – ") {
					continue
				}
				found[label] = true
				if lang := within(n, "lang"); lang != "fr" {
					t.Errorf("%s: %q is marked as %q", at, n.Data, lang)
				}
			}
		}
	})
	for _, label := range french {
		if !found[label] {
			t.Errorf("%q is on no page", label)
		}
	}
	visited(t, "fr", func(at string, root *html.Node) {
		for n := range elements(root, "body")[0].Descendants() {
			if attr(n, "lang") == "fr" && content(n) != "Français" {
				t.Errorf("%s: %q is marked on a French page", at, content(n))
			}
		}
	})
}

// What people wrote, and what they are called, is set in its own direction.
func TestDirectionOfWhatPeopleWrote(t *testing.T) {
	t.Parallel()
	wrote := []string{"ne vient.", "C’est réglé.", "Le virement part demain.", written, "À rappeler demain", "Une procédure est en cours", "Accusé", "Votre demande {{reference}}", "Jeanne Martin", "Claire Bernard", "Sofiane Amrani"}
	found := make(map[string]bool)
	visited(t, "fr", func(at string, root *html.Node) {
		for n := range elements(root, "body")[0].Descendants() {
			if n.Type == html.ElementNode && n.Data == "textarea" && attr(n, "dir") != "auto" {
				t.Errorf("%s: the field %s has no direction of its own", at, attr(n, "id"))
			}
			for _, text := range wrote {
				if n.Type != html.TextNode || !strings.Contains(n.Data, text) || strings.HasPrefix(n.Data, "Accusé de") {
					continue
				}
				found[text] = true
				if dir := within(n, "dir"); dir != "auto" {
					t.Errorf("%s: %q has the direction %q", at, n.Data, dir)
				}
			}
		}
	})
	for _, text := range wrote {
		if !found[text] {
			t.Errorf("%q is on no page", text)
		}
	}
}

// The main navigation says where one is: on the page itself, or on one behind it.
func TestNavigationSaysWhereOneIs(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"/espace": "/espace page", "/espace/contact": "/espace true", "/espace/messages": "/espace true", "/messagerie": "/messagerie page", "/messagerie/nouveau": "/messagerie true",
		"/messagerie/conversations/" + conversationID: "/messagerie true", "/preferences": "/preferences page", "/profil": "", "/aide": "",
		"/agent": "/agent page", "/agent/conversations/" + conversationID: "/agent true", "/agent/recherche": "/agent true", "/agent/audit": "/agent/audit page", "/agent/statistiques": "/agent/statistiques page",
		"/agent/modeles?modifier=" + otherID: "/agent/modeles page", "/messagerie/brouillons/" + draftID + "/message": "/messagerie true",
	}
	seen := 0
	visited(t, "fr", func(at string, root *html.Node) {
		where, ok := want[at]
		if !ok {
			return
		}
		seen++
		var is []string
		for _, nav := range elements(root, "nav") {
			if attr(nav, "aria-label") != "Principale" {
				continue
			}
			for _, link := range elements(nav, "a") {
				if current := attr(link, "aria-current"); current != "" {
					is = append(is, attr(link, "href")+" "+current)
				}
			}
		}
		if got := strings.Join(is, ", "); got != where {
			t.Errorf("%s: one is at %q, want %q", at, got, where)
		}
	})
	if seen < len(want) {
		t.Errorf("%d of %d pages were seen", seen, len(want))
	}
}

// Headings are in order on every page: one of the first level, first, and none that skips a
// level. The proposal of an online service is in the title while it is shown.
func TestHeadings(t *testing.T) {
	t.Parallel()
	visited(t, "fr", func(at string, root *html.Node) {
		last := 0
		for i, heading := range elements(root, "h1", "h2", "h3", "h4") {
			level := int(heading.Data[1] - '0')
			if (i == 0) != (level == 1) || level > last+1 {
				t.Errorf("%s: heading %d, %q, is of level %d after %d", at, i+1, content(heading), level, last)
			}
			last = level
		}
		if last == 0 {
			t.Errorf("%s has no heading", at)
		}
		title := content(elements(root, "title")[0])
		if says := strings.Contains(title, "Un service en ligne répond plus vite"); says != (byID(root, "proposal") != nil) {
			t.Errorf("%s is titled %q", at, title)
		}
	})
}

// No line of a French page begins with the mark that ends a sentence, or ends within a number,
// within a reference or with an opening guillemet.
func TestFrenchSpaces(t *testing.T) {
	t.Parallel()
	breaks := regexp.MustCompile(` [;:!?»%]|« |[0-9] [0-9]`)
	check := func(at, text string) {
		if found := breaks.FindString(text); found != "" {
			t.Errorf("%s: %q in %q", at, found, text)
		}
		if strings.Contains(text, "'") {
			t.Errorf("%s: a typewriter's apostrophe in %q", at, text)
		}
	}
	look := func(at string, root *html.Node) {
		for n := range root.Descendants() {
			switch {
			case n.Type == html.TextNode && within(n, "dir") != "auto" && n.Parent.Data != "script":
				if strings.Contains(n.Data, "MSA-") && n.Parent.Data != "title" && attr(n.Parent, "class") != "vh" && !strings.HasSuffix(attr(n.Parent, "class"), "ref") {
					t.Errorf("%s: a line may end within %q", at, n.Data)
				}
				// A person's number is shown as their card has it.
				if !strings.Contains(n.Data, memberNumber) {
					check(at, n.Data)
				}
			case n.Type == html.ElementNode:
				for _, a := range n.Attr {
					if slices.Contains([]string{"aria-label", "placeholder", "title", "data-label", "data-text", "data-left", "data-left-one", "data-over", "data-over-one", "data-short", "data-short-one", "data-saved", "data-unsaved"}, a.Key) {
						check(at, a.Val)
					}
				}
			}
		}
	}
	visited(t, "fr", look)
	for _, row := range faulty {
		f := newFront(t)
		f.keep(selected(written))
		if row.method != "" {
			f.on(row.method, refuses(refused(codes.InvalidArgument, row.reason, map[string]string{"limit": "750", "actual": "751"}, row.violation)))
		}
		look(row.at, parsed(t, f.browse(t, row.who).post(row.at, row.form)))
	}
}

// The counter under a text has the words for one character beside those for more, and what is
// refused says one in the singular.
func TestSingular(t *testing.T) {
	t.Parallel()
	for lang, says := range map[string][3]string{
		"fr": {"Il vous reste {n} caractère.", "{n} caractère de trop.", "Encore {n} caractère au moins."},
		"en": {"You have {n} character left.", "{n} character too many.", "At least {n} more character."},
	} {
		f := fullFront(t)
		f.on("MessagingService/ListConversations", answers(&messagingpb.ListConversationsResponse{UnreadCount: 1}))
		b := f.browse(t, jeanne)
		b.cookies[render.LanguageCookie] = lang
		counter := byID(parsed(t, b.get("/messagerie/conversations/"+conversationID)), "count")
		if got := [3]string{attr(counter, "data-left-one"), attr(counter, "data-over-one"), attr(counter, "data-short-one")}; got != says {
			t.Errorf("%s: the counter has %q", lang, got)
		}
		badge := map[string]string{"fr": "1 réponse non lue", "en": "1 unread reply"}[lang]
		if got := content(byID(parsed(t, b.get("/messagerie")), "unread")); got != badge {
			t.Errorf("%s: the badge says %q, want %q", lang, got, badge)
		}
	}
	f := newFront(t)
	b := f.browse(t, jeanne)
	f.on("MessagingService/PostFollowUp", refuses(refused(codes.InvalidArgument, "BODY_TOO_SHORT", map[string]string{"limit": "1", "actual": "0"}, "text")))
	b.shows(b.post("/messagerie/conversations/"+conversationID+"/suite", url.Values{"cle": {otherID}, "texte": {""}}), http.StatusUnprocessableEntity, "Écrivez au moins 1 caractère. Votre texte en compte 0.")
}
