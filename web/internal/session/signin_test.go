package session

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	k := p.keeper(NewKey())
	asked, answer := p.begin(k, "/messagerie?masquees=1")
	if asked.Get("code_challenge_method") != "S256" || asked.Get("code_challenge") == "" || asked.Get("redirect_uri") != "https://messagerie.example.org/auth/callback" ||
		!slices.Contains(strings.Fields(asked.Get("scope")), "openid") {
		t.Errorf("asked with %v", asked)
	}
	w := httptest.NewRecorder()
	back, err := k.Finish(w, answer)
	if err != nil || back != "/messagerie?masquees=1" {
		t.Fatalf("back to %q, %v", back, err)
	}
	next := carried(t, answer, w.Result())
	if _, err := next.Cookie(loginCookie); err == nil {
		t.Error("the sign-in is still under way")
	}
	got := k.Read(httptest.NewRecorder(), next)
	if got == nil || got.Name != "Jeanne Martin" || got.ID == "" || got.Realm != Member || got.Audience != taxonomypb.Audience_PARTICULIER || got.Supervisor || got.Access == "" {
		t.Errorf("%+v", got)
	}
	// The same answer again is to no sign-in.
	if _, err := k.Finish(httptest.NewRecorder(), next); !errors.Is(err, ErrSignIn) {
		t.Errorf("a second time: %v", err)
	}
}

func TestSignIn_WhoSignsIn(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	k := p.keeper(NewKey())
	for name, row := range map[string]struct {
		claims     map[string]any
		audience   taxonomypb.Audience
		audiences  int
		supervisor bool
		finder     bool
	}{
		"one profile":      {map[string]any{"profiles": []string{"EMPLOYEUR"}}, taxonomypb.Audience_EMPLOYEUR, 1, false, false},
		"two profiles":     {map[string]any{"profiles": []string{"PARTICULIER", "EXPLOITANT"}}, 0, 2, false, false},
		"an unknown one":   {map[string]any{"profiles": []string{"AUDIENCE_UNSPECIFIED"}}, 0, 0, false, false},
		"none":             {map[string]any{"profiles": nil}, 0, 0, false, false},
		"with other role":  {map[string]any{"roles": []string{"agent", "supervisor"}}, 0, 0, true, false},
		"one who may find": {map[string]any{"roles": []string{"agent", "member.read"}}, 0, 0, false, true},
	} {
		p.claims = row.claims
		_, answer := p.begin(k, "")
		w := httptest.NewRecorder()
		if _, err := k.Finish(w, answer); err != nil {
			t.Fatal(err)
		}
		got := k.Read(httptest.NewRecorder(), carried(t, answer, w.Result()))
		if got == nil || got.Audience != row.audience || len(got.Audiences()) != row.audiences || got.Supervisor != row.supervisor || got.Finder != row.finder {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// The scopes that were granted say it too.
func TestSignIn_Scope(t *testing.T) {
	t.Parallel()
	for scope, finder := range map[string]bool{"": false, "openid queue.read member.read": true, "openid member.readers": false} {
		p := newProvider(t)
		p.scope = scope
		k := p.keeper(NewKey())
		_, answer := p.begin(k, "")
		w := httptest.NewRecorder()
		if _, err := k.Finish(w, answer); err != nil {
			t.Fatal(err)
		}
		if got := k.Read(httptest.NewRecorder(), carried(t, answer, w.Result())); got == nil || got.Finder != finder {
			t.Errorf("%q: %+v", scope, got)
		}
	}
}

// Supervisors may look for members' conversations, and agents with the right to; no member
// may, whatever their token says.
func TestSession_MayFind(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		held Session
		may  bool
	}{
		{Session{Realm: Agent}, false},
		{Session{Realm: Agent, Supervisor: true}, true},
		{Session{Realm: Agent, Finder: true}, true},
		{Session{Realm: Member, Finder: true, Supervisor: true}, false},
	} {
		if row.held.MayFind() != row.may {
			t.Errorf("%+v: %t", row.held, !row.may)
		}
	}
}

func TestSession_Act(t *testing.T) {
	t.Parallel()
	held := &Session{Profiles: []string{"PARTICULIER", "EXPLOITANT", "NOBODY"}}
	for _, row := range []struct {
		name string
		ok   bool
		want taxonomypb.Audience
	}{
		{"EMPLOYEUR", false, 0},
		{"EXPLOITANT", true, taxonomypb.Audience_EXPLOITANT},
		{"NOBODY", false, taxonomypb.Audience_EXPLOITANT},
		{"", false, taxonomypb.Audience_EXPLOITANT},
		{"PARTICULIER", true, taxonomypb.Audience_PARTICULIER},
	} {
		if ok := held.Act(row.name); ok != row.ok || held.Audience != row.want {
			t.Errorf("%q: %t, now %s", row.name, ok, held.Audience)
		}
	}
}

// Nobody is signed in by an answer that is not to this browser's own question.
func TestSignIn_Refused(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	key := NewKey()
	k := p.keeper(key)
	for name, change := range map[string]func(*http.Request) *http.Request{
		"no cookie": func(*http.Request) *http.Request {
			return httptest.NewRequest(http.MethodGet, "/auth/callback?state=x&code=good", nil)
		},
		"another state": func(r *http.Request) *http.Request { r.URL.RawQuery = "state=x&code=good"; return r },
		"no code":       func(r *http.Request) *http.Request { r.URL.RawQuery = "state=" + r.URL.Query().Get("state"); return r },
		"a bad code": func(r *http.Request) *http.Request {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "good", "bad", 1)
			return r
		},
		"another nonce": func(r *http.Request) *http.Request { p.nonce.Store("another"); return r },
		"too late": func(r *http.Request) *http.Request {
			var l login
			cookie, err := r.Cookie(loginCookie)
			if err != nil || !k.sealer.Open(loginCookie, cookie.Value, &l) {
				t.Fatal(err)
			}
			l.Begun = time.Now().Add(-loginMost - time.Second)
			sealed, err := k.sealer.Seal(loginCookie, l)
			if err != nil {
				t.Fatal(err)
			}
			late := httptest.NewRequest(http.MethodGet, r.URL.RequestURI(), nil)
			late.AddCookie(&http.Cookie{Name: loginCookie, Value: sealed})
			return late
		},
		"a session for a sign-in": func(r *http.Request) *http.Request {
			sealed, err := k.sealer.Seal(Cookie, Session{})
			if err != nil {
				t.Fatal(err)
			}
			other := httptest.NewRequest(http.MethodGet, r.URL.RequestURI(), nil)
			other.AddCookie(&http.Cookie{Name: loginCookie, Value: sealed})
			return other
		},
	} {
		_, answer := p.begin(k, "/")
		w := httptest.NewRecorder()
		_, err := k.Finish(w, change(answer))
		if !errors.Is(err, ErrSignIn) || strings.Contains(err.Error(), "secret detail") {
			t.Errorf("%s: %v", name, err)
		}
		for _, cookie := range w.Result().Cookies() {
			if cookie.Name == Cookie {
				t.Errorf("%s: a session has begun", name)
			}
		}
	}
}

// The provider may be away at the start: the next sign-in finds it.
func TestSignIn_ProviderAway(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.away.Store(true)
	k := p.keeper(NewKey())
	w := httptest.NewRecorder()
	err := k.Begin(w, httptest.NewRequest(http.MethodGet, "/connexion/member", nil), Member, "/")
	if err == nil || errors.Is(err, ErrSignIn) || len(w.Result().Cookies()) != 0 {
		t.Errorf("%v, %v", err, w.Header())
	}
	p.away.Store(false)
	p.begin(k, "/")
}
