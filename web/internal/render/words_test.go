package render

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestLanguageOf(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ cookie, header, want string }{
		{"", "", "fr"},
		{"", "en-GB,en;q=0.9,fr;q=0.8", "en"},
		{"", "de,fr;q=0.5,en;q=0.4", "fr"},
		{"", "de", "fr"},
		{"en", "fr", "en"},
		{"fr", "en", "fr"},
		{"xx", "en", "en"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", row.header)
		if row.cookie != "" {
			r.AddCookie(&http.Cookie{Name: LanguageCookie, Value: row.cookie})
		}
		if got := LanguageOf(r); got != row.want {
			t.Errorf("%+v: %s", row, got)
		}
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.December, 1, 23, 30, 0, 0, time.UTC)
	for lang, want := range map[string]string{"fr": "mercredi 2\u00a0décembre 2026", "en": "Wednesday 2 December 2026"} {
		if got := LongDay(at, lang); got != want {
			t.Errorf("%s: %s", lang, got)
		}
	}
	for lang, want := range map[string]string{"fr": "2\u00a0décembre 2026", "en": "2 December 2026"} {
		if got := Date(at, lang); got != want {
			t.Errorf("%s: %s", lang, got)
		}
	}
	if got := LongDay(at.AddDate(0, 0, -1), "fr"); got != "mardi 1er\u00a0décembre 2026" {
		t.Error(got)
	}
}

// 0 and 1 are singular in French, 1 alone in English.
func TestPages_Counted(t *testing.T) {
	t.Parallel()
	for lang, want := range map[string][]string{
		"fr": {"0 caractère", "1 caractère", "2 caractères", "", "1 jour ouvré", "2 jours ouvrés"},
		"en": {"0 characters", "1 character", "2 characters", "", "1 working day", "2 working days"},
	} {
		p := &Pages{Lang: lang}
		for n := range 3 {
			if got := p.Characters(n); got != want[n] {
				t.Errorf("%s: %q, want %q", lang, got, want[n])
			}
			if got := p.WorkingDays(int32(n)); got != want[n+3] {
				t.Errorf("%s: %q, want %q", lang, got, want[n+3])
			}
		}
	}
}
