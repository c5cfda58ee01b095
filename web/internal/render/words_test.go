package render

import (
	"net/http"
	"net/http/httptest"
	"strings"
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

// In the hour that clocks show twice, a page says which it is, and nothing at any other time.
func TestMoment(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ at, french, english string }{
		{"2026-11-23T08:36:00Z", "23/11/2026 à 9 h 36", "23 Nov 2026, 09:36"},
		{"2026-10-24T23:59:59Z", "25/10/2026 à 1 h 59", "25 Oct 2026, 01:59"},
		{"2026-10-25T00:30:00Z", "25/10/2026 à 2 h 30 (heure d’été)", "25 Oct 2026, 02:30 (summer time)"},
		{"2026-10-25T01:30:00Z", "25/10/2026 à 2 h 30 (heure d’hiver)", "25 Oct 2026, 02:30 (winter time)"},
		{"2026-10-25T02:00:00Z", "25/10/2026 à 3 h 00", "25 Oct 2026, 03:00"},
		{"2027-10-31T00:00:00Z", "31/10/2027 à 2 h 00 (heure d’été)", "31 Oct 2027, 02:00 (summer time)"},
		{"2027-10-31T01:59:59Z", "31/10/2027 à 2 h 59 (heure d’hiver)", "31 Oct 2027, 02:59 (winter time)"},
		{"2027-03-28T01:00:00Z", "28/03/2027 à 3 h 00", "28 Mar 2027, 03:00"},
	} {
		at, err := time.Parse(time.RFC3339, row.at)
		if err != nil {
			t.Fatal(err)
		}
		french, english := strings.ReplaceAll(Moment(at, "fr"), noBreak, " "), Moment(at, "en")
		if french != row.french || english != row.english {
			t.Errorf("%s: %q and %q, want %q and %q", row.at, french, english, row.french, row.english)
		}
		pages := Pages{Lang: "en"}
		if got := pages.Clock(at); !strings.HasSuffix(row.english, ", "+got) {
			t.Errorf("%s: the clock shows %q", row.at, got)
		}
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
