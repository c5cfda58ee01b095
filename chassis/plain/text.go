package plain

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Clean returns what somebody wrote, on as many lines as they like, as it is stored and shown,
// but for outer white space (see [Text]), and how many characters it has taken out.
//
// Every line end of Unicode becomes LF: CRLF, CR, VT and FF, which slides and PDF files have, NEL,
// U+2028 and U+2029. Other control characters but the tab are taken out, NUL included; so are the
// bidirectional embeddings and overrides, which can make a text read otherwise than it is, and
// isolates without their other half on the same line, as their effect ends with it (UAX #9, BD8
// and P1). Pairs stay: names of people in contacts have them. What is left is in NFC.
//
// What is not UTF-8 becomes U+FFFD. Cleaned again, a text is itself.
func Clean(raw string) (text string, removed int) {
	var kept strings.Builder
	kept.Grow(len(raw))
	for line := range strings.SplitAfterSeq(lineEnds.Replace(strings.ToValidUTF8(raw, string(utf8.RuneError))), "\n") {
		line, ends := strings.CutSuffix(line, "\n")
		removed += cleanLine(&kept, line)
		if ends {
			kept.WriteByte('\n')
		}
	}
	return norm.NFC.String(kept.String()), removed
}

// Text is [Clean] without outer white space: what is counted and stored.
func Text(raw string) (text string, removed int) {
	text, removed = Clean(raw)
	return strings.TrimFunc(text, unicode.IsSpace), removed
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\v", "\n", "\f", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

// cleanLine adds a line without what is taken out of it, and counts that.
func cleanLine(kept *strings.Builder, line string) (removed int) {
	if strings.IndexFunc(line, unusual) < 0 {
		kept.WriteString(line)
		return 0
	}
	alone := unpaired(line)
	for i, r := range line {
		if r != '\t' && (unicode.IsControl(r) || r >= 0x202A && r <= 0x202E) || alone[i] {
			removed++
			continue
		}
		kept.WriteRune(r)
	}
	return removed
}

// unusual reports whether a character may have to be taken out.
func unusual(r rune) bool {
	return r != '\t' && (unicode.IsControl(r) || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069)
}

// unpaired are the places of the isolates of a line that lack their other half.
func unpaired(line string) map[int]bool {
	alone := make(map[int]bool)
	var open []int
	for i, r := range line {
		switch {
		case r >= 0x2066 && r <= 0x2068:
			open = append(open, i)
		case r == 0x2069 && len(open) > 0:
			open = open[:len(open)-1]
		case r == 0x2069:
			alone[i] = true
		}
	}
	for _, i := range open {
		alone[i] = true
	}
	return alone
}

// Blank reports whether a text shows nothing: white space, characters that are displayed as
// nothing, and U+2800, the braille pattern without a dot.
func Blank(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool {
		return !unicode.IsSpace(r) && r != '\u2800' && !Ignorable(r) && !unicode.IsControl(r)
	}) < 0
}

// Ignorable reports whether a character is displayed as nothing: Default_Ignorable_Code_Point of
// the Unicode Character Database, derived as its DerivedCoreProperties.txt says.
func Ignorable(r rune) bool {
	if r >= 0xFFF9 && r <= 0xFFFB || r >= 0x13430 && r <= 0x1343F || unicode.Is(unicode.Prepended_Concatenation_Mark, r) {
		return false
	}
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Cf, unicode.Variation_Selector)
}
