package taxonomyfile

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ma-messagerie/messagerie/chassis/plain"
)

// source is a file as characters, before it is YAML. What is pasted from a web page or a writing
// program has spaces that are none for YAML: it then takes the key and its value for one text, or
// complains about another line. They are reported, and read as what they look like, so that
// what else is wrong is reported with them.
type source struct {
	*report
	lines [][]rune
	// tab is the first line that is indented with one, which YAML cannot read; 0: none.
	tab int
}

// key is the end of the name of a key before its value.
var key = regexp.MustCompile(`^[A-Za-z_]+:$`)

// clean returns the file with what looks like a space as one, and false for a file that is not
// text. A byte order mark at its beginning and CRLF at the ends of lines mean nothing.
func (s *source) clean(content []byte) (mended string, ok bool) {
	const save = "save the file as UTF-8"
	if bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff")) || bytes.IndexByte(content[:min(len(content), 4)], 0) >= 0 {
		s.fault(Place{}, encodingInvalid, save, "the file is text in UTF-16 or UTF-32, or no text")
		return "", false
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(content))
	for i, r := range text {
		if _, size := utf8.DecodeRuneInString(text[i:]); r == utf8.RuneError && size == 1 {
			before := text[:i]
			at := Place{1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])}
			s.fault(at, encodingInvalid, save, "the file is not text in UTF-8: here is the byte %#x", text[i])
			return "", false
		}
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = s.line(i+1, []rune(line))
		s.lines = append(s.lines, []rune(lines[i]))
	}
	return strings.Join(lines, "\n"), true
}

// line returns a line as it is read.
func (s *source) line(number int, line []rune) string {
	for i, r := range line {
		switch {
		case r == '\ufeff':
			s.odd(number, i, line)
			line[i] = dropped
		case r != '\t' && unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufffe', r == '\uffff':
			s.fault(Place{number, i + 1}, characterForbidden, "take it out", "here is %U, a control character or line break that people do not see", r)
			line[i] = dropped
		}
	}
	i := s.indentation(number, line)
	if i < len(line) && line[i] == '#' {
		return kept(line)
	}
	start := i
	for i < len(line) && (line[i] == '_' || unicode.IsLetter(line[i]) && line[i] < 0x80) {
		i++
	}
	if i < len(line) && key.MatchString(string(line[start:i+1])) {
		i = s.spaces(number, line, i+1)
	} else {
		i = start
	}
	if i < len(line) && (line[i] == '{' || line[i] == '[') {
		s.flow(number, line, i)
	} else if i < len(line) && !strings.ContainsRune(`"'`, line[i]) {
		s.end(number, line, i)
	}
	return kept(line)
}

// dropped stands for a character that is not read.
const dropped = -1

func kept(line []rune) string {
	return string(slices.DeleteFunc(line, func(r rune) bool { return r == dropped }))
}

// indentation mends what is before the first character of a line, the dashes of lists included.
func (s *source) indentation(number int, line []rune) int {
	i := s.spaces(number, line, 0)
	if tab := slices.Index(line[:i], '\t'); tab >= 0 && i < len(line) && line[i] != '#' {
		s.fault(Place{number, tab + 1}, indentTab, "indent with spaces alone", "the line is indented with a tab")
		if s.tab == 0 {
			s.tab = number
		}
	}
	for i+1 < len(line) && line[i] == '-' && (line[i+1] == ' ' || isOdd(line[i+1])) {
		i = s.spaces(number, line, i+1)
	}
	return i
}

// spaces mends the white space from a place on, and returns where it ends.
func (s *source) spaces(number int, line []rune, from int) int {
	i := from
	said := false
	for ; i < len(line) && (line[i] == ' ' || line[i] == '\t' || line[i] == dropped || isOdd(line[i])); i++ {
		if isOdd(line[i]) {
			if !said {
				s.odd(number, i, line)
			}
			said = true
			line[i] = looksLike(line[i])
		}
	}
	return i
}

// end mends what is behind a value without quotes, and before a comment.
func (s *source) end(number int, line []rune, from int) {
	for i := from; i < len(line); i++ {
		if !isOdd(line[i]) {
			continue
		}
		after := i
		for after < len(line) && (line[after] == ' ' || isOdd(line[after])) {
			after++
		}
		if after == len(line) || line[after] == '#' {
			s.spaces(number, line, i)
		}
		i = after
	}
}

// flow mends what is outside the values of a list or mapping on one line.
func (s *source) flow(number int, line []rune, from int) {
	var quote rune
	word := from // where the last word began
	for i := from; i < len(line); i++ {
		switch r := line[i]; {
		case quote == '"' && r == '\\':
			i++
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case (r == '"' || r == '\'') && i == word:
			quote = r
		case r == '#' && line[i-1] == ' ':
			return
		case strings.ContainsRune("[{,", r), r == ':' && key.MatchString(string(line[word:i+1])):
			i = s.spaces(number, line, i+1) - 1
			word = i + 1
		case isOdd(r):
			after := i
			for after < len(line) && (line[after] == ' ' || isOdd(line[after])) {
				after++
			}
			if after == len(line) || strings.ContainsRune("]},", line[after]) {
				s.spaces(number, line, i)
			}
			i = after - 1
		}
	}
}

func (s *source) odd(number, i int, line []rune) {
	s.fault(Place{number, i + 1}, spaceInvalid, "replace it by a space, or take it out", "here is %U, which looks like a space or like nothing, and is none for YAML", line[i])
}

// isOdd reports whether a character looks like a space or like nothing and is neither for YAML.
func isOdd(r rune) bool {
	// An emoji may end with a variation selector.
	return r > ' ' && (unicode.Is(unicode.Z, r) || r == '\u2800' || plain.Ignorable(r) && !unicode.In(r, unicode.Variation_Selector, unicode.Join_Control))
}

// looksLike is how it is read.
func looksLike(r rune) rune {
	if unicode.Is(unicode.Z, r) || r == '\u2800' {
		return ' '
	}
	return dropped
}

// first is where a line that YAML complains about begins.
func (s *source) first(line int) Place {
	line = min(max(line, 1), max(len(s.lines), 1))
	if line > len(s.lines) {
		return Place{1, 1}
	}
	column := slices.IndexFunc(s.lines[line-1], func(r rune) bool { return r != ' ' && r != '\t' })
	return Place{line, max(column, 0) + 1}
}

// find is where a text stands first.
func (s *source) find(text string) Place {
	for i, line := range s.lines {
		if before, _, ok := strings.Cut(string(line), text); ok {
			return Place{i + 1, utf8.RuneCountInString(before) + 1}
		}
	}
	return Place{1, 1}
}

// forYAML is a message of the library in this package's words.
func forYAML(text string) string {
	for _, known := range []struct{ says, means string }{
		{"mapping values are not allowed in this context", "a second colon with a space after it, for which the value must be between quotes, or a line that is indented too far"},
		{"did not find expected key", "a line that is indented differently from those beside it, or a quote or bracket before it that has no end"},
		{"did not find expected '-' indicator", "an entry of a list that does not begin like those before it"},
		{"could not find expected ':'", "a line without the colon after its key"},
		{"found character that cannot start any token", "a character that begins no value: put the value between quotes"},
	} {
		if strings.Contains(text, known.says) {
			return fmt.Sprintf("this is not YAML: %s (%s)", known.means, text)
		}
	}
	return "this is not YAML: " + text
}
