package words

import (
	_ "embed"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/french"
	"golang.org/x/text/unicode/norm"
)

// word is one of a text.
type word struct {
	// span is where it is in the text, and folded how it is compared.
	span   span
	folded string
	// open: the text ends with it, so that it may go on.
	open bool
}

// longest is how much of a text is looked at, in bytes.
const longest = 4096

// isInner reports whether a character belongs to a word: letters, digits, and what is written
// upon or within them.
func isInner(r rune) bool {
	return r != '\u02bc' && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.In(r, unicode.Mn, unicode.Cf))
}

// split cuts a text into words. An elided one (l', d', qu') in front of another is left out.
// Letters with points between them (A.P.L.) are one.
func split(text string) []word {
	text = text[:min(len(text), longest)]
	var list []word
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if !isInner(r) {
			i += size
			continue
		}
		end := i
		for end < len(text) {
			r, size = utf8.DecodeRuneInString(text[end:])
			if !isInner(r) {
				break
			}
			end += size
		}
		w := word{span: span{uint16(i), uint16(end)}, folded: Fold(text[i:end]), open: end == len(text)} //nolint:gosec // texts are short
		if w.folded != "" && !elided(w.folded, text[end:]) {
			list = append(list, w)
		}
		i = end
	}
	return spelt(text, list)
}

const apostrophes = "'’‘ʼ′´`"

// elided reports whether a word is a short form before an apostrophe that is followed by more.
func elided(folded, rest string) bool {
	r, size := utf8.DecodeRuneInString(rest)
	if !strings.ContainsRune(apostrophes, r) || (len(folded) != 1 && !strings.HasSuffix(folded, "qu")) {
		return false
	}
	return strings.ContainsFunc(rest[size:], isInner)
}

// spelt joins single letters that have a point alone between them.
func spelt(text string, list []word) []word {
	joined := list[:0]
	for _, w := range list {
		if n := len(joined); n > 0 && len(w.folded) == 1 {
			last := &joined[n-1]
			alone := len(last.folded) == 1 || strings.Contains(text[last.span.from:last.span.to], ".")
			if alone && text[last.span.to:w.span.from] == "." {
				last.folded += w.folded
				last.span.to, last.open = w.span.to, w.open
				continue
			}
		}
		joined = append(joined, w)
	}
	return joined
}

// Split cuts a text into its words as they are compared, folded.
func Split(text string) []string {
	var folded []string
	for _, w := range split(text) {
		folded = append(folded, w.folded)
	}
	return folded
}

// Content returns the words of a text that say what it is about, as Split does: all but those of
// questions and politeness.
func Content(text string) []string {
	var folded []string
	for _, w := range split(text) {
		if classOf[w.folded] == content {
			folded = append(folded, w.folded)
		}
	}
	return folded
}

// Fold puts a text into the form that is compared: decomposed (NFD), without accents and
// invisible characters, in lower case, œ and æ spelt out as on keyboards that lack them.
func Fold(text string) string {
	ascii := true
	for i := 0; i < len(text) && ascii; i++ {
		ascii = text[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(text)
	}
	var folded strings.Builder
	for _, r := range norm.NFD.String(text) {
		switch r = unicode.ToLower(r); {
		case unicode.In(r, unicode.Mn, unicode.Cf):
		case r == 'œ':
			folded.WriteString("oe")
		case r == 'æ':
			folded.WriteString("ae")
		default:
			folded.WriteRune(r)
		}
	}
	return folded.String()
}

// stemOf is what a word has in common with its forms. Snowball's French stemmer expects accents;
// of words without them it leaves the e of feminine participles and the y of verbs, and of all the
// s of some plurals.
func stemOf(folded string) string {
	if len(folded) < 4 || !isASCII(folded) {
		return folded
	}
	if plural := strings.TrimSuffix(folded, "s"); plural != folded {
		if folded = plural; len(folded) < 4 {
			return folded + "s" // the PAC is no pacs
		}
	}
	env := snowballstem.NewEnv(folded)
	french.Stem(env)
	stem := env.Current()
	for len(stem) > 3 && stem[len(stem)-1] == 'e' {
		stem = stem[:len(stem)-1]
	}
	if last := len(stem) - 1; stem[last] == 'y' {
		stem = stem[:last] + "i"
	}
	return stem
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

//go:embed stop.txt
var stopList string

// classOf are the words that say little or nothing, folded.
var classOf = func() map[string]class {
	classes := make(map[string]class)
	as := stop
	for line := range strings.Lines(stopList) {
		line = strings.TrimSpace(line)
		switch {
		case line == "# weak":
			as = weak
		case !strings.HasPrefix(line, "#"):
			for _, w := range strings.Fields(line) {
				classes[Fold(w)] = as
			}
		}
	}
	return classes
}()

// sounder writes letters as they sound. Where it matters for which word is meant, an e is not
// heard.
var sounder = strings.NewReplacer(
	"eau", "o", "au", "o", "oeu", "", "eu", "", "oe", "", "ou", "u",
	"ph", "f", "qu", "k", "sch", "C", "ch", "C", "gn", "ni", "th", "t", "ck", "k",
	"ain", "1", "ein", "1", "aim", "1", "ien", "i1", "in", "1", "im", "1", "yn", "1", "ym", "1", "un", "1",
	"an", "2", "am", "2", "en", "2", "em", "2", "on", "3", "om", "3",
	"ai", "", "ei", "", "ay", "", "ey", "",
	"ce", "s", "ci", "si", "cy", "si", "ge", "j", "gi", "ji", "c", "k", "q", "k",
	"tion", "si3", "ss", "s", "y", "i", "h", "", "x", "ks", "w", "v", "z", "s", "e", "",
)

// soundOf is how a French word sounds, roughly; "" for one that is too short to be told by it.
func soundOf(folded string) string {
	if len(folded) < 5 || !isASCII(folded) {
		return ""
	}
	heard := sounder.Replace(strings.TrimRight(strings.TrimSuffix(folded, "er"), "esztdxp"))
	var sound strings.Builder
	var before rune
	for _, r := range heard {
		if r != before {
			sound.WriteRune(r)
		}
		before = r
	}
	if sound.Len() < 3 {
		return ""
	}
	return sound.String()
}
