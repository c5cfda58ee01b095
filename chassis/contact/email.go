package contact

import (
	"strings"

	"golang.org/x/net/idna"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

const (
	maxLocal = 64  // RFC 5321, 4.5.3.1.1
	maxEmail = 254 // RFC 5321, 4.5.3.1.3, less the brackets
)

// domains reads internationalised domain names, as browsers do, for the DNS.
var domains = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(true), idna.BidiRule(), idna.CheckHyphens(true), idna.CheckJoiners(true), idna.VerifyDNSLength(true))

// forTests are top-level domains that the DNS has not, and which are kept for tests and texts
// (RFC 6761): they are taken, and mail to them is not delivered.
var forTests = map[string]bool{"example": true, "test": true}

// Email returns a bare address, nom@exemple.fr, in the form in which it is sent to: its domain in
// lower case and A-labels (RFC 5890), what is before the @ as it was typed. The error is a [*Fault].
//
// An address is refused that has no dot in its domain, or a top-level domain that the public
// suffix list does not have: no mail ever reaches it. So is a quoted local part, and one that is
// not ASCII: providers do not take SMTPUTF8 (RFC 6531).
func Email(typed string) (string, error) {
	address := strings.TrimPrefix(visible(typed), "mailto:")
	at := strings.LastIndexByte(address, '@')
	if at < 1 || strings.ContainsAny(address, " ,;:<>()[]\\\"") {
		return "", &Fault{errorpb.ErrorReason_EMAIL_INVALID, "this is not an e-mail address such as nom@exemple.fr"}
	}
	local, domain := apostrophes.Replace(address[:at]), address[at+1:]
	for _, r := range local {
		if r >= 0x80 {
			return "", &Fault{errorpb.ErrorReason_EMAIL_NOT_ASCII, "before the @, an address that we can write to has letters without accents, digits and signs"}
		}
		if !strings.ContainsRune(localSigns, r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return "", &Fault{errorpb.ErrorReason_EMAIL_INVALID, "before the @ is a character that an e-mail address has not"}
		}
	}
	if len(local) > maxLocal || local[0] == '.' || strings.HasSuffix(local, ".") || strings.Contains(local, "..") {
		return "", &Fault{errorpb.ErrorReason_EMAIL_INVALID, "before the @ are at most 64 characters, without a dot at either end and without two dots together"}
	}
	ascii, ok := domainOf(domain)
	if !ok {
		return "", &Fault{errorpb.ErrorReason_EMAIL_INVALID, "after the @ is no domain such as exemple.fr"}
	}
	if !reachable(ascii) {
		return "", &Fault{errorpb.ErrorReason_EMAIL_UNREACHABLE, "no domain ends like this one: check what is after the last dot"}
	}
	if address = local + "@" + ascii; len(address) > maxEmail {
		return "", &Fault{errorpb.ErrorReason_EMAIL_INVALID, "an e-mail address has at most 254 characters"}
	}
	return address, nil
}

// localSigns are what a local part may have beside letters and digits: atext and the dot
// (RFC 5322, 3.2.3).
const localSigns = "!#$%&'*+-/=?^_`{|}~."

// apostrophes are what writing programs make of that of o'brien@exemple.fr.
var apostrophes = strings.NewReplacer("’", "'", "‘", "'", "ʼ", "'")

// Shown is an address as people write it: with the letters of its domain.
func Shown(email string) string {
	at := strings.LastIndexByte(email, '@')
	domain, err := idna.Display.ToUnicode(email[at+1:])
	if at < 0 || err != nil {
		return email
	}
	return email[:at+1] + domain
}

// WrittenEmail checks an address that people are shown as it is, and is sent to as it is: what
// [Email] takes, with nothing that it would take out. The error is a [*Fault].
func WrittenEmail(address string) error {
	canonical, err := Email(address)
	if err != nil {
		return err
	}
	at := strings.LastIndexByte(canonical, '@')
	if len(address) < at || address[:at] != canonical[:at] || !strings.EqualFold(address, canonical) && !strings.EqualFold(address, Shown(canonical)) {
		return &Fault{errorpb.ErrorReason_EMAIL_INVALID, "write the address alone, as nom@exemple.fr"}
	}
	return nil
}
