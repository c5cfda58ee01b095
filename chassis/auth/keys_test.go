package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// door stands between a verifier and its issuer, in memory. It hangs while hung is
// set, answers 503 while away is, and counts what comes.
type door struct {
	issuer http.Handler
	hung   chan struct{}
	away   bool
	calls  int
}

func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/keys" {
		d.calls++
	}
	if d.hung != nil {
		select {
		case <-d.hung:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	w := httptest.NewRecorder()
	if d.away {
		w.WriteHeader(http.StatusServiceUnavailable)
		return w.Result(), nil
	}
	d.issuer.ServeHTTP(w, r)
	return w.Result(), nil
}

// inBubble runs a test in a bubble in which time passes when everybody waits.
func inBubble(t *testing.T, test func(t *testing.T, iss *issuer, v *auth.Verifier, d *door)) {
	t.Helper()
	t.Parallel()
	iss := newIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		v, d := iss.verifier(), &door{issuer: iss.Config.Handler}
		v.Through(d)
		test(t, iss, v, d)
	})
}

// forged is a token with a key id that the issuer has never published.
func (iss *issuer) forged(t *testing.T, n int) string {
	t.Helper()
	key := *iss.key.Load()
	key.KeyID = fmt.Sprint("forged", n)
	return sign(t, jose.RS256, &key, map[string]any{"iss": iss.URL, "sub": "x", "aud": "messagerie", "exp": time.Now().Add(time.Hour).Unix()})
}

func (iss *issuer) of(t *testing.T, sub string) string {
	t.Helper()
	return iss.token(t, func(c map[string]any) { c["sub"] = sub })
}

func pass(d time.Duration) { <-time.After(d) }

// Forged key ids arrive while the issuer hangs: whose key is in memory does not
// notice. The clock of the bubble stands still unless somebody waits.
func TestVerify_KeysInMemoryWaitForNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, iss *issuer, v *auth.Verifier, d *door) {
		if err := v.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		d.hung, d.calls = make(chan struct{}), 0
		answers := make(chan error)
		const forgeries = 100
		for i := range forgeries {
			token := iss.forged(t, i)
			go func() {
				_, err := v.Verify(t.Context(), token)
				answers <- err
			}()
		}
		synctest.Wait() // all of them wait for the issuer
		began := time.Now()
		if _, err := v.Verify(t.Context(), iss.of(t, "paul")); err != nil {
			t.Errorf("a good token while the issuer hangs: %v", err)
		}
		if err := v.Ready(t.Context()); err != nil {
			t.Errorf("ready while the issuer hangs: %v", err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it waited %s", waited)
		}
		for range forgeries {
			if err := <-answers; !errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("a forged key id: %v", err)
			}
		}
		if waited := time.Since(began); waited > 2*time.Second || d.calls != 1 {
			t.Errorf("forged key ids waited %s for %d fetches", waited, d.calls)
		}
		pass(time.Minute)
	})
}

// Whoever begins a fetch and leaves neither ends it for the others nor makes them
// wait for the next.
func TestVerify_AFetchOutlivesItsCaller(t *testing.T) {
	inBubble(t, func(t *testing.T, iss *issuer, v *auth.Verifier, d *door) {
		d.hung = make(chan struct{})
		left, leave := context.WithCancel(t.Context())
		answers := make(chan error, 2)
		first, second := iss.of(t, "jeanne"), iss.of(t, "paul")
		go func() {
			_, err := v.Verify(left, first)
			answers <- err
		}()
		synctest.Wait()
		go func() {
			_, err := v.Verify(t.Context(), second)
			answers <- err
		}()
		synctest.Wait()
		leave()
		if err := <-answers; !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := v.Verify(short, first); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who has a millisecond: %v", err)
		}
		close(d.hung)
		if err := <-answers; err != nil {
			t.Errorf("who stayed: %v", err)
		}
		if d.calls != 1 {
			t.Errorf("%d fetches", d.calls)
		}
	})
}

// What cannot be asked is unavailable, what was asked and is not there is invalid,
// and both stay so within the cooldown.
func TestVerify_FailedFetchIsUnavailable(t *testing.T) {
	inBubble(t, func(t *testing.T, iss *issuer, v *auth.Verifier, d *door) {
		d.away = true
		for range 3 {
			if _, err := v.Verify(t.Context(), iss.of(t, "jeanne")); !errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrInvalidToken) {
				t.Errorf("keys never loaded: %v", err)
			}
		}
		d.away = false
		pass(2 * time.Second)
		if _, err := v.Verify(t.Context(), iss.of(t, "jeanne")); err != nil {
			t.Errorf("the issuer is back: %v", err)
		}
		before := d.calls
		for i := range 1000 {
			if _, err := v.Verify(t.Context(), iss.forged(t, i)); !errors.Is(err, auth.ErrInvalidToken) {
				t.Fatalf("forged, in the cooldown: %v", err)
			}
		}
		pass(time.Minute)
		for i := range 1000 {
			if _, err := v.Verify(t.Context(), iss.forged(t, i)); !errors.Is(err, auth.ErrInvalidToken) {
				t.Fatalf("forged, asked for: %v", err)
			}
		}
		if made := d.calls - before; made != 1 {
			t.Errorf("2000 forged key ids made %d fetches", made)
		}
		pass(time.Minute)
		d.away = true
		for i := range 3 {
			if _, err := v.Verify(t.Context(), iss.forged(t, i)); !errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrInvalidToken) {
				t.Errorf("after a failed fetch: %v", err)
			}
		}
		if _, err := v.Verify(t.Context(), iss.of(t, "paul")); err != nil {
			t.Errorf("the keys of before a failed fetch: %v", err)
		}
	})
}

// A token that would be refused whoever signed it costs no fetch.
func TestVerify_CheapChecksFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, iss *issuer, v *auth.Verifier, d *door) {
		for name, token := range map[string]string{
			"lapsed":         iss.token(t, func(c map[string]any) { c["exp"] = time.Now().Unix() }),
			"no expiry":      iss.token(t, func(c map[string]any) { delete(c, "exp") }),
			"other audience": iss.token(t, func(c map[string]any) { c["aud"] = "elsewhere" }),
			"other issuer":   iss.token(t, func(c map[string]any) { c["iss"] = "https://elsewhere" }),
			"symmetric":      sign(t, jose.HS256, []byte("a secret that anybody may make up"), map[string]any{"iss": iss.URL, "sub": "x", "aud": "messagerie", "exp": time.Now().Add(time.Hour).Unix()}),
		} {
			if _, err := v.Verify(t.Context(), token); !errors.Is(err, auth.ErrInvalidToken) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if d.calls != 0 {
			t.Errorf("%d fetches", d.calls)
		}
	})
}

// A token that is remembered is good until it lapses, and no longer.
func TestKnown(t *testing.T) {
	inBubble(t, func(t *testing.T, iss *issuer, v *auth.Verifier, d *door) {
		token := iss.of(t, "jeanne")
		if v.Known(token) != nil || d.calls != 0 {
			t.Error("known before it was verified")
		}
		verified, err := v.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if known := v.Known(token); known != verified {
			t.Errorf("known as %v", known)
		}
		if v.Known(token+"x") != nil {
			t.Error("another token is known")
		}
		pass(time.Hour)
		if v.Known(token) != nil {
			t.Error("known after it lapsed")
		}
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("after it lapsed: %v", err)
		}
	})
}

// A new key is taken up, and one that is withdrawn is good no more.
func TestVerify_KeyRotation(t *testing.T) {
	inBubble(t, func(t *testing.T, iss *issuer, v *auth.Verifier, _ *door) {
		if err := v.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		old := iss.of(t, "marc")
		pass(time.Minute)
		iss.rotate(t, "k2")
		if _, err := v.Verify(t.Context(), iss.of(t, "paul")); err != nil {
			t.Errorf("after a rotation: %v", err)
		}
		if _, err := v.Verify(t.Context(), old); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("a token of a withdrawn key: %v", err)
		}
	})
}
