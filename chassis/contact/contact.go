// Package contact says which e-mail addresses and telephone numbers can be used, and in which
// form they are kept and given to providers.
//
// What is promised: there is one rule for each, whoever brings the value: a person who types it,
// the account of an issuer, the file of a taxonomy. What is returned is taken again as it is.
//
// How: what people paste with a value and cannot see is taken out (spaces, direction marks,
// isolates), what a writing program has changed is mended (apostrophes, hyphens), and what is left
// is parsed: numbers by the metadata of libphonenumber, domains by IDNA 2008 and the public suffix
// list.
//
// When it breaks: both tables are those of the build. A numbering plan or a top-level domain that
// is younger than it is refused, and whoever typed it is told so.
package contact

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/ma-messagerie/messagerie/chassis/plain"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// Fault is why a value cannot be used. It does not repeat the value.
type Fault struct {
	// Reason is what a program compares.
	Reason errorpb.ErrorReason
	// Hint says what is wrong, and how to mend it.
	Hint string
}

func (f *Fault) Error() string { return f.Hint }

// longest is how many bytes a value may have to be read: no address is as long.
const longest = 1024

// visible is a value as its writer sees it: without characters that are not shown, and with
// those of East Asian width as the usual ones. Each white space is a space. It is empty for a
// text that is far too long.
func visible(typed string) string {
	if len(typed) > longest {
		return ""
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.Is(unicode.Z, r), r == '\u2800':
			return ' '
		case unicode.IsControl(r), plain.Ignorable(r):
			return -1
		}
		return r
	}, norm.NFKC.String(typed)))
}
