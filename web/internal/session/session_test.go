package session

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func newTestSealer(t *testing.T, keys ...string) *Sealer {
	t.Helper()
	s, err := NewSealer(strings.Join(keys, ","))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealer(t *testing.T) {
	t.Parallel()
	old, fresh := NewKey(), NewKey()
	before := newTestSealer(t, old)
	sealed, err := before.Seal("session", Session{Name: "Jeanne"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(sealed, "Jeanne") {
		t.Error("the name can be read")
	}
	tampered := []byte(sealed)
	tampered[len(tampered)/2] ^= 1
	for name, row := range map[string]struct {
		sealer  *Sealer
		purpose string
		sealed  string
		want    bool
	}{
		"as it was made":       {before, "session", sealed, true},
		"after a rotation":     {newTestSealer(t, fresh, old), "session", sealed, true},
		"after the next one":   {newTestSealer(t, fresh), "session", sealed, false},
		"for another purpose":  {before, "login", sealed, false},
		"changed by one bit":   {before, "session", string(tampered), false},
		"cut off":              {before, "session", sealed[:10], false},
		"not base64":           {before, "session", "%%%", false},
		"nothing":              {before, "session", "", false},
		"made up":              {before, "session", strings.Repeat("A", 200), false},
		"followed by anything": {before, "session", sealed + "AAAA", false},
	} {
		var got Session
		if ok := row.sealer.Open(row.purpose, row.sealed, &got); ok != row.want || ok && got.Name != "Jeanne" {
			t.Errorf("%s: %t, %q", name, ok, got.Name)
		}
	}
}

func TestNewSealer_Faults(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "short", "AAAA", NewKey() + ",AAAA", NewKey()[:40]} {
		if _, err := NewSealer(key); err == nil {
			t.Errorf("%q was taken for a key", key)
		}
	}
}

// carried gives the cookies of an answer to the next request, as a browser does.
func carried(t *testing.T, before *http.Request, answer *http.Response) *http.Request {
	t.Helper()
	kept := make(map[string]string)
	if before != nil {
		for _, c := range before.Cookies() {
			kept[c.Name] = c.Value
		}
	}
	for _, c := range answer.Cookies() {
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") {
			t.Errorf("cookie %s is not as __Host- cookies must be: %v", c.Name, c)
		}
		kept[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(kept, c.Name)
		}
		if len(c.Name)+len(c.Value) > 4096 {
			t.Errorf("cookie %s has %d bytes: browsers drop it", c.Name, len(c.Value))
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for name, value := range kept {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

func TestKeeper_LongTokensTakeSeveralCookies(t *testing.T) {
	t.Parallel()
	s := NewKeeper(newTestSealer(t, NewKey()), "http://127.0.0.1", nil)
	now := time.Now()
	save := func(before *http.Request, bytes int) *http.Request {
		t.Helper()
		if before == nil {
			before = httptest.NewRequest(http.MethodGet, "/", nil)
		}
		w := httptest.NewRecorder()
		held := &Session{Realm: Member, Access: strings.Repeat("x", bytes), Expiry: now.Add(time.Hour), Begun: now, Seen: now}
		if err := s.Save(w, before, held); err != nil {
			t.Fatal(err)
		}
		return carried(t, before, w.Result())
	}
	long := save(nil, 8000)
	if got := s.Read(httptest.NewRecorder(), long); got == nil || len(got.Access) != 8000 {
		t.Fatalf("a long token was lost: %v", got)
	}
	if n := len(long.Cookies()); n != 3 {
		t.Errorf("%d cookies, want 3", n)
	}
	// A shorter session takes the rest of a longer one away.
	short := save(long, 100)
	if got := s.Read(httptest.NewRecorder(), short); got == nil || len(got.Access) != 100 || len(short.Cookies()) != 1 {
		t.Errorf("after a shorter one: %v with %d cookies", got, len(short.Cookies()))
	}
	w := httptest.NewRecorder()
	if err := s.Save(w, short, &Session{Access: strings.Repeat("x", 20_000)}); err == nil {
		t.Error("tokens that no browser keeps were taken")
	}
	w = httptest.NewRecorder()
	s.End(w)
	if ended := carried(t, long, w.Result()); len(ended.Cookies()) != 0 {
		t.Errorf("after signing out: %v", ended.Cookies())
	}
}

func TestSession_Over(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, row := range map[string]struct {
		begun, seen time.Duration
		want        bool
	}{
		"fresh":           {0, 0, false},
		"just not idle":   {time.Hour, Idle, false},
		"idle":            {time.Hour, Idle + time.Second, true},
		"just not at end": {most, time.Minute, false},
		"at its end":      {most + time.Second, time.Minute, true},
	} {
		held := &Session{Begun: now.Add(-row.begun), Seen: now.Add(-row.seen), Refresh: "token"}
		if held.Over(now) != row.want || (held.Left(now) < 0) != row.want {
			t.Errorf("%s: over %t, left %s", name, held.Over(now), held.Left(now))
		}
	}
}

// What is left is the nearest of its ends: without a page, after eight hours, and with an
// access token that nothing renews.
func TestLeft(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, row := range map[string]struct {
		held       Session
		left, most time.Duration
	}{
		"begun":            {Session{Begun: now, Seen: now, Refresh: "token"}, Idle, most},
		"idle for a while": {Session{Begun: now, Seen: now.Add(-10 * time.Minute), Refresh: "token"}, 20 * time.Minute, most},
		"near its end":     {Session{Begun: now.Add(10*time.Minute - most), Seen: now, Refresh: "token"}, 10 * time.Minute, 10 * time.Minute},
		"not renewed":      {Session{Begun: now, Seen: now, Expiry: now.Add(5 * time.Minute)}, 5 * time.Minute, 5 * time.Minute},
		"renewed":          {Session{Begun: now, Seen: now, Expiry: now.Add(5 * time.Minute), Refresh: "token"}, Idle, most},
	} {
		if left, most := row.held.Left(now), row.held.Most(now); left != row.left || most != row.most {
			t.Errorf("%s: %s left, %s at most, want %s and %s", name, left, most, row.left, row.most)
		}
	}
}

// A session that is over is none, whatever its tokens are still good for.
func TestRead_Over(t *testing.T) {
	t.Parallel()
	k := NewKeeper(newTestSealer(t, NewKey()), "http://127.0.0.1", nil)
	now := time.Now()
	for name, row := range map[string]struct {
		begun, seen time.Duration
		want        bool
	}{
		"in use": {time.Hour, time.Minute, true},
		"idle":   {time.Hour, Idle + time.Minute, false},
		"old":    {most + time.Minute, time.Minute, false},
	} {
		w := httptest.NewRecorder()
		held := &Session{ID: "jeanne", Realm: Member, Access: "good", Expiry: now.Add(time.Hour), Begun: now.Add(-row.begun), Seen: now.Add(-row.seen)}
		if err := k.Save(w, httptest.NewRequest(http.MethodGet, "/", nil), held); err != nil {
			t.Fatal(err)
		}
		if got := k.Read(httptest.NewRecorder(), carried(t, nil, w.Result())); (got != nil) != row.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestOwnPath(t *testing.T) {
	t.Parallel()
	for back, want := range map[string]string{
		"/messagerie?masquees=1": "/messagerie?masquees=1", "": "", "https://example.org/": "", "//example.org": "", `/\example.org`: "",
		"/\nSet-Cookie: x": "", "messagerie": "", "javascript:alert(1)": "",
	} {
		if got := OwnPath(back); got != want {
			t.Errorf("%q: %q, want %q", back, got, want)
		}
	}
}
