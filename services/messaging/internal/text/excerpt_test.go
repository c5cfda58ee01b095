package text

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestExcerpt(t *testing.T) {
	t.Parallel()
	a := func(n int) string { return strings.Repeat("a", n) }
	for name, row := range map[string]struct{ body, want string }{
		"empty":                 {"", ""},
		"blank":                 {" \n\t ", ""},
		"short":                 {"Bonjour,\n\n  où en est\tmon dossier\u202f?", "Bonjour, où en est mon dossier\u202f?"},
		"just as long":          {a(60) + " " + a(59), a(60) + " " + a(59)},
		"the last word fits":    {a(60) + " " + a(59) + " b", a(60) + " " + a(59) + "…"},
		"a word too long":       {a(60) + " " + a(60), a(60) + "…"},
		"a comma at the end":    {a(60) + ", " + a(60), a(60) + "…"},
		"a mark stays":          {a(117) + " b\u00a0? c", a(117) + "…"},
		"one word":              {a(121), a(120) + "…"},
		"a face at the cut":     {a(119) + "👩🏽‍🌾" + a(9), a(119) + "…"},
		"an accent":             {a(119) + "x\u0301" + a(9), a(119) + "…"},
		"a composed accent":     {a(119) + "e\u0301" + a(9), a(119) + "é…"},
		"an isolate at the cut": {"\u2066" + a(150) + "\u2069", a(119) + "…"},
		"an isolate":            {"\u2068محمد\u2069 " + strings.Repeat("b ", 70), "\u2068محمد\u2069 " + strings.TrimSpace(strings.Repeat("b ", 57)) + "…"},
		"controls":              {"a\x00b\u202ec\fd", "abc d"},
		"a skin tone":           {a(119) + "👍🏽" + a(9), a(119) + "…"},
		"a heart with a tone":   {a(119) + "❤\ufe0f" + a(9), a(119) + "…"},
		"marks upon marks":      {"x" + strings.Repeat("\u0301", 29) + strings.Repeat("\u034f\u0301", 60), "x" + strings.Repeat("\u0301", 29) + strings.Repeat("\u034f\u0301", 45) + "…"},
		"right to left":         {strings.Repeat("שלום ", 40), strings.TrimSpace(strings.Repeat("שלום ", 24)) + "…"},
	} {
		got := Excerpt(row.body)
		if got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
		if n := utf8.RuneCountInString(got); n > excerptChars+1 {
			t.Errorf("%s: %d characters", name, n)
		}
	}
}
