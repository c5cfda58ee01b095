package letter

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/localtime"
)

// Paris is the fund's time zone: of dates that members read, and of a number that is of none.
var Paris = localtime.Paris

var (
	frenchDays   = [...]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"}
	frenchMonths = [...]string{"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"}
)

// longDate is a moment as a letter gives it, in Paris:
// "lundi 23 novembre 2026 à 14 h 05", whose hour no line breaks. Where clocks show the hour
// twice, it says which it is.
func longDate(t time.Time, lang string) string {
	t = t.In(Paris)
	if lang == "en" {
		return day(t, lang) + t.Format(" 2006 at 15:04") + " (Paris\u00a0" + cmp.Or(season(t, lang), "time") + ")"
	}
	date := fmt.Sprintf("%s %d à\u00a0%d\u00a0h\u00a0%02d", day(t, lang), t.Year(), t.Hour(), t.Minute())
	if which := season(t, lang); which != "" {
		date += " (" + which + ")"
	}
	return date
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

// shortDate is a moment in few septets of GSM 7-bit, in Paris: "23/11/2026 à 14h05". It says
// which hour it is as longDate does.
func shortDate(t time.Time, lang string) string {
	t = t.In(Paris)
	date := t.Format("02/01/2006 à 15h04")
	if lang == "en" {
		date = t.Format("2 Jan 2006 at 15:04")
	}
	if which := season(t, lang); which != "" {
		date += " (" + strings.ReplaceAll(which, "’", "'") + ")"
	}
	return date
}

// season tells the two hours apart that clocks in Paris show alike when summer time ends. It is
// empty at any other time.
func season(t time.Time, lang string) string {
	t = t.In(Paris)
	switch {
	case !localtime.Repeated(t):
		return ""
	case lang == "en" && t.IsDST():
		return "summer time"
	case lang == "en":
		return "winter time"
	case t.IsDST():
		return "heure d’été"
	default:
		return "heure d’hiver"
	}
}
