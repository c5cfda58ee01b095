package plain_test

import (
	"strings"
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/plain"
)

func TestIs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "famille-logement", "Élodie d’Armor 🙂", "a\u00a0b", "a\u200bb", "\U0010FFFF", "\ufffd", "a\u2069b"[:1], "\u2027", "\u202f", "\u2065", "\u206a"} {
		if !plain.Is(text) {
			t.Errorf("%+q is refused", text)
		}
	}
	for _, text := range []string{
		"\x00", "a\x00b", "\t", "\n", "\x1b[2J", "\x1f", "\x7f", "\u0080", "\u0085", "\u009f",
		"\u2028", "\u2029", "\u202a", "\u202e", "\u2066", "\u2069", "\xff", "a\xc3",
	} {
		if plain.Is(text) {
			t.Errorf("%+q is taken", text)
		}
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		text string
		most int
		want string
	}{
		{"", 5, ""},
		{"Jeanne Martin", 200, "Jeanne Martin"},
		{" Jeanne\n\t Martin\u2028", 200, "Jeanne Martin"},
		{"Jea\x00nne \u202eMartin\x1b\u0085", 200, "Jeanne Martin"},
		{"a\xffb\ufffdc", 200, "abc"},
		{"\x00\x01", 200, ""},
		{"éèà", 3, "éèà"},
		{"éèàç", 3, "éèà"},
		{"ab cd", 3, "ab"},
		{strings.Repeat("🙂", 300), 200, strings.Repeat("🙂", 200)},
	} {
		got := plain.Line(row.text, row.most)
		if got != row.want || !plain.Is(got) {
			t.Errorf("%+q of %d: got %+q, want %+q", row.text, row.most, got, row.want)
		}
	}
}
