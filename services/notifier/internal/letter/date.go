package letter

import (
	"fmt"
	"time"
)

// Paris is the fund's time zone: of dates that members read, and of the
// hours at which they may be sent an SMS.
var Paris = mustLocation("Europe/Paris")

func mustLocation(name string) *time.Location {
	location, err := time.LoadLocation(name)
	if err != nil {
		panic(err) // tzdata is linked in
	}
	return location
}

var (
	frenchDays   = [...]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"}
	frenchMonths = [...]string{"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"}
)

// longDate is a moment as a letter gives it, in Paris:
// "lundi 23 novembre 2026 à 14 h 05", whose hour no line breaks.
func longDate(t time.Time, lang string) string {
	t = t.In(Paris)
	if lang == "en" {
		return day(t, lang) + t.Format(" 2006 at 15:04") + " (Paris\u00a0time)"
	}
	return fmt.Sprintf("%s %d à\u00a0%d\u00a0h\u00a0%02d", day(t, lang), t.Year(), t.Hour(), t.Minute())
}

// day is a day of the coming weeks, in Paris: "mardi 1er décembre".
func day(t time.Time, lang string) string {
	t = t.In(Paris)
	if lang == "en" {
		return t.Format("Monday 2 January")
	}
	number := fmt.Sprint(t.Day())
	if t.Day() == 1 {
		number = "1er"
	}
	return fmt.Sprintf("%s %s %s", frenchDays[t.Weekday()], number, frenchMonths[t.Month()-1])
}

// shortDate is a moment in few septets, in Paris.
func shortDate(t time.Time, lang string) string {
	t = t.In(Paris)
	if lang == "en" {
		return t.Format("2 Jan 2006 at 15:04")
	}
	return t.Format("02/01/2006 à 15h04")
}
