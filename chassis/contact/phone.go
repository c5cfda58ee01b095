package contact

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/nyaruka/phonenumbers"

	"github.com/ma-messagerie/messagerie/chassis/localtime"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// plans are the regions whose numbers are dialled with ten digits from 0 in France, whichever of
// them somebody is in: the six plans +33, +262 (Réunion, Mayotte), +508, +590, +594, +596.
var plans = []string{"FR", "GP", "MQ", "GF", "RE", "YT", "PM"}

// Number is a telephone number.
type Number struct {
	// E164 is the international form: +33612345678.
	E164 string
	// Region is the territory that it is of, by its ISO 3166-1 code: RE for +262692123456.
	Region string
	// Mobile is whether it can receive an SMS. In North America, where mobile and fixed numbers
	// look alike, every number may.
	Mobile bool

	parsed *phonenumbers.PhoneNumber
}

// Phone reads a number that can be called: of any French plan as it is dialled there, of any
// other country with + or 00 before the country's code. The error is a [*Fault].
//
// Numbers that the French regulator keeps for films and tests (ARCEP, decision 2018-0881) are
// numbers of metropolitan France: 06 39 98 00 00 to 99 99 are mobile ones.
func Phone(typed string) (Number, error) {
	dialled, ok := dialledOf(typed)
	if !ok {
		return Number{}, &Fault{errorpb.ErrorReason_PHONE_INVALID, "this is not a telephone number such as 06 12 34 56 78 or +33 6 12 34 56 78"}
	}
	for _, region := range plans {
		// A French number has the code of metropolitan France before it where people
		// add +33 to all that they know: each plan is asked.
		national := dialled
		if digits, french := strings.CutPrefix(dialled, "+33"); french {
			national = "0" + strings.TrimPrefix(digits, "0")
		}
		if strings.HasPrefix(national, "+") || region == "FR" && isFictional(national) {
			break
		}
		parsed, err := phonenumbers.Parse(national, region)
		if err == nil && phonenumbers.IsValidNumberForRegion(parsed, region) {
			return numberOf(parsed), nil
		}
	}
	parsed, err := phonenumbers.Parse(dialled, "FR")
	if err != nil || !phonenumbers.IsValidNumber(parsed) && !isFictional(phonenumbers.Format(parsed, phonenumbers.E164)) {
		return Number{}, &Fault{errorpb.ErrorReason_PHONE_INVALID, "this is not a telephone number such as 06 12 34 56 78, or +41 79 123 45 67 of another country"}
	}
	return numberOf(parsed), nil
}

// ShownPhone is a number as people write it, with ordinary spaces: one of a French plan as it is
// dialled there (06 12 34 56 78), any other with its country's code (+41 79 123 45 67). A text that
// is no number is shown as it is.
func ShownPhone(phone string) string {
	number, err := Phone(phone)
	if err != nil {
		return phone
	}
	shown := phonenumbers.Format(number.parsed, phonenumbers.INTERNATIONAL)
	// The table has some without the 0, as nobody dials them.
	if dialled := phonenumbers.Format(number.parsed, phonenumbers.NATIONAL); slices.Contains(plans, number.Region) && strings.HasPrefix(dialled, "0") {
		shown = dialled
	}
	if again, err := Phone(shown); err != nil || again.E164 != number.E164 {
		return number.E164 // a plan with signs that are not read
	}
	return shown
}

// Texted reads a number that an SMS can be sent to, of one of the countries.
func Texted(typed string, countries Countries) (Number, error) {
	number, err := Phone(typed)
	switch {
	case err != nil:
		return Number{}, err
	case !number.Mobile:
		return Number{}, &Fault{errorpb.ErrorReason_PHONE_NOT_MOBILE, "this number receives no SMS: a mobile number is wanted"}
	case !slices.Contains(countries, number.Region):
		return Number{}, &Fault{errorpb.ErrorReason_PHONE_COUNTRY_UNSUPPORTED, "no SMS is sent to numbers of this country: " + number.Region}
	}
	return number, nil
}

// dialledOf is what is dialled: digits, after a + where the country's code is said. It reports
// false for a text that is no number.
func dialledOf(typed string) (string, bool) {
	text := strings.TrimPrefix(visible(typed), "tel:")
	// "+33 (0)6 12 34 56 78": the zero is not dialled from abroad.
	text = strings.Replace(text, "(0)", "", 1)
	var dialled strings.Builder
	for i, r := range text {
		switch {
		case unicode.Is(unicode.Nd, r):
			fmt.Fprint(&dialled, digit(r))
		case r == '+' && dialled.Len() == 0 && i < len(text)-1:
			dialled.WriteByte('+')
		case r == ' ', r == '.', r == '/', r == '(', r == ')', r == '\u2212', unicode.Is(unicode.Pd, r), unicode.Is(unicode.Pc, r):
		default:
			return "", false
		}
	}
	number := dialled.String()
	if abroad, ok := strings.CutPrefix(number, "00"); ok {
		number = "+" + abroad
	}
	return number, len(number) > 4
}

// digit is the value of a decimal digit of any script: they come in tens, from zero.
func digit(r rune) int {
	zero := r
	for unicode.Is(unicode.Nd, zero-1) && r-zero < 9 {
		zero--
	}
	return int(r - zero)
}

// fictional are the ranges that no subscriber has, without the 0 and the last four digits.
var fictional = []string{"63998", "19900", "26191", "35301", "46571", "53649"}

func isFictional(number string) bool {
	digits, ok := strings.CutPrefix(number, "+33")
	if !ok {
		digits, ok = strings.CutPrefix(number, "0")
	}
	return ok && len(digits) == 9 && slices.Contains(fictional, digits[:5])
}

func numberOf(parsed *phonenumbers.PhoneNumber) Number {
	n := Number{E164: phonenumbers.Format(parsed, phonenumbers.E164), Region: phonenumbers.GetRegionCodeForNumber(parsed), parsed: parsed}
	kind := phonenumbers.GetNumberType(parsed)
	n.Mobile = kind == phonenumbers.MOBILE || kind == phonenumbers.FIXED_LINE_OR_MOBILE
	if isFictional(n.E164) {
		n.Region, n.Mobile = "FR", strings.HasPrefix(n.E164, "+336")
	}
	return n
}

// Zones are the time zones in which the number may be: one for each French one but those of
// Polynesia, several for a country that has more than one. Never none.
func (n Number) Zones() []*time.Location {
	var zones []*time.Location
	names, _ := phonenumbers.GetTimezonesForNumber(n.parsed)
	for _, name := range names {
		if zone, err := time.LoadLocation(name); err == nil && name != "Etc/Unknown" {
			zones = append(zones, zone)
		}
	}
	if len(zones) == 0 {
		return []*time.Location{localtime.Paris}
	}
	return zones
}
