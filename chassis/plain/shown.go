package plain

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Flaw is what is wrong with a line that people are shown, by its code.
type Flaw string

// The flaws of a line.
const (
	// Invisible is a line that shows nothing, or a character in it that is displayed as nothing.
	Invisible Flaw = "INVISIBLE"
	// Control is a control character, a tab and a line break among them, or one that stands for
	// text that could not be read.
	Control Flaw = "CONTROL"
	// Direction is a mark, embedding, override or isolate by which a line reads otherwise than
	// it is stored.
	Direction Flaw = "DIRECTION"
	// Spaces are white space at either end, or two together.
	Spaces Flaw = "SPACES"
	// Unnormalised is a line that is not in NFC, in which letters and their accents are apart.
	Unnormalised Flaw = "NOT_NFC"
	// Long is a line of more characters than are shown.
	Long Flaw = "LONG"
)

// Fault is one flaw of a line, and how to mend it. It does not repeat the line.
type Fault struct {
	Flaw       Flaw
	Text, Hint string
}

func (f Fault) Error() string { return f.Text + ". " + f.Hint }

// Shown checks a line of at most so many characters that its writer can mend, such as a label or a
// setting, and that people are shown as it is. It returns every flaw once, with the first
// character that has it. Joiners and variation selectors are taken, which emoji and some scripts
// have, and no-break spaces, which French punctuation has.
func Shown(line string, most int) (faults []Fault) {
	fault := func(f Flaw, text, hint string) { faults = append(faults, Fault{f, text, hint}) }
	if Blank(line) {
		fault(Invisible, "it shows nothing", "write what people shall read")
		return faults
	}
	seen := make(map[Flaw]bool)
	place := 0
	for _, r := range line {
		place++
		flaw, what, hint := flawOf(r)
		if flaw == "" || seen[flaw] {
			continue
		}
		seen[flaw] = true
		fault(flaw, fmt.Sprintf("character %d is %U, %s", place, r, what), hint)
	}
	if !seen[Control] && hasLooseSpaces(line) {
		fault(Spaces, "it has white space at an end, or twice together", "leave one space between words, and none outside")
	}
	if !norm.NFC.IsNormalString(line) {
		fault(Unnormalised, "letters and their accents are apart", "write it in Unicode's form NFC: type it anew, or convert the text")
	}
	if n := utf8.RuneCountInString(line); n > most {
		fault(Long, fmt.Sprintf("it has %d characters, at most %d are shown", n, most), "say it in fewer words")
	}
	return faults
}

// Setting reports what is wrong with a setting that people are shown, by its name. Without a value
// it is for others to say whether it needs one.
func Setting(name, value string, most int) error {
	if value == "" {
		return nil
	}
	var faults []error
	for _, fault := range Shown(value, most) {
		faults = append(faults, fmt.Errorf("%s, which people are shown: %w", name, fault))
	}
	return errors.Join(faults...)
}

// flawOf is that of a character.
func flawOf(r rune) (flaw Flaw, what, hint string) {
	switch {
	case unicode.IsControl(r), r == '\u2028', r == '\u2029':
		return Control, "a control character or line break", "write it on one line, and take the character out"
	case r == utf8.RuneError, unicode.Is(unicode.Co, r), unicode.Is(unicode.Noncharacter_Code_Point, r):
		return Control, "which no typeface has", "type the character that was meant"
	case unicode.Is(unicode.Bidi_Control, r):
		return Direction, "which changes the direction of writing", "take it out"
	case r == '\u200c', r == '\u200d', unicode.Is(unicode.Variation_Selector, r):
		return "", "", ""
	case Ignorable(r), r == '\u2800':
		return Invisible, "which is not displayed", "take it out"
	}
	return "", "", ""
}

// hasLooseSpaces reports whether white space is outside, or two of them are together.
func hasLooseSpaces(line string) bool {
	before := true
	for _, r := range line {
		space := unicode.IsSpace(r) || unicode.Is(unicode.Z, r)
		if space && before {
			return true
		}
		before = space
	}
	return before
}

// Alike is what two lines have in common that a reader takes for the same: without case, accents,
// the width and number of spaces, and the kinds of apostrophes and hyphens.
func Alike(line string) string {
	folded := strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r), Ignorable(r):
			return -1
		case unicode.IsSpace(r), unicode.Is(unicode.Z, r), r == '\u2800':
			return ' '
		case unicode.Is(unicode.Pd, r), r == '\u2212':
			return '-'
		case strings.ContainsRune("’‘ʼ′`´＇", r):
			return '\''
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(strings.ReplaceAll(line, "´", "'")))
	return strings.NewReplacer("œ", "oe", "æ", "ae", "ß", "ss").Replace(strings.Join(strings.Fields(folded), " "))
}
