package render

import "strings"

// French typography, set here once for every sentence of the pages: whoever writes one types
// ordinary spaces.
const (
	// noBreak stands before a colon and inside guillemets.
	noBreak = "\u00a0"
	// narrow stands before ; ! ? and %, and between groups of digits.
	narrow = "\u202f"
)

// spaced puts spaces that no line breaks at where French wants them: otherwise a line may
// begin with a question mark, or end within a number.
func spaced(text string) string {
	var out strings.Builder
	for i := range len(text) {
		if text[i] != ' ' {
			out.WriteByte(text[i])
			continue
		}
		before, after := text[:i], text[i+1:]
		switch {
		case strings.HasPrefix(after, ":"), strings.HasPrefix(after, "»"), strings.HasSuffix(before, "«"):
			out.WriteString(noBreak)
		case after != "" && strings.ContainsRune(";!?", rune(after[0])), strings.HasPrefix(after, "%%"),
			before != "" && isDigit(before[i-1]) && after != "" && isDigit(after[0]):
			out.WriteString(narrow)
		default:
			out.WriteByte(' ')
		}
	}
	return out.String()
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// percent is a share of a hundred.
func (p *Pages) percent(n int) string { return p.Tr("%d %%", "%d%%", n) }
