package web

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// nowhere is a connection to a gateway that does not answer.
func nowhere(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// newTestSite is a front end whose gateway does not answer.
func newTestSite(t *testing.T, cfg Config) (*site, http.Handler) {
	t.Helper()
	return siteBefore(t, cfg, nowhere(t), nowhere(t))
}

// siteBefore is a front end before a gateway, with a connection for pages and one for streams.
func siteBefore(t *testing.T, cfg Config, conn, streams *grpc.ClientConn) (*site, http.Handler) {
	t.Helper()
	cfg.SessionKey, cfg.PublicURL = NewSessionKey(), "http://127.0.0.1:8000"
	s, err := newSite(t.Context(), cfg, conn, streams)
	if err != nil {
		t.Fatal(err)
	}
	return s, s.handler(&chassis.Admin{})
}

// signedIn gives a request the cookie of a session.
func signedIn(t *testing.T, s *site, r *http.Request, held session.Session) *http.Request {
	t.Helper()
	now := time.Now()
	held.Access, held.Expiry, held.Begun, held.Seen = "token", now.Add(time.Hour), now, now
	sealed, err := s.Seal.Seal(session.Cookie, held)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(&http.Cookie{Name: session.Cookie, Value: sealed})
	return r
}

func TestConfig_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := chassis.Load[Config]("WEB_", []string{
		"WEB_PUBLIC_URL=http://messagerie.example.org", "WEB_SESSION_KEY=short", "WEB_THEME_PATH=/does/not/exist",
		"WEB_BODY_NAME=\u200b", "WEB_PUBLISHER=\u202eMa messagerie", "WEB_OWN_SITES=fr,www.example.orgg", "WEB_ACCESSIBILITY_CONTACT=acces@example",
	})
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{"PUBLIC_URL", "https", "SESSION_KEY", "openssl rand", "THEME_PATH", "BODY_NAME, which", "PUBLISHER, which", `"fr" is not`, `"www.example.orgg" is not`, "ACCESSIBILITY_CONTACT", "WEB_MEMBERS_ISSUER", "WEB_AGENTS_ISSUER"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	for url, ok := range map[string]bool{
		"https://messagerie.example.org": true, "http://127.0.0.1:8000": true, "http://localhost:8000/": true, "http://[::1]:8000": true,
		"https://example.org/path": false, "messagerie.example.org": false, "http://10.0.0.1": false,
		"https://a@example.org": false, "https://example.org?x": false, "https://example.org/#x": false,
	} {
		cfg := Config{PublicURL: url, SessionKey: NewSessionKey()}
		if err := cfg.Validate(); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// The site says of itself what the law has it say, and never more than an audit has shown.
func TestConfig_Statement(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{Accessibility: "partial"}, {Accessibility: "audited"}, {AccessibilityContact: "nobody"}, {OwnSites: []string{"fr"}}} {
		cfg.PublicURL, cfg.SessionKey = "https://messagerie.example.org", NewSessionKey()
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "ACCESSIBILITY") && !strings.Contains(err.Error(), "OWN_SITES") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	g := newGateway(t)
	for _, row := range []struct {
		cfg  Config
		says []string
	}{
		{Config{}, []string{"Accessibilité : non conforme", "est non conforme au référentiel", "n’a pas fait l’objet d’un audit", "Rédiger un nouveau message", "Défenseur des droits, Libre réponse 71120"}},
		{
			Config{Accessibility: "partial", AccessibilityAudit: "Audit du 3 mai 2026 par Untel : 82 % des critères.", AccessibilityContact: "acces@example.org"},
			[]string{"Accessibilité : partiellement conforme", "Audit du 3 mai 2026 par Untel", "acces@example.org"},
		},
	} {
		s, pages := siteBefore(t, row.cfg, g.conn, g.conn)
		b := (&front{g, s, pages}).browse(t, jeanne)
		b.shows(b.get("/accessibilite"), http.StatusOK, row.says...)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	_, pages := newTestSite(t, Config{})
	for _, path := range []string{"/connexion", "/rien", "/messagerie"} {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
}

func TestPagesAskForASession(t *testing.T) {
	t.Parallel()
	s, pages := newTestSite(t, Config{})
	for path, want := range map[string]string{
		"/messagerie":               "/connexion?pour=member&retour=%2Fmessagerie",
		"/messagerie?masquees=1":    "/connexion?pour=member&retour=%2Fmessagerie%3Fmasquees%3D1",
		"/agent":                    "/connexion?pour=agent&retour=%2Fagent",
		"/agent/statistiques":       "/connexion?pour=agent&retour=%2Fagent%2Fstatistiques",
		"/donnees-personnelles":     "/connexion?pour=member&retour=%2Fdonnees-personnelles",
		"/messagerie/conversations": "",
	} {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("%s leads to %q, want %q", path, got, want)
		}
		// A cookie that was not sealed here is no session.
		forged := httptest.NewRequest(http.MethodGet, path, nil)
		forged.AddCookie(&http.Cookie{Name: session.Cookie, Value: strings.Repeat("A", 300)})
		w = httptest.NewRecorder()
		pages.ServeHTTP(w, forged)
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("%s with a forged cookie leads to %q, want %q", path, got, want)
		}
	}
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, signedIn(t, s, httptest.NewRequest(http.MethodGet, "/messagerie", nil), session.Session{Realm: session.Member, Profiles: []string{"PARTICULIER", "EXPLOITANT"}}))
	if got := w.Header().Get("Location"); got != "/profil?retour=%2Fmessagerie" {
		t.Errorf("without a profile: %q", got)
	}
}

func TestWrongSide(t *testing.T) {
	t.Parallel()
	s, pages := newTestSite(t, Config{})
	for path, held := range map[string]session.Session{
		"/agent": {Realm: session.Member, Audience: 1}, "/agent/statistiques": {Realm: session.Member, Audience: 1}, "/messagerie": {Realm: session.Agent},
	} {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, signedIn(t, s, httptest.NewRequest(http.MethodGet, path, nil), held))
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "ne vous est pas destinée") {
			t.Errorf("%s as %s: %d", path, held.Realm, w.Code)
		}
	}
}

func TestForeignPostIsRefused(t *testing.T) {
	t.Parallel()
	s, pages := newTestSite(t, Config{})
	for name, set := range map[string]func(http.Header){
		"by Sec-Fetch-Site": func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") },
		"a sister site":     func(h http.Header) { h.Set("Sec-Fetch-Site", "same-site") },
		"by Origin":         func(h http.Header) { h.Set("Origin", "https://example.org") },
	} {
		for _, path := range []string{"/preferences", "/deconnexion", "/donnees-personnelles/effacement", "/messagerie/brouillons/x/envoyer"} {
			r := signedIn(t, s, httptest.NewRequest(http.MethodPost, path, strings.NewReader("confirmer=oui")), session.Session{Realm: session.Member, Audience: 1})
			set(r.Header)
			w := httptest.NewRecorder()
			pages.ServeHTTP(w, r)
			if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "Demande refusée") {
				t.Errorf("%s, %s: %d", name, path, w.Code)
			}
		}
	}
}

// Whoever has to sign in first comes back to a page that exists, also from a form.
func TestComesBackToAPage(t *testing.T) {
	t.Parallel()
	_, pages := newTestSite(t, Config{})
	for path, back := range map[string]string{
		"/messagerie/brouillons/1/envoyer":    "/messagerie/brouillons/1/recapitulatif",
		"/messagerie/brouillons/1/message":    "/messagerie/brouillons/1/recapitulatif",
		"/messagerie/conversations/1/suite":   "/messagerie/conversations/1",
		"/messagerie/recherche":               "/messagerie",
		"/donnees-personnelles/effacement":    "/donnees-personnelles",
		"/preferences":                        "/preferences",
		"/agent/modeles":                      "/agent/modeles",
		"/agent/conversations/1/repondre":     "/agent/conversations/1",
		"/agent/modeles/1/supprimer":          "/agent/modeles",
		"/agent/conversations/1/motifs":       "/agent/conversations/1/motifs",
		"/agent/recherche":                    "/agent/recherche",
		"/agent/audit":                        "/agent/audit",
		"/messagerie/conversations/1/masquer": "/messagerie/conversations/1",
	} {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		to, err := url.Parse(w.Header().Get("Location"))
		if err != nil || w.Code != http.StatusSeeOther || to.Query().Get("retour") != back {
			t.Errorf("%s: %d to %s, not back to %s", path, w.Code, to, back)
		}
	}
}

// A stream is not sent to the page to sign in: a browser would take it for a fault.
func TestStreamWithoutSession(t *testing.T) {
	t.Parallel()
	s, pages := newTestSite(t, Config{})
	undecided := signedIn(t, s, httptest.NewRequest(http.MethodGet, "/evenements", nil), session.Session{Realm: session.Member})
	for _, r := range []*http.Request{
		httptest.NewRequest(http.MethodGet, "/evenements", nil), httptest.NewRequest(http.MethodGet, "/agent/evenements", nil), undecided,
	} {
		r.Header.Set("Accept", "text/event-stream")
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized || w.Header().Get("Location") != "" {
			t.Errorf("%s: %d to %q", r.URL, w.Code, w.Header().Get("Location"))
		}
	}
}

// While the gateway is away, a page says so, and what was typed is still there.
func TestGatewayAway(t *testing.T) {
	t.Parallel()
	s, pages := newTestSite(t, Config{})
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, signedIn(t, s, httptest.NewRequest(http.MethodGet, "/messagerie", nil), session.Session{Realm: session.Member, Audience: 1}))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "momentanément indisponible") || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What no browser sends is no fault of ours: where it can be in an address or a form, the
// gateway is asked.
func TestNotUTF8(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	nothing := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		asked.Add(1)
		return status.Error(codes.NotFound, "")
	}))
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = nothing.Serve(lis) }() // ends with Stop
	t.Cleanup(nothing.Stop)
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s, pages := siteBefore(t, Config{}, conn, conn)
	for _, row := range []struct {
		method, target, form string
		asks                 bool
	}{
		{http.MethodGet, "/messagerie/conversations/%ff", "", false},
		{http.MethodGet, "/messagerie/recherche?r=%ff", "", false},
		{http.MethodPost, "/messagerie/recherche", "q=%ff", false},
		{http.MethodGet, "/messagerie?suite=%c3%28", "", true},
		{http.MethodPost, "/preferences", "email=%ff%fe%40example.org&langue=fr-FR", true},
	} {
		before := asked.Load()
		r := httptest.NewRequest(row.method, row.target, strings.NewReader(row.form))
		if row.form != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, signedIn(t, s, r, session.Session{Realm: session.Member, Audience: 1}))
		if w.Code >= http.StatusInternalServerError || (asked.Load() > before) != row.asks {
			t.Errorf("%s %s: %d, %d calls", row.method, row.target, w.Code, asked.Load()-before)
		}
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	theme := t.TempDir() + "/theme.css"
	if err := os.WriteFile(theme, []byte(":root { --accent: #123456 }"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, pages := newTestSite(t, Config{ThemePath: theme})
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/connexion", nil))
	found := regexp.MustCompile(`/static/[0-9a-f]{12}/[a-z]+\.(css|js|svg)`).FindAllString(w.Body.String(), -1)
	if len(found) != 4 {
		t.Fatalf("the page loads %v, want a style, a theme, an icon and a script", found)
	}
	total := w.Body.Len()
	for _, path := range found {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", "gzip")
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, r)
		if w.Code != http.StatusOK || w.Header().Get("Content-Encoding") != "gzip" || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Header().Get("Content-Type") == "" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		total += w.Body.Len()
	}
	if total > 16<<10 {
		t.Errorf("the first page weighs %d bytes", total)
	}
	w = httptest.NewRecorder()
	pages.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/static/000000000000/app.css", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("an old address: %d", w.Code)
	}
}

// Both languages of every page are there, and no placeholder is left open.
func TestPagesInBothLanguages(t *testing.T) {
	t.Parallel()
	_, pages := newTestSite(t, Config{})
	for _, path := range []string{"/connexion", "/aide", "/accessibilite", "/mentions-legales", "/rien"} {
		bodies := make(map[string]string)
		for _, lang := range render.Languages {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Accept-Language", lang)
			w := httptest.NewRecorder()
			pages.ServeHTTP(w, r)
			bodies[lang] = w.Body.String()
			if !strings.Contains(bodies[lang], `<html lang="`+lang+`">`) || strings.Contains(bodies[lang], "%!") || strings.Contains(bodies[lang], "<no value>") {
				t.Errorf("%s in %s: %s", path, lang, bodies[lang])
			}
		}
		if bodies["fr"] == bodies["en"] {
			t.Errorf("%s says the same in both languages", path)
		}
	}
}

// No admin port where none is wanted, whatever others take.
func TestConfig_NoAdmin(t *testing.T) {
	t.Parallel()
	cfg, err := chassis.Load[Config]("WEB_", []string{
		"WEB_PUBLIC_URL=https://messagerie.example.org", "WEB_SESSION_KEY=" + NewSessionKey(), "WEB_MEMBERS_ISSUER=https://id.example.org", "WEB_AGENTS_ISSUER=https://id.example.org", "WEB_ADMIN_ADDR=",
	})
	if err != nil || cfg.AdminAddr != "" || cfg.Members.ClientID != "web" {
		t.Errorf("%+v, %v", cfg.Process, err)
	}
}
