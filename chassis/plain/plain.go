// Package plain says which characters a single-line text may contain, such as a code, an id
// or a name, and cleans texts that others wrote.
//
// Codes, ids and names are refused for what a free text, a message or a note, is cleaned of
// ([Clean]): people cannot mend what they do not see, programs can.
//
// For a line, one rule holds for what callers send (chassis/rpc refuses the rest) and what tokens
// carry (chassis/auth cleans it): no control characters, which PostgreSQL, logs and headers
// reject or misread, and none of the characters that make a line display differently from
// how it is stored.
package plain

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Allowed reports whether a text on one line may hold the character. It may not hold
// C0 and C1 control characters (NUL and DEL among them), the line and paragraph separators
// (U+2028, U+2029), and the bidirectional embeddings, overrides and isolates.
func Allowed(r rune) bool {
	switch {
	case unicode.IsControl(r), r == '\u2028', r == '\u2029':
		return false
	case r >= '\u202A' && r <= '\u202E', r >= '\u2066' && r <= '\u2069':
		return false
	}
	return true
}

// Is reports whether the whole text is valid UTF-8 of characters that are allowed.
func Is(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, forbidden) < 0
}

func forbidden(r rune) bool { return !Allowed(r) }

// Line makes one line of a text, at most so many characters long. White space of any
// kind and length becomes a space; other forbidden characters, and the replacement
// character that stands for text that could not be read, are taken out.
func Line(text string, most int) string {
	kept := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError, forbidden(r):
			return -1
		}
		return r
	}, text)
	line := strings.Join(strings.Fields(kept), " ")
	for i := range line {
		if most == 0 {
			return strings.TrimRight(line[:i], " ")
		}
		most--
	}
	return line
}
