package window

import (
	"net/http"
	"net/http/httptest"
	"testing"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

func draft(id, theme, topic, reason string) *writing.Draft {
	return &writing.Draft{Draft: &messagingpb.Draft{Id: id, Theme: theme, Topic: topic, Reason: reason}}
}

// One draft, one selection, one thing that is counted.
func TestKey(t *testing.T) {
	t.Parallel()
	keys := make(map[string]bool)
	for _, key := range []string{
		Key(draft("1", "a", "b", "c")), Key(draft("2", "a", "b", "c")), Key(draft("1", "a", "b", "")), Key(draft("1", "ab", "", "c")), Key(draft("1", "a", "b", "c"), "shown"), Key(draft("1", "a", "b", "c"), "s", "hown"),
	} {
		if keys[key] {
			t.Errorf("%s twice", key)
		}
		keys[key] = true
	}
	first, again := Key(draft("1", "a", "b", "c"), "shown"), Key(draft("1", "a", "b", "c"), "shown")
	if first != again {
		t.Error("not the same for the same")
	}
}

func TestOpens(t *testing.T) {
	t.Parallel()
	chosen := draft("1", "a", "b", "c")
	w := httptest.NewRecorder()
	Due(w, chosen)
	due := w.Result().Cookies()[0]
	for name, row := range map[string]struct {
		method, mode string
		cookie       *http.Cookie
		draft        *writing.Draft
		want         bool
	}{
		"the page after it": {http.MethodGet, "navigate", due, chosen, true},
		"an old browser's":  {http.MethodGet, "", due, chosen, true},
		"a script's":        {http.MethodGet, "cors", due, chosen, false},
		"a form's answer":   {http.MethodPost, "navigate", due, chosen, false},
		"another selection": {http.MethodGet, "navigate", due, draft("1", "a", "b", "d"), false},
		"another draft":     {http.MethodGet, "navigate", due, draft("2", "a", "b", "c"), false},
		"without one":       {http.MethodGet, "navigate", &http.Cookie{Name: "other", Value: "x"}, chosen, false},
	} {
		r := httptest.NewRequest(row.method, "/", nil)
		r.AddCookie(row.cookie)
		r.Header.Set("Sec-Fetch-Mode", row.mode)
		w := httptest.NewRecorder()
		if got := Opens(w, r, row.draft); got != row.want || (len(w.Result().Cookies()) == 1) != row.want {
			t.Errorf("%s: %t, %v", name, got, w.Header())
		}
	}
}
