package kept

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/ma-messagerie/messagerie/web/internal/session"
)

func sealer(t *testing.T) *session.Sealer {
	t.Helper()
	s, err := session.NewSealer(session.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOf(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		method, at, mode string
		form             url.Values
		typed            []Field
	}{
		{http.MethodPost, "/agent/conversations/c/repondre", "navigate", url.Values{"texte": {"Bonjour"}}, []Field{{"texte", "Bonjour"}}},
		{http.MethodPost, "/messagerie/conversations/c/suite", "", url.Values{"texte": {"Bonjour"}}, []Field{{"texte", "Bonjour"}}},
		{http.MethodPost, "/preferences", "navigate", url.Values{"email": {"a@example.org"}, "telephone": {""}}, []Field{{"email", "a@example.org"}}},
		{http.MethodPost, "/agent/audit", "navigate", url.Values{"conversation": {"MSA-7K3D92QX"}}, []Field{{"conversation", "MSA-7K3D92QX"}}},
		// A page names the conversation here.
		{http.MethodPost, "/agent/recherche", "navigate", url.Values{"conversation": {"c"}}, nil},
		{http.MethodPost, "/agent/conversations/c/repondre", "navigate", url.Values{"texte": {""}}, nil},
		// A script has it on its page.
		{http.MethodPost, "/messagerie/brouillons/d/enregistrer", "cors", url.Values{"texte": {"Bonjour"}}, nil},
		// To be sent again, it would leave this site.
		{http.MethodPost, "//example.org/suite", "navigate", url.Values{"texte": {"Bonjour"}}, nil},
		{http.MethodGet, "/agent/conversations/c", "navigate", url.Values{"texte": {"Bonjour"}}, nil},
	} {
		row.form.Set("cle", "k")
		row.form.Set("traceparent", "00")
		row.form.Set(Author, "sealed")
		row.form.Set(Again, "1")
		r := httptest.NewRequest(row.method, "http://127.0.0.1"+row.at+"?texte=no", strings.NewReader(row.form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Mode", row.mode)
		if err := r.ParseForm(); err != nil {
			t.Fatal(err)
		}
		form, ok := Of(r)
		if ok != (row.typed != nil) || !reflect.DeepEqual(form.Typed, row.typed) {
			t.Errorf("%s, %v: %t, %v", row.at, row.form, ok, form.Typed)
		}
		if ok && (form.Action != row.at || form.Author != "sealed" || form.Fields[0] != Field{"cle", "k"}) {
			t.Errorf("%s: %+v", row.at, form)
		}
		for _, field := range form.Fields {
			if field.Name == "traceparent" || field.Name == Author || field.Name == Again {
				t.Errorf("%s: the field %s is sent again", row.at, field.Name)
			}
		}
	}
}

// French of 5000 characters fits into one cookie's worth of an answer's head, and comes back.
func TestCarry(t *testing.T) {
	t.Parallel()
	s := sealer(t)
	jeanne := &session.Session{Realm: session.Member, Subject: "jeanne"}
	words := strings.Fields("bonjour je vous écris au sujet de mon dossier qui n’avance pas depuis le mois dernier paiement allocations attestation conjoint enfant naissance retraite carrière exploitation cotisations déclaration parcelle salarié embauche arrêt maladie médecin remboursement mutuelle adresse déménagement justificatif quotient")
	text := ""
	for drawn := rand.New(rand.NewPCG(1, 1)); len([]rune(text)) < 5000; {
		text += words[drawn.IntN(len(words))] + " "
	}
	form := Form{Action: "/messagerie/conversations/c/suite", Typed: []Field{{"texte", text}}, Fields: []Field{{"cle", "k"}}, Author: Sign(s, jeanne)}
	w := httptest.NewRecorder()
	empty := httptest.NewRequest(http.MethodPost, "/", nil)
	if !Carry(s, w, empty, form) {
		t.Fatal("it does not fit")
	}
	if head := strings.Join(w.Header().Values("Set-Cookie"), ""); len(head) > 4000 {
		t.Errorf("the answer's head has %d bytes", len(head))
	}
	r := httptest.NewRequest(http.MethodGet, "/repris", nil)
	for _, cookie := range w.Result().Cookies() {
		if cookie.MaxAge > 0 {
			r.AddCookie(cookie)
		}
		if strings.Contains(cookie.Value, "bonjour") || !cookie.HttpOnly || !cookie.Secure {
			t.Errorf("%s can be read", cookie.Name)
		}
	}
	got, ok := Carried(s, r)
	if !ok || !reflect.DeepEqual(got, form) || !got.By(s, jeanne) || !got.Sends() {
		t.Errorf("%t %+v", ok, got)
	}
	if _, ok := Carried(sealer(t), r); ok {
		t.Error("another key opens it")
	}
	for _, other := range []*session.Session{{Realm: session.Member, Subject: "paul"}, {Realm: session.Agent, Subject: "jeanne"}, {Realm: session.Member}} {
		if got.By(s, other) {
			t.Errorf("it is said to be by %+v", other)
		}
	}
	// Sent again it is carried on; what another tab has does not take its place.
	if !Carry(s, httptest.NewRecorder(), r, form) {
		t.Error("it is not carried on")
	}
	second := form
	second.Typed = []Field{{"texte", "De l’autre onglet."}}
	if Carry(s, httptest.NewRecorder(), r, second) {
		t.Error("another tab's is carried in its place")
	}
	form.Author = ""
	if Carry(s, httptest.NewRecorder(), empty, form) {
		t.Error("what is nobody's is carried")
	}
	if Sign(s, nil) != "" || Sign(s, &session.Session{Realm: session.Member}) != "" {
		t.Error("a page is signed for nobody")
	}
}
