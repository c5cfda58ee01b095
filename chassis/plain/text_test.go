package plain_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/ma-messagerie/messagerie/chassis/plain"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		raw, want string
		removed   int
	}{
		{"", "", 0},
		{" a\r\nb\rc\nd ", " a\nb\nc\nd ", 0},
		{"\n\n", "\n\n", 0},
		{"a\vb\fc\u0085d\u2028e\u2029f", "a\nb\nc\nd\ne\nf", 0},
		{"a\r\n\r\n\fb", "a\n\n\nb", 0},
		{"a\tb", "a\tb", 0},
		{"a\x00b\x1b[31m\x7fc\u009f", "ab[31mc", 4},
		{"e\x00\u0301", "é", 1}, // what stands apart is composed
		{"\u202aa\u202bb\u202cc\u202dd\u202ee", "abcde", 5},
		{"\u2068محمد\u2069 écrit", "\u2068محمد\u2069 écrit", 0},
		{"\u2066a\u2067b\u2068c\u2069\u2069\u2069", "\u2066a\u2067b\u2068c\u2069\u2069\u2069", 0},
		{"\u2066a", "a", 1},
		{"a\u2069", "a", 1},
		{"\u2069a\u2066", "a", 2},
		{"\u2066a\u2067b\u2069", "a\u2067b\u2069", 1}, // a pop ends the inner one
		{"\u2068a\nb\u2069", "a\nb", 2},               // no isolate goes on in the next line
		{"\u2068a\u2028b\u2069", "a\nb", 2},
		{"a\u200e\u200f\u200d\u200b\ufeff", "a\u200e\u200f\u200d\u200b\ufeff", 0},
		{"a\xffb", "a\ufffdb", 0},
		{"\ufffe\U0010ffff", "\ufffe\U0010ffff", 0},
	} {
		got, removed := plain.Clean(row.raw)
		if got != row.want || removed != row.removed {
			t.Errorf("%+q: %+q without %d, want %+q without %d", row.raw, got, removed, row.want, row.removed)
		}
	}
	if got, removed := plain.Text("\u00a0\u2066 \n a\x00 \f"); got != "a" || removed != 2 {
		t.Errorf("%+q without %d", got, removed)
	}
}

func TestBlank(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " \u00a0\u3000\n\t", "\u200b\u200d\ufeff\u2060\u00ad\u034f\u061c\u180e", "\u2800\u2800", "\u3164\u115f\u1160\uffa0", "\ufe0f\U000e0100\U000e0020\u2065\ufff0", "\u2066\u2069"} {
		if !plain.Blank(text) {
			t.Errorf("%+q shows something", text)
		}
	}
	for _, text := range []string{"a", ".", "\u2801", "🙂", "\ufffd", "\u0600", "\u0301", "\u2066x\u2069"} {
		if plain.Blank(text) {
			t.Errorf("%+q shows nothing", text)
		}
	}
}

func TestClean_AnyText(t *testing.T) {
	t.Parallel()
	pieces := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\u2066", "\u2067", "\u2068", "\u2069", "\u202e", "\x00", "\r", "\n", "\f", "\u2028", "e", "\u0301", " "})))
	rapid.Check(t, func(t *rapid.T) {
		raw := strings.Join(pieces.Draw(t, "text"), "")
		text, removed := plain.Clean(raw)
		if again, more := plain.Clean(text); again != text || more != 0 {
			t.Fatalf("%+q gives %+q, which gives %+q without %d", raw, text, again, more)
		}
		if !utf8.ValidString(text) || !norm.NFC.IsNormalString(text) || strings.ContainsAny(text, "\r\v\f\x00\u0085\u2028\u2029\u202a\u202e") || removed > utf8.RuneCountInString(raw) {
			t.Fatalf("%+q gives %+q without %d", raw, text, removed)
		}
		for line := range strings.SplitSeq(text, "\n") {
			depth := 0
			for _, r := range line {
				if r >= 0x2066 && r <= 0x2068 {
					depth++
				} else if r == 0x2069 {
					depth--
				}
				if depth < 0 {
					break
				}
			}
			if depth != 0 {
				t.Fatalf("%+q leaves %+q", raw, line)
			}
		}
		stored, _ := plain.Text(raw)
		if again, _ := plain.Text(stored); again != stored {
			t.Fatalf("%+q is stored as %+q, and that as %+q", raw, stored, again)
		}
	})
}
