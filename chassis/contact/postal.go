package contact

import (
	"regexp"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/plain"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// maxPostal is the most characters of an address: seven lines of 38 (NF Z10-011), and what is
// between them.
const maxPostal = 300

var (
	// town is a postcode and what is delivered with it: 35000 Rennes, 75436 PARIS CEDEX 09. Those
	// of overseas begin with 97 or 98, and none with 00 or 99.
	town = regexp.MustCompile(`^(?:0[1-9]|[1-8][0-9]|9[0-8])[0-9]{3}[ \x{00a0}]\p{L}[\p{L}\p{M}0-9 '’\x{00a0}.()-]*$`)
	// abroad is the last line but one in another country: it has a postcode of its own form.
	abroad  = regexp.MustCompile(`^[\p{L}\p{M}0-9 '’\x{00a0}.()/-]*[0-9][\p{L}\p{M}0-9 '’\x{00a0}.()/-]*$`)
	country = regexp.MustCompile(`^\p{L}[\p{L}\p{M} '’.()-]+$`)
	letters = regexp.MustCompile(`\p{L}`)
)

// breaks are the line breaks of an address, as the commas that mean the same.
var breaks = strings.NewReplacer(",\n", ", ", "\n", ", ")

// Postal checks an address that people are shown as it is, with commas or line breaks between its
// lines: one or several that say where, and one with a French postcode and a town, after which a
// country may follow; in another country, the name of that is the last one. The error is a
// [*Fault].
func Postal(address string) error {
	fault := func(hint string) error { return &Fault{errorpb.ErrorReason_FORMAT_INVALID, hint} }
	address = breaks.Replace(strings.TrimSuffix(address, "\n"))
	if faults := plain.Shown(address, maxPostal); len(faults) > 0 {
		return fault(faults[0].Error())
	}
	lines := strings.Split(address, ",")
	for i, line := range lines {
		if lines[i] = strings.TrimSpace(line); !strings.ContainsFunc(lines[i], isLetterOrDigit) {
			return fault("between two commas, or at an end, is nothing: write a street, a postcode and a town, such as 1 rue de l’Exemple, 35000 Rennes")
		}
	}
	last := len(lines) - 1
	switch {
	case last >= 1 && letters.MatchString(lines[0]) && town.MatchString(lines[last]):
		return nil
	case last >= 2 && country.MatchString(lines[last]) && (town.MatchString(lines[last-1]) || abroad.MatchString(lines[last-1])):
		return nil
	}
	return fault("write a street, then a postcode of five digits and its town, such as 1 rue de l’Exemple, 35000 Rennes, and at the end the country if it is another")
}

func isLetterOrDigit(r rune) bool { return r >= '0' && r <= '9' || letters.MatchString(string(r)) }
