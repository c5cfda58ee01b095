package text

import (
	"strings"
	"unicode"

	"github.com/ma-messagerie/messagerie/chassis/plain"
)

// excerptChars is how long an excerpt is at most, without its ellipsis.
const excerptChars = 120

// Excerpt is the beginning of a text in one line: all of it if it is short, else as many words as
// there is room for, and an ellipsis. What has no word that ends in time is cut between two
// characters as readers see them, so that no accent or skin tone is lost.
func Excerpt(body string) string {
	// What is begun is kept as it was typed; and what is cut may have lost one half of a pair.
	body, _ = plain.Clean(body)
	excerpt, _ := plain.Clean(beginning(body))
	return excerpt
}

func beginning(body string) string {
	line := []rune(strings.Join(strings.FieldsFunc(body, breaks), " "))
	if len(line) <= excerptChars {
		return string(line)
	}
	end := excerptChars
	for end > 0 && !breaks(line[end]) {
		end--
	}
	if end == 0 {
		for end = excerptChars; end > 0 && continues(line, end); end-- {
		}
	}
	if end == 0 { // marks upon marks
		end = excerptChars
	}
	return strings.TrimRight(string(line[:end]), " \u00a0\u202f,;:") + "…"
}

// breaks reports whether a line may be broken at a character: not at the spaces that keep a
// French question mark with its word.
func breaks(r rune) bool { return unicode.IsSpace(r) && r != '\u00a0' && r != '\u202f' }

const zeroWidthJoiner = '\u200d'

// continues reports whether a character belongs to the one before it: an accent, a variation, a
// skin tone, or what a joiner joins.
func continues(line []rune, at int) bool {
	r := line[at]
	return unicode.Is(unicode.M, r) || r == zeroWidthJoiner || line[at-1] == zeroWidthJoiner || r >= 0x1F3FB && r <= 0x1F3FF
}
