package contact

import (
	"regexp"
	"strings"

	"github.com/nyaruka/phonenumbers"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// written is how a number is published: digits in groups.
var written = regexp.MustCompile(`^(?:[0-9]+|\+[0-9]+(?:[ \x{00a0}\x{202f}]?\(0\))?)(?:[ \x{00a0}\x{202f}./-]?[0-9]+)*$`)

// sixDigits are services that are the same in Europe (116) or for directories (118). The metadata has
// only some.
var sixDigits = regexp.MustCompile(`^11[68][0-9]{3}$`)

// Published checks a number by which a service can be reached, and which people are shown as it is
// written: whatever [Phone] takes, fixed and special numbers included, and the short ones that
// are dialled in France alone, such as 3646. The error is a [*Fault].
func Published(number string) error {
	bad := &Fault{errorpb.ErrorReason_PHONE_INVALID, "write a number that can be called, such as 01 99 00 10 01, +41 22 555 00 00 or 3646"}
	if !written.MatchString(number) {
		return bad
	}
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, number)
	// Those of four digits or six; the shorter ones are of emergency services.
	if len(digits) == 4 || len(digits) == 6 {
		parsed, err := phonenumbers.Parse(digits, "FR")
		if strings.HasPrefix(number, "+") || err != nil || !sixDigits.MatchString(digits) && !phonenumbers.IsValidShortNumberForRegion(parsed, "FR") {
			return bad
		}
		return nil
	}
	if _, err := Phone(number); err != nil {
		return bad
	}
	return nil
}
