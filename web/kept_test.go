package web

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/plain"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/bound"
	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// filled is a form of a page as a person without JavaScript sends it, by one of its buttons.
type filled struct {
	action string
	values url.Values
	// typed are the names of its fields for text.
	typed []string
}

// typable are the types of inputs that people type into.
var typable = []string{"", "text", "search", "email", "tel"}

// formsOf returns the forms of a page that are sent by POST and have a field for text, once for
// each of their buttons but those that only show what was typed.
func formsOf(t *testing.T, w *httptest.ResponseRecorder) (forms []filled) {
	t.Helper()
	page, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	attribute := func(n *html.Node, name string) string {
		for _, a := range n.Attr {
			if a.Key == name {
				return a.Val
			}
		}
		return ""
	}
	for n := range page.Descendants() {
		if n.DataAtom != atom.Form || attribute(n, "method") != "post" {
			continue
		}
		form := filled{action: attribute(n, "action"), values: url.Values{}}
		var buttons []*html.Node
		for field := range n.Descendants() {
			name, value := attribute(field, "name"), attribute(field, "value")
			if field.DataAtom == atom.Button && value != "apercu" && value != "modele" {
				buttons = append(buttons, field)
			}
			switch {
			case name == "" || attribute(field, "readonly") != "":
			case field.DataAtom == atom.Textarea, field.DataAtom == atom.Input && slices.Contains(typable, attribute(field, "type")),
				name == "texte": // typed on the page before
				form.typed = append(form.typed, name)
			case field.DataAtom == atom.Input && attribute(field, "type") == "hidden", field.DataAtom == atom.Input && hasAttribute(field, "checked"):
				form.values.Set(name, value)
			}
		}
		for _, button := range buttons {
			if form.typed != nil {
				forms = append(forms, form.by(cmp.Or(attribute(button, "formaction"), form.action), attribute(button, "name"), attribute(button, "value")))
			}
		}
	}
	return forms
}

func hasAttribute(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// by is the form as a button sends it.
func (f filled) by(action, name, value string) filled {
	f.action, f.values = action, maps.Clone(f.values)
	if name != "" {
		f.values.Set(name, value)
	}
	return f
}

// pagesToTypeOn are pages by who opens them: together they have every field for text.
var pagesToTypeOn = map[string]session.Session{
	"/messagerie/brouillons/" + draftID + "/message":       jeanne,
	"/messagerie/brouillons/" + draftID + "/recapitulatif": jeanne,
	"/messagerie/conversations/" + conversationID:          jeanne,
	"/preferences":                                       jeanne,
	"/agent/conversations/" + conversationID:             claire,
	"/agent/recherche":                                   claire,
	"/agent/conversations/" + conversationID + "/motifs": claire,
	"/messagerie/nouveau":                                jeanne,
	"/agent/audit":                                       claire,
	"/agent/modeles":                                     claire,
}

// disturbance is what comes between the typing of a text and its arrival.
type disturbance struct {
	name string
	// err is what the gateway answers, to every method if all, else to the one that would take
	// the text.
	err error
	all bool
	// browser changes what the browser has, gateway what the services have.
	browser func(b *browser)
	gateway func(g *gateway)
}

const someoneElse = "somebody else has signed in"

func disturbances() []disturbance {
	list := []disturbance{
		{name: "the session's cookie is gone", browser: func(b *browser) { delete(b.cookies, session.Cookie) }},
		{name: "the themes have changed", gateway: func(g *gateway) {
			changed := sampleTree()
			changed.Version, changed.Themes = 4, changed.Themes[1:]
			g.on("TaxonomyService/GetTaxonomy", answers(changed))
			if g.scripts["MessagingService/SubmitMessage"] != nil {
				g.on("MessagingService/SubmitMessage", refuses(refused(codes.InvalidArgument, "TAXONOMY_VERSION_OUTDATED", nil, "taxonomyVersion")))
			}
		}},
		{name: "the session is over", browser: func(b *browser) { b.hold(func(held *session.Session) { held.Seen = time.Now().Add(-time.Hour) }) }},
		{name: "the session is eight hours old", browser: func(b *browser) { b.hold(func(held *session.Session) { held.Begun = time.Now().Add(-9 * time.Hour) }) }},
		{name: "the profile is open again", browser: func(b *browser) { b.hold(func(held *session.Session) { held.Audience = 0 }) }},
		{name: someoneElse, browser: func(b *browser) { b.hold(func(held *session.Session) { held.Subject = "another" }) }},
		{name: "the other side has signed in", browser: func(b *browser) {
			b.hold(func(held *session.Session) {
				held.Realm = map[session.Realm]session.Realm{session.Member: session.Agent, session.Agent: session.Member}[held.Realm]
			})
		}},
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		list = append(list, disturbance{name: code.String(), err: status.Error(code, "")}, disturbance{name: code.String() + " everywhere", err: status.Error(code, ""), all: true})
	}
	for reason, code := range map[string]codes.Code{
		"CONVERSATION_CLOSED": codes.FailedPrecondition, "CLAIM_HELD": codes.FailedPrecondition, "CLAIM_NOT_HELD": codes.FailedPrecondition,
		"CONVERSATION_ERASED": codes.FailedPrecondition, "ALREADY_ANSWERED": codes.FailedPrecondition, "CONVERSATION_CHANGED": codes.Aborted,
		"IDEMPOTENCY_KEY_REUSED": codes.AlreadyExists, "SCOPE_MISSING": codes.PermissionDenied, "DRAFT_NOT_FOUND": codes.NotFound,
	} {
		list = append(list, disturbance{name: reason, err: refused(code, reason, nil)})
	}
	for _, reason := range []string{"BODY_TOO_LONG", "BODY_TOO_SHORT", "BODY_BLANK", "EMAIL_INVALID", "REFERENCE_INVALID", "LAST_MESSAGE_REQUIRED"} {
		list = append(list, disturbance{name: reason, err: refused(codes.InvalidArgument, reason, nil, "text")})
	}
	return list
}

// hold changes the session that the browser has a cookie of.
func (b *browser) hold(change func(*session.Session)) {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: session.Cookie, Value: b.cookies[session.Cookie]})
	held := b.front.Sessions.Opened(r)
	if held == nil {
		b.t.Fatal("the browser has no session")
	}
	change(held)
	sealed, err := b.front.Seal.Seal(session.Cookie, held)
	if err != nil {
		b.t.Fatal(err)
	}
	b.cookies[session.Cookie] = sealed
}

// follow goes where answers lead, signs in where that is asked for and takes the first profile.
func (b *browser) follow(w *httptest.ResponseRecorder, who session.Session) *httptest.ResponseRecorder {
	b.t.Helper()
	for range 8 {
		to, err := url.Parse(w.Header().Get("Location"))
		switch {
		case err != nil:
			b.t.Fatal(err)
		case w.Code != http.StatusSeeOther || to.IsAbs():
			return w
		case to.Path == "/connexion":
			b.get(to.String())
			b.cookies[session.Cookie] = b.front.browse(b.t, who).cookies[session.Cookie]
			w = b.get(to.Query().Get("retour"))
		case to.Path == "/profil":
			w = b.post("/profil", url.Values{"profil": {who.Profiles[0]}, "retour": {to.Query().Get("retour")}})
		default:
			w = b.get(to.String())
		}
	}
	b.t.Fatal("pages lead in a circle")
	return nil
}

// has reports whether a page has all of the texts in its fields or in what it says.
func has(w *httptest.ResponseRecorder, texts []string) bool {
	page := html.UnescapeString(w.Body.String())
	return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(page, text) })
}

// marked are texts that stand on no page by themselves; "<&" shows what is not escaped.
var marked = map[string]string{
	"texte": "Texte marqué : 7K3D, « é » <&> fin.", "email": "marque@7k3d.example", "telephone": "+33 6 98 76 54 32", "q": "MSA-7K3D92QY",
	"titre": "Titre marqué 7K3D", "conversation": "MSA-7K3D92QZ", "autre": "agents:marque", "note": "Note marquée 7K3D, « é » <&>.",
}

// What was typed is on the page that comes, whatever comes between, or with whoever took it. The
// fields are those that the pages have.
func TestTyped_IsNeverLost(t *testing.T) {
	t.Parallel()
	var seen []string
	tried := 0
	for at, who := range pagesToTypeOn {
		f := newFront(t)
		f.keep(selected(written))
		forms := formsOf(t, f.browse(t, who).get(at))
		if len(forms) == 0 {
			t.Errorf("%s has no field", at)
		}
		for _, form := range forms {
			var texts []string
			for _, name := range form.typed {
				text, ok := marked[name]
				if !ok {
					t.Fatalf("%s: the field %s has no text to type", at, name)
				}
				form.values.Set(name, text)
				texts, seen = append(texts, text), append(seen, name)
			}
			if form.values.Get(kept.Author) == "" {
				t.Errorf("%s: the form to %s does not say whom it was made for", at, form.action)
			}
			takers := f.takers(t, who, form, texts)
			for _, d := range disturbances() {
				if d.name == "the profile is open again" && who.Realm == session.Agent || d.gateway != nil && !form.values.Has("theme") {
					continue
				}
				refused := takers
				if d.err == nil || d.all {
					refused = []string{""}
				}
				for _, method := range refused {
					tried++
					if lost := f.loses(t, who, form, texts, method, d); lost != nil {
						t.Errorf("%s, the form to %s, %s of %q: %q is lost", at, form.action, d.name, method, lost)
					}
				}
			}
		}
	}
	t.Logf("%d combinations of form and disturbance", tried)
	// No field of a template is on none of these pages.
	names := regexp.MustCompile(`<(?:textarea|input type="(?:text|search|email|tel)")[^>]* name="(\w+)"`)
	files, err := filepath.Glob("internal/render/templates/*.html")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range names.FindAllStringSubmatch(string(content), -1) {
			if !slices.Contains(seen, found[1]) {
				t.Errorf("nothing was typed into %s of %s", found[1], file)
			}
		}
	}
}

// takers are the methods that the sending of a form calls when nothing comes between, but for what
// pages are made from.
func (f *front) takers(t *testing.T, who session.Session, form filled, texts []string) (methods []string) {
	t.Helper()
	f.calls()
	w := f.browse(t, who).post(form.action, form.values)
	if w.Code >= http.StatusBadRequest {
		t.Errorf("the form to %s is refused with %d: %s", form.action, w.Code, text(w))
	}
	for _, call := range f.calls() {
		_, verb, _ := strings.Cut(call.method, "/")
		reads := strings.HasPrefix(verb, "Get") || strings.HasPrefix(verb, "List")
		if !slices.Contains(methods, call.method) && (!reads || len(taken([]asked{call}, "", texts)) > 0) {
			methods = append(methods, call.method)
		}
	}
	return methods
}

// taken are those of the texts that the requests to any method but one have.
func taken(calls []asked, but string, texts []string) (found []string) {
	for _, call := range calls {
		request, _ := protojson.Marshal(call.request)
		plain := html.UnescapeString(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(request)))
		for _, text := range texts {
			if call.method != but && strings.Contains(strings.ReplaceAll(plain, " ", ""), strings.ReplaceAll(text, " ", "")) {
				found = append(found, text)
			}
		}
	}
	return found
}

// loses returns those texts of a form that are not on the page that comes at last, and that
// nobody has taken. The disturbance is of one method, if it is of any.
func (f *front) loses(t *testing.T, who session.Session, form filled, texts []string, method string, d disturbance) (lost []string) {
	t.Helper()
	f.keep(selected(""))
	f.forgetTrees()
	b := f.browse(t, who)
	before := make(map[string]script)
	for name, well := range f.scripts {
		if d.gateway != nil {
			before[name] = well
		}
		if d.err != nil && (d.all || name == method) {
			before[name] = well
			f.on(name, refuses(d.err))
		}
	}
	if d.browser != nil {
		d.browser(b)
	}
	if d.gateway != nil {
		d.gateway(f.gateway)
	}
	f.calls()
	w := b.post(form.action, form.values)
	if status.Code(d.err) == codes.Unauthenticated { // as after the sign-in
		for name, well := range before {
			f.on(name, well)
		}
	}
	w = b.follow(w, who)
	but := method
	if d.gateway != nil {
		but = "MessagingService/SubmitMessage"
	}
	arrived := taken(f.calls(), but, texts)
	if d.name == someoneElse && arrived != nil {
		t.Errorf("the form to %s is sent as somebody else: %s", form.action, arrived)
	}
	for _, text := range texts {
		if !has(w, []string{text}) && (d.all || !slices.Contains(arrived, text)) {
			lost = append(lost, text)
		}
	}
	for name, well := range before {
		f.on(name, well)
	}
	return lost
}

// Whoever has sent too many requests gets back what they have typed.
func TestTyped_TooMany(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	s, pages := siteBefore(t, Config{Bounds: fair.Bounds{RatePerCaller: 0.01, BurstPerCaller: 1}}, g.conn, g.conn)
	b := (&front{g, s, pages}).browse(t, jeanne)
	form := url.Values{"cle": {otherID}, "texte": {marked["texte"]}}
	at := "/messagerie/conversations/" + conversationID + "/suite"
	b.get("/aide")
	w := b.post(at, form)
	if b.shows(w, http.StatusTooManyRequests, "Rien n’a été fait."); !has(w, []string{marked["texte"]}) || w.Header().Get("Retry-After") == "" || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
	if calls := g.names(); len(calls) != 0 {
		t.Errorf("the gateway is asked for %v", calls)
	}
	// Not for what costs more to show than to refuse, and for nobody who is not signed in.
	form.Set("texte", strings.Repeat("é", bound.KeptBytes))
	if w := b.post(at, form); w.Code != http.StatusTooManyRequests || strings.Contains(w.Body.String(), "éé") {
		t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
	}
	if w := b.get("/aide"); strings.Contains(w.Body.String(), "<main") {
		t.Error("a page is made for a request that came too soon")
	}
}

// What is handed back is handed back to whoever typed it, until it is sent.
func TestKept_HandedBack(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	at := "/messagerie/conversations/" + conversationID
	// 750 characters of four bytes that do not pack.
	typed := ""
	for drawn := rand.New(rand.NewPCG(1, 1)); len(typed) < 4*750; {
		typed += string(rune(0x10000 + drawn.IntN(0xffff)))
	}
	typed, _ = plain.Text(typed)
	carried := func() *browser {
		b := f.browse(t, jeanne)
		form := formsOf(t, b.get(at))[0]
		form.values.Set("texte", typed)
		delete(b.cookies, session.Cookie)
		if w := b.post(form.action, form.values); w.Header().Get("Location") != "/connexion?pour=member&retour=%2Frepris" {
			t.Fatalf("%d to %q", w.Code, w.Header().Get("Location"))
		}
		return b
	}
	b := carried()
	b.shows(b.get("/connexion?pour=member&retour=%2Frepris"), http.StatusOK, "retrouver ce que vous avez écrit")
	if w := b.get("/repris"); w.Header().Get("Location") != "/connexion?pour=member&retour=%2Frepris" {
		t.Errorf("without a session: %d to %q", w.Code, w.Header().Get("Location"))
	}
	signIn := func(b *browser, who session.Session) {
		b.cookies[session.Cookie] = f.browse(t, who).cookies[session.Cookie]
	}
	signIn(b, jeanne)
	for range 2 {
		w := b.get("/repris")
		b.shows(w, http.StatusOK, "rien n’a été envoyé", typed)
	}
	// Sent from there, it is the follow-up, once.
	form := formsOf(t, b.get("/repris"))[0]
	form.values.Set("texte", typed)
	f.calls()
	b.led(b.post(form.action, form.values), at)
	if got, _ := one[*messagingpb.PostFollowUpRequest](t, f.gateway, "MessagingService/PostFollowUp"); got.GetText() != typed {
		t.Errorf("%v was sent", got)
	}
	if w := b.get("/repris"); w.Header().Get("Location") != "/" {
		t.Errorf("after it was sent: %d to %q", w.Code, w.Header().Get("Location"))
	}
	// Nobody else gets it, even if the first comes back.
	marc := jeanne
	marc.Subject = "members:marc"
	b = carried()
	signIn(b, marc)
	if w := b.get("/repris"); w.Header().Get("Location") != "/" || strings.Contains(w.Body.String(), typed[:40]) {
		t.Errorf("to another: %d %s", w.Code, w.Body)
	}
	signIn(b, jeanne)
	b.shows(b.get("/repris"), http.StatusOK, typed)
	// A cookie that was not made here is none.
	b.cookies["__Host-typed"] = strings.Repeat("A", 300)
	if w := b.get("/repris"); w.Header().Get("Location") != "/" {
		t.Errorf("forged: %d to %q", w.Code, w.Header().Get("Location"))
	}
	// What fits into no cookie stays on a page that leads to the sign-in elsewhere.
	b = f.browse(t, claire)
	form = formsOf(t, b.get("/agent/conversations/"+conversationID))[0]
	long := "" // a text that does not pack
	for drawn := rand.New(rand.NewPCG(1, 1)); len(long) < 20_000; {
		long += string(rune(0x10000 + drawn.IntN(0xffff)))
	}
	long, _ = plain.Text(long)
	form.values.Set("texte", long)
	delete(b.cookies, session.Cookie)
	w := b.post(form.action, form.values)
	b.shows(w, http.StatusUnauthorized, "Connectez-vous dans un autre onglet")
	if !has(w, []string{long}) {
		t.Error("a long text is lost")
	}
	// The last thing that was typed is what is kept, and signing out drops it.
	b = carried()
	signIn(b, jeanne)
	b.post("/deconnexion", nil)
	signIn(b, jeanne)
	if w := b.get("/repris"); w.Header().Get("Location") != "/" {
		t.Error("it is still there after signing out")
	}
}
