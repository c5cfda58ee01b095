package link

import (
	"strings"
	"testing"
)

func TestDivide(t *testing.T) {
	t.Parallel()
	sites := Sites{"msa.example.org", "example.net"}
	for _, row := range []struct{ text, want string }{
		{"Bonjour,\nvotre dossier est complet.", "Bonjour,\nvotre dossier est complet."},
		{"", ""},
		// Addresses of the sites, and of hosts below them.
		{"Voir https://msa.example.org/aide?x=1#y.", "Voir [https://msa.example.org/aide?x=1#y→https://msa.example.org/aide?x=1#y]."},
		{"(https://services.msa.example.org/é) ou www.example.net, merci", "([https://services.msa.example.org/é→https://services.msa.example.org/%C3%A9]) ou [www.example.net→https://www.example.net], merci"},
		{"« https://MSA.example.org »", "« [https://MSA.example.org→https://MSA.example.org] »"},
		{"https://msa.example.org https://msa.example.org", "[https://msa.example.org→https://msa.example.org] [https://msa.example.org→https://msa.example.org]"},
		// Of nobody else, however they are written.
		{"https://msa.example.org.evil.test/", "https://msa.example.org.evil.test/"},
		{"https://evilmsa.example.org/", "https://evilmsa.example.org/"},
		{"https://msa.example.org@evil.test/", "https://msa.example.org@evil.test/"},
		{"https://msa.example.org:443@evil.test/", "https://msa.example.org:443@evil.test/"},
		{`https://evil.test\@msa.example.org/`, `https://evil.test\@msa.example.org/`},
		{"https://msa.example.org:8443/", "https://msa.example.org:8443/"},
		{"http://msa.example.org/", "http://msa.example.org/"},
		{"javascript:alert(1)//www.example.net", "javascript:alert(1)//[www.example.net→https://www.example.net]"},
		{"https://msа.example.org/", "https://msа.example.org/"}, // a Cyrillic а
		{"https://example.org", "https://example.org"},
		{"https://", "https://"},
		{"www.", "www."},
		// Telephone numbers, as people write them.
		{"Appelez le 09 69 39 00 00 ou le 01.23.45.67.89.", "Appelez le [09 69 39 00 00→0969390000] ou le [01.23.45.67.89→0123456789]."},
		{"0262123456, +33 6 12 34 56 78 et +33 (0)6 12 34 56 78", "[0262123456→0262123456], [+33 6 12 34 56 78→+33612345678] et [+33 (0)6 12 34 56 78→+33612345678]"},
		{"+33 612 34 56 78; +262 262 12 34 56", "[+33 612 34 56 78→+33612345678]; [+262 262 12 34 56→+262262123456]"},
		{"0800 123 456 puis 0 800 123 456", "[0800 123 456→0800123456] puis [0 800 123 456→0800123456]"},
		{"+1234567890123456", "+1234567890123456"},
		{"01 23 45 67 89", "[01 23 45 67 89→0123456789]"},
		// What only looks like one.
		{"1 84 05 29 019 042 17", "1 84 05 29 019 042 17"},
		{"FR76 0123 4567 8901 2345", "FR76 0123 4567 8901 2345"},
		{"MSA-0123456789", "MSA-0123456789"},
		{"2026-01-23 10:30, 0123456789012, 01 23 45 67 89 01", "2026-01-23 10:30, 0123456789012, 01 23 45 67 89 01"},
		{"le 01.02.2026, 00 12", "le 01.02.2026, 00 12"},
	} {
		var got, whole strings.Builder
		for _, piece := range sites.Divide(row.text) {
			whole.WriteString(piece.Text)
			if to := piece.URL + piece.Phone; to != "" {
				got.WriteString("[" + piece.Text + "→" + to + "]")
			} else {
				got.WriteString(piece.Text)
			}
		}
		if got.String() != row.want || whole.String() != row.text {
			t.Errorf("%q:\n got %q\nwant %q", row.text, got.String(), row.want)
		}
	}
	if pieces := Sites(nil).Divide("https://msa.example.org/"); len(pieces) != 1 || pieces[0].URL != "" {
		t.Errorf("without sites: %v", pieces)
	}
}

func TestSites_Validate(t *testing.T) {
	t.Parallel()
	for site, want := range map[string]bool{
		"www.example.org": true, "example.fr": true, "a-b.example.fr": true, "fr": false, "https://example.org": false, "example.org:443": false, "Example.org": false,
		"*.example.org": false, "example.org/": false, "": false, "-a.example.org": false, "10.0.0.1": false,
	} {
		if err := (Sites{"example.net", site}).Validate(); (err == nil) != want {
			t.Errorf("%q: %v", site, err)
		}
	}
}

func FuzzDivide(f *testing.F) {
	f.Add("Voir https://msa.example.org/aide, ou appelez le 09 69 39 00 00.")
	f.Fuzz(func(t *testing.T, text string) {
		var whole strings.Builder
		for _, piece := range (Sites{"msa.example.org"}).Divide(text) {
			whole.WriteString(piece.Text)
			if piece.URL != "" && !strings.HasPrefix(strings.ToLower(piece.URL), "https://") {
				t.Errorf("%q leads to %q", piece.Text, piece.URL)
			}
		}
		if whole.String() != text {
			t.Errorf("%q is shown as %q", text, whole.String())
		}
	})
}
