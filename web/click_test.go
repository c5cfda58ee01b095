package web

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/ma-messagerie/messagerie/web/internal/click"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/visit"
)

const (
	clickTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	clicked    = "00-" + clickTrace + "-00f067aa0ba902b7-01"
)

// formPost is a form as a browser posts it.
func formPost(body io.Reader) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/langue", body)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func TestFromClick(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 5000)
	for name, test := range map[string]struct {
		body  string
		taken bool
	}{
		"first field":         {"traceparent=" + clicked + "&texte=" + long, true},
		"only field":          {"traceparent=" + clicked + "&texte=", true},
		"nothing after it":    {"traceparent=" + clicked, true},
		"not sampled":         {"traceparent=" + clicked[:53] + "00&texte=x", true},
		"none":                {"texte=" + long, false},
		"no body":             {"", false},
		"not the first":       {"texte=x&traceparent=" + clicked, false},
		"in upper case":       {"traceparent=" + strings.ToUpper(clicked) + "&texte=x", false},
		"no trace":            {"traceparent=00-" + strings.Repeat("0", 32) + clicked[35:] + "&texte=x", false},
		"no parent":           {"traceparent=" + clicked[:36] + strings.Repeat("0", 16) + "-01&texte=x", false},
		"a letter less":       {"traceparent=" + clicked[:54] + "&texte=x", false},
		"a letter more":       {"traceparent=" + clicked + "1&texte=x", false},
		"not hexadecimal":     {"traceparent=" + strings.Replace(clicked, "4", "g", 1) + "&texte=x", false},
		"the invalid version": {"traceparent=ff" + clicked[2:] + "&texte=x", false},
		"encoded":             {"traceparent=" + strings.ReplaceAll(clicked, "-", "%2D") + "&texte=x", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			click.Traced(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.HeaderCarrier(r.Header))
				if got := trace.SpanContextFromContext(ctx); got.IsValid() != test.taken || test.taken && got.TraceID().String() != clickTrace {
					t.Errorf("trace %s", got.TraceID())
				}
				if body, err := io.ReadAll(r.Body); err != nil || string(body) != test.body {
					t.Errorf("the body has become %d bytes, %v", len(body), err)
				}
			})).ServeHTTP(httptest.NewRecorder(), formPost(strings.NewReader(test.body)))
		})
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("connection lost") }

func TestFromClick_KeepsFaults(t *testing.T) {
	t.Parallel()
	_, handler := newTestSite(t, Config{})
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, formPost(io.MultiReader(strings.NewReader("traceparent="+clicked+"&langue=en"), brokenBody{})))
	if cookie := answer.Header().Get("Set-Cookie"); strings.Contains(cookie, "en") {
		t.Errorf("half a form is taken: %s", cookie)
	}
	large := formPost(strings.NewReader("traceparent=" + clicked + "&langue=en&x=" + strings.Repeat("x", visit.MaxFormBytes)))
	answer = httptest.NewRecorder()
	handler.ServeHTTP(answer, large)
	if cookie := answer.Header().Get("Set-Cookie"); strings.Contains(cookie, "en") {
		t.Errorf("a form above the limit is taken: %s", cookie)
	}
}

// Pages name their trace to scripts, and those that tell of a fault to people.
func TestPagesTellTheirTrace(t *testing.T) {
	t.Parallel()
	s, handler := newTestSite(t, Config{})
	for path, shown := range map[string]bool{"/": false, "/messagerie": true, "/messagerie/brouillons/42": false, "/static/app.css": false} {
		r := signedIn(t, s, httptest.NewRequest(http.MethodGet, path, nil), session.Session{Realm: session.Member, Name: "Jeanne Martin", Audience: 1})
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.MapCarrier{"traceparent": clicked})
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r.WithContext(ctx))
		want := `traceparent;desc="` + clicked + `"`
		if strings.HasPrefix(path, "/static/") {
			want = ""
		}
		if got := answer.Header().Get("Server-Timing"); got != want {
			t.Errorf("%s: Server-Timing %q, want %q", path, got, want)
		}
		if got := strings.Contains(answer.Body.String(), "<code>"+clickTrace[:8]+"</code>"); got != shown {
			t.Errorf("%s: answered %d, and shows the code: %v", path, answer.Code, got)
		}
	}
}
