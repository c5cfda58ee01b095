package contact

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// Countries are those to whose numbers SMS are sent, by their ISO 3166-1 codes. As a setting they
// have commas between them: FR,GP,MQ. A territory that shares its numbers with another, such as
// Saint-Martin (MF) with Guadeloupe, counts as that.
type Countries []string

// France is what is texted where nothing is set: France and its territories.
var France = Countries{"FR", "GP", "MQ", "GF", "RE", "YT", "PM", "BL", "MF", "NC", "PF", "WF"}

// UnmarshalText reads the setting. Nothing sends no SMS to anybody, which is said in another way.
func (c *Countries) UnmarshalText(text []byte) error {
	var list Countries
	known := phonenumbers.GetSupportedRegions()
	for code := range strings.SplitSeq(string(text), ",") {
		code = strings.ToUpper(strings.TrimSpace(code))
		if !known[code] {
			return fmt.Errorf("%q is not the code of a country in ISO 3166-1, such as FR", code)
		}
		if slices.Contains(list, code) {
			return fmt.Errorf("%s is named twice", code)
		}
		list = append(list, code)
	}
	*c = list
	return nil
}

// String is the form that is read.
func (c Countries) String() string { return strings.Join(c, ",") }
