package session

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// ending is a request of a session whose access token ends in so long.
func ending(t *testing.T, k *Keeper, left time.Duration, refresh string) *http.Request {
	t.Helper()
	now := time.Now()
	w := httptest.NewRecorder()
	held := &Session{ID: "jeanne", Realm: Member, Access: "old", Refresh: refresh, Expiry: now.Add(left), Begun: now, Seen: now}
	if err := k.Save(w, httptest.NewRequest(http.MethodGet, "/", nil), held); err != nil {
		t.Fatal(err)
	}
	return carried(t, nil, w.Result())
}

// A page has company when its token is about to end: the stream of hints, another tab.
// All of them go on with the new tokens, of one exchange.
func TestRenewal_OfOneBrowserAtOnce(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	k := p.keeper(NewKey())
	for _, left := range []time.Duration{10 * time.Second, -time.Minute} {
		p.mu.Lock()
		p.refresh["first"] = true
		p.mu.Unlock()
		k.realms[Member].renewals.done.Purge()
		before := p.asked.Load()
		// The first exchange is answered when the other requests wait for it.
		together := make(chan struct{})
		p.arriving = func() { <-together }
		r := ending(t, k, left, "first")
		var all sync.WaitGroup
		got := make([]*Session, 3)
		answers := make([]*httptest.ResponseRecorder, 3)
		for i := range got {
			answers[i] = httptest.NewRecorder()
			all.Go(func() { got[i] = k.Read(answers[i], r.Clone(t.Context())) })
		}
		close(together)
		all.Wait()
		for i, held := range got {
			if held == nil || held.Access == "old" || held.Refresh == "first" || held.Access != got[0].Access || held.Refresh != got[0].Refresh {
				t.Fatalf("with %s left, request %d: %+v", left, i, held)
			}
			if next := k.Opened(carried(t, r, answers[i].Result())); next == nil || next.Refresh != held.Refresh {
				t.Errorf("with %s left, request %d has no cookie of the new tokens", left, i)
			}
		}
		// One that was under way with the old cookie comes a moment later.
		if late := k.Read(httptest.NewRecorder(), r); late == nil || late.Refresh != got[0].Refresh {
			t.Errorf("with %s left, a late one: %+v", left, late)
		}
		if n := p.asked.Load() - before; n != 1 {
			t.Errorf("with %s left: %d exchanges", left, n)
		}
	}
}

// Replicas do not know of each other's exchanges. Who comes second goes on with the
// access token while that is good, and does not write the old tokens over the new ones.
func TestRenewal_OfTwoReplicas(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	key := NewKey()
	one, other := p.keeper(key), p.keeper(key)
	r := ending(t, one, 10*time.Second, "first")
	if held := one.Read(httptest.NewRecorder(), r); held == nil || held.Access == "old" {
		t.Fatalf("the first: %+v", held)
	}
	w := httptest.NewRecorder()
	if held := other.Read(w, r); held == nil || held.Access != "old" || len(w.Result().Cookies()) != 0 {
		t.Errorf("the second: %+v, %v", held, w.Header())
	}
	// With nothing left there is nothing to go on with.
	ended := ending(t, one, -time.Second, "first")
	if held := other.Read(httptest.NewRecorder(), ended); held != nil {
		t.Errorf("after the end: %+v", held)
	}
}

// While the provider is away, a session goes on as long as its token, and is renewed
// when the provider is back.
func TestRenewal_ProviderAway(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	k := p.keeper(NewKey())
	r := ending(t, k, 20*time.Second, "first")
	p.away.Store(true)
	if held := k.Read(httptest.NewRecorder(), r); held == nil || held.Access != "old" {
		t.Errorf("away: %+v", held)
	}
	p.away.Store(false)
	if held := k.Read(httptest.NewRecorder(), r); held == nil || held.Access == "old" {
		t.Errorf("back: %+v", held)
	}
}

// Scripts leave the renewal to pages while there is time.
func TestRenewal_When(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	for _, row := range []struct {
		mode    string
		left    time.Duration
		renewed bool
	}{
		{"", pageMargin + 5*time.Second, false},
		{"", pageMargin - time.Second, true},
		{"navigate", pageMargin - time.Second, true},
		{"cors", pageMargin - time.Second, false},
		{"cors", scriptMargin + 5*time.Second, false},
		{"same-origin", scriptMargin - time.Second, true},
	} {
		p.mu.Lock()
		p.refresh["first"] = true
		p.mu.Unlock()
		k := p.keeper(NewKey())
		r := ending(t, k, row.left, "first")
		if row.mode != "" {
			r.Header.Set("Sec-Fetch-Mode", row.mode)
		}
		if held := k.Read(httptest.NewRecorder(), r); held == nil || (held.Access != "old") != row.renewed {
			t.Errorf("%q with %s left: %+v", row.mode, row.left, held)
		}
	}
	k := p.keeper(NewKey())
	if held := k.Read(httptest.NewRecorder(), ending(t, k, -time.Second, "")); held != nil {
		t.Errorf("without a refresh token: %+v", held)
	}
}

// A page prolongs the session, written down once a minute.
func TestRead_Prolongs(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	k := p.keeper(NewKey())
	for _, row := range []struct {
		ago     time.Duration
		method  string
		mode    string
		accept  string
		written bool
	}{
		{touchAfter - 5*time.Second, "GET", "navigate", "", false},
		{touchAfter + time.Second, "GET", "navigate", "", true},
		{touchAfter + time.Second, "GET", "", "", true},
		{touchAfter + time.Second, "GET", "", "text/event-stream", false},
		{touchAfter + time.Second, "GET", "cors", "", false},
		{touchAfter + time.Second, "GET", "same-origin", "", false},
		{touchAfter + time.Second, "POST", "cors", "", true}, // what is typed is saved, or "stay signed in"
	} {
		now := time.Now()
		w := httptest.NewRecorder()
		held := &Session{Realm: Member, Expiry: now.Add(time.Hour), Begun: now.Add(-time.Hour), Seen: now.Add(-row.ago)}
		if err := k.Save(w, httptest.NewRequest(http.MethodGet, "/", nil), held); err != nil {
			t.Fatal(err)
		}
		r := carried(t, nil, w.Result())
		r.Method = row.method
		r.Header.Set("Sec-Fetch-Mode", row.mode)
		r.Header.Set("Accept", row.accept)
		w = httptest.NewRecorder()
		if got := k.Read(w, r); got == nil || (len(w.Result().Cookies()) == 1) != row.written {
			t.Errorf("%+v: %+v, %v", row, got, w.Header())
		}
		if row.written {
			if got := k.Opened(carried(t, r, w.Result())); got == nil || now.Sub(got.Seen) > time.Second {
				t.Errorf("after %s, it says: %+v", row.ago, got)
			}
		}
	}
}
