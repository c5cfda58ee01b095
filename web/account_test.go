package web

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// unreached is a member whose account brings contact points that cannot be used.
var unreached = &messagingpb.Preferences{
	AccountEmail: "rené@exemple.fr", AccountEmailFault: "EMAIL_NOT_ASCII", AccountPhone: "01 42 34 56 78", AccountPhoneFault: "PHONE_NOT_MOBILE", SmsOnAcknowledgement: true,
}

// A member whose account brings what cannot be used sees it, and how to mend it, until they have
// chosen another.
func TestPreferences_OfAnAccountThatCannotBeReached(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.on("MessagingService/GetPreferences", answers(&messagingpb.GetPreferencesResponse{Preferences: unreached}))
	b := f.browse(t, jeanne)
	b.shows(b.get("/preferences"), http.StatusOK, "Nous ne pouvons pas écrire à l’adresse e-mail de votre compte, rené@exemple.fr.", "avant le @", "Nous n’envoyons pas de SMS au numéro de votre compte, 01 42 34 56 78.", "celui-ci ne reçoit pas de SMS")
	if page := text(b.get("/preferences")); strings.Contains(page, "Aujourd’hui") {
		t.Error("what is not used is said to be")
	}
	chosen := proto.CloneOf(unreached)
	chosen.Email, chosen.Phone = "rene@xn--exmple-cva.fr", "+33612345678"
	f.on("MessagingService/GetPreferences", answers(&messagingpb.GetPreferencesResponse{Preferences: chosen}))
	page := b.get("/preferences")
	if page := text(page); strings.Contains(page, "rené") || strings.Contains(page, "ne pouvons pas") {
		t.Error("it is said of an account that is not asked")
	}
	if got := value(page, "", "email"); got != "rene@exémple.fr" {
		t.Errorf("the field has %q", got)
	}
}

// People begin on their own side.
func TestRoot(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for name, row := range map[string]struct {
		browser *browser
		to      string
	}{
		"a stranger": {&browser{t: t, front: f, cookies: map[string]string{}}, "/connexion"},
		"a member":   {f.browse(t, jeanne), "/espace"},
		"an agent":   {f.browse(t, claire), "/agent"},
	} {
		if to := row.browser.get("/").Header().Get("Location"); to != row.to {
			t.Errorf("%s is led to %q", name, to)
		}
	}
}

// Who is signed in already was led to sign in beside a renewal, and goes back.
func TestSignIn_Already(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for at, to := range map[string]string{
		"/connexion?pour=member&retour=%2Fmessagerie%3Fmasquees%3D1": "/messagerie?masquees=1",
		"/connexion?pour=agent&retour=%2Fagent":                      "",
		"/connexion?pour=member&retour=https%3A%2F%2Fexample.org":    "",
		"/connexion?pour=member":                                     "",
	} {
		w := f.browse(t, jeanne).get(at)
		if got := w.Header().Get("Location"); got != to || to == "" && w.Code != http.StatusOK {
			t.Errorf("%s: %d to %q", at, w.Code, got)
		}
	}
}

// While the provider is away, that is said, and a sign-in that was not begun is none.
func TestSignIn_Refused(t *testing.T) {
	t.Parallel()
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	s, pages := newTestSite(t, Config{Members: Provider{Issuer: away.URL}})
	b := &browser{t: t, front: &front{site: s, pages: pages}, cookies: map[string]string{}}
	b.shows(b.get("/connexion/member"), http.StatusServiceUnavailable, "momentanément indisponible")
	b.shows(b.get("/connexion/nobody"), http.StatusNotFound)
	b.shows(b.get("/auth/callback?state=x&code=y"), http.StatusBadRequest, "La connexion n’a pas abouti")
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	b.led(b.post("/deconnexion", nil), "/connexion")
	if len(b.cookies) != 0 {
		t.Errorf("left: %v", b.cookies)
	}
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	b.shows(b.led(b.post("/langue", url.Values{"vers": {"en/aide"}}), "/aide"), http.StatusOK, "Help")
	b.post("/langue", url.Values{"vers": {"de/"}})
	if b.cookies[render.LanguageCookie] != "en" {
		t.Errorf("an unknown language is taken: %v", b.cookies)
	}
	if to := b.post("/langue", url.Values{"vers": {"fr//example.org"}}).Header().Get("Location"); to != "/" {
		t.Errorf("led to %q", to)
	}
}

// The script is told how long the session goes on.
func TestSession(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	var left struct{ SecondsLeft, SecondsMost int }
	if err := json.Unmarshal(f.browse(t, jeanne).get("/session").Body.Bytes(), &left); err != nil || left.SecondsLeft < 1790 || left.SecondsLeft > 1800 {
		t.Errorf("%d seconds, %v", left.SecondsLeft, err)
	}
	// Near its end in any case, no page prolongs it.
	now := time.Now()
	ending := jeanne
	ending.Access, ending.Expiry, ending.Begun, ending.Seen = "token", now.Add(time.Hour), now.Add(-7*time.Hour-50*time.Minute), now
	w := httptest.NewRecorder()
	if err := f.Sessions.Save(w, httptest.NewRequest(http.MethodGet, "/", nil), &ending); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, front: f, cookies: map[string]string{session.Cookie: w.Result().Cookies()[0].Value}}
	if err := json.Unmarshal(b.get("/session").Body.Bytes(), &left); err != nil || left.SecondsLeft > 600 {
		t.Errorf("ten minutes before the end: %d seconds, %v", left.SecondsLeft, err)
	}
	if left.SecondsMost != left.SecondsLeft {
		t.Errorf("of %d seconds, %d could be left", left.SecondsLeft, left.SecondsMost)
	}
	// Without a page for 28 minutes: what a script reads does not prolong it, "stay" does.
	idle := ending
	idle.Begun, idle.Seen = now.Add(-time.Hour), now.Add(-28*time.Minute)
	w = httptest.NewRecorder()
	if err := f.Sessions.Save(w, httptest.NewRequest(http.MethodGet, "/", nil), &idle); err != nil {
		t.Fatal(err)
	}
	b = &browser{t: t, front: f, cookies: map[string]string{session.Cookie: w.Result().Cookies()[0].Value}}
	for _, row := range []struct {
		method string
		most   int
	}{{"GET", 120}, {"GET", 120}, {"POST", 1800}} {
		r := httptest.NewRequest(row.method, "/session", nil)
		r.Header.Set("Sec-Fetch-Mode", "cors")
		if err := json.Unmarshal(b.do(r).Body.Bytes(), &left); err != nil || left.SecondsLeft > row.most || left.SecondsLeft < row.most-10 {
			t.Errorf("%s: %d seconds, %v", row.method, left.SecondsLeft, err)
		}
	}
	stranger := &browser{t: t, front: f, cookies: map[string]string{}}
	if w := stranger.get("/session"); w.Code != http.StatusUnauthorized {
		t.Errorf("a stranger: %d", w.Code)
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	marc := session.Session{ID: "marc", Realm: session.Member, Name: "Marc Dubois", Profiles: []string{"PARTICULIER", "EXPLOITANT"}}
	b := f.browse(t, marc)
	b.shows(b.led(b.get("/messagerie"), "/profil?retour=%2Fmessagerie"), http.StatusOK, "Particulier", "Exploitant")
	for _, form := range []url.Values{{"retour": {"/messagerie"}}, {"profil": {"EMPLOYEUR"}, "retour": {"/messagerie"}}} {
		w := b.post("/profil", form)
		b.shows(w, http.StatusUnprocessableEntity, "À corriger", "Erreur : Choisissez un profil.")
		for _, want := range []string{`href="#p0"`, `action="/profil" novalidate>`, `aria-describedby="p0-fault" aria-invalid="true"`, `name="retour" value="/messagerie"`, `value="en/profil?retour=%2Fmessagerie"`} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%v: no %s: %s", form, want, w.Body)
			}
		}
	}
	w := b.led(b.post("/profil", url.Values{"profil": {"EXPLOITANT"}, "retour": {"/messagerie"}}), "/messagerie")
	if !strings.Contains(w.Body.String(), "Marc Dubois</bdi></span> <span>· Exploitant") {
		t.Error("the profile is not the chosen one")
	}
	b.led(b.post("/profil", url.Values{"profil": {"PARTICULIER"}, "retour": {"https://example.org"}}), "/espace")
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	w := b.led(b.post("/preferences", url.Values{"email": {"j@example.org"}, "telephone": {"0612345678"}, "langue": {"en"}, "sms-accuse": {"1"}}), "/preferences")
	if !strings.Contains(w.Body.String(), "Vos préférences sont enregistrées.") || !strings.Contains(w.Body.String(), `value="06 12 34 56 78"`) {
		t.Errorf("after saving: %s", w.Body)
	}
	want := &messagingpb.Preferences{Email: "j@example.org", Phone: "0612345678", Locale: "en", SmsOnAcknowledgement: true}
	if got, _ := one[*messagingpb.ReplacePreferencesRequest](t, f.gateway, "MessagingService/ReplacePreferences"); !proto.Equal(got.GetPreferences(), want) {
		t.Errorf("saved %v", got)
	}
	for reason, row := range map[string]struct{ field, says string }{
		"EMAIL_INVALID":      {"email", "Écrivez une adresse e-mail complète"},
		"PHONE_INVALID":      {"phone", "Écrivez un numéro de téléphone mobile"},
		"CONTROL_CHARACTERS": {"email", "il contient un caractère invisible"},
	} {
		f.on("MessagingService/ReplacePreferences", refuses(refused(codes.InvalidArgument, reason, nil, "preferences."+row.field)))
		w := b.post("/preferences", url.Values{"email": {"j@example"}, "telephone": {"06"}})
		b.shows(w, http.StatusUnprocessableEntity, row.says)
		if !strings.Contains(w.Body.String(), `href="#`+row.field+`"`) || !strings.Contains(w.Body.String(), `value="j@example"`) {
			t.Errorf("%s: %s", reason, w.Body)
		}
	}
	f.on("MessagingService/ReplacePreferences", refuses(refused(codes.InvalidArgument, "SOMETHING_NEW", nil, "preferences.email")))
	b.shows(b.post("/preferences", nil), http.StatusNotFound)
}

// Numbers are shown as people write them: the account's, which no line breaks, and the chosen one,
// which is taken again as it stands in its field. What was refused stands there as it was typed.
func TestPreferences_Numbers(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	f.on("MessagingService/GetPreferences", answers(&messagingpb.GetPreferencesResponse{Preferences: &messagingpb.Preferences{AccountPhone: "+33639980001"}}))
	if page := b.get("/preferences").Body.String(); !strings.Contains(page, "celui de votre compte\u00a0: 06\u00a039\u00a098\u00a000\u00a001.") {
		t.Errorf("the account's: %s", page)
	}
	f.on("MessagingService/GetPreferences", answers(&messagingpb.GetPreferencesResponse{Preferences: &messagingpb.Preferences{Phone: "+41791234567"}}))
	if shown := value(b.get("/preferences"), "", "telephone"); html.UnescapeString(shown) != "+41 79 123 45 67" {
		t.Errorf("the chosen one: %q", shown)
	}
	f.on("MessagingService/ReplacePreferences", refuses(refused(codes.InvalidArgument, "PHONE_NOT_MOBILE", nil, "preferences.phone")))
	if shown := value(b.post("/preferences", url.Values{"telephone": {"0142.345678"}}), "", "telephone"); shown != "0142.345678" {
		t.Errorf("a refused one: %q", shown)
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	pieces := []proto.Message{
		&messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Preferences{Preferences: &messagingpb.Preferences{Email: "j@example.org"}}},
		&messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Conversation{Conversation: &messagingpb.Conversation{
			Reference: reference, Readings: []*messagingpb.Reading{{Service: "Service famille", Times: 2}},
		}}},
	}
	f.on("MessagingService/ExportMyData", answers(pieces...))
	w := f.browse(t, jeanne).get("/donnees-personnelles/export")
	var got []map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got) != 2 || w.Header().Get("Content-Disposition") != `attachment; filename="mes-donnees.json"` {
		t.Errorf("%v, %s", err, w.Body)
	}
	if !strings.Contains(w.Body.String(), `"readings":[{"service":"Service famille","times":2}]`) {
		t.Errorf("which services have read the conversation is missing: %s", w.Body)
	}
	// Half a file must not look like a whole one.
	f.on("MessagingService/ExportMyData", func(proto.Message) ([]proto.Message, error) { return pieces, status.Error(codes.Unavailable, "") })
	defer func() {
		if fault := recover(); fault != http.ErrAbortHandler { //nolint:errorlint // a panic's value
			t.Errorf("half a file ends with %v", fault)
		}
	}()
	f.browse(t, jeanne).get("/donnees-personnelles/export")
}

func TestErase(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	b.shows(b.post("/donnees-personnelles/effacement", nil), http.StatusUnprocessableEntity, "Cochez la case")
	if calls := f.names(); len(calls) != 0 {
		t.Errorf("without a word, %v is asked for", calls)
	}
	w := b.led(b.post("/donnees-personnelles/effacement", url.Values{"confirmer": {"oui"}}), "/donnees-personnelles")
	if !strings.Contains(w.Body.String(), "2 conversations effacées") {
		t.Error("nobody is told what was erased")
	}
	if got, _ := one[*messagingpb.EraseMyDataRequest](t, f.gateway, "MessagingService/EraseMyData"); !got.GetConfirm() {
		t.Errorf("asked for %v", got)
	}
}

// What answers before any page: probes, and a drain that says so.
func TestProbes(t *testing.T) {
	t.Parallel()
	s, _ := newTestSite(t, Config{})
	admin := &chassis.Admin{}
	pages := s.handler(admin)
	ask := func(at string) int {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequest(http.MethodGet, at, nil))
		return w.Code
	}
	if live, ready := ask("/livez"), ask("/readyz"); live != http.StatusOK || ready != http.StatusOK {
		t.Errorf("live %d, ready %d", live, ready)
	}
	admin.Drain()
	if live, ready := ask("/livez"), ask("/readyz"); live != http.StatusOK || ready != http.StatusServiceUnavailable {
		t.Errorf("while it drains: live %d, ready %d", live, ready)
	}
}
