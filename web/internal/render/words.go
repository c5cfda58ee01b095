package render

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/contact"
	"github.com/ma-messagerie/messagerie/chassis/localtime"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// Languages are those that pages exist in. The first is for whoever asks for none.
var Languages = []string{"fr", "en"}

// LanguageCookie has the language that was chosen on the site.
const LanguageCookie = "__Host-langue"

// SetLanguage has the site in a language for a year.
func SetLanguage(w http.ResponseWriter, lang string) {
	session.SetCookie(w, LanguageCookie, lang, 365*24*3600)
}

// LanguageOf is the language chosen on the site, else the browser's first that
// pages exist in.
func LanguageOf(r *http.Request) string {
	if cookie, err := r.Cookie(LanguageCookie); err == nil && (cookie.Value == "en" || cookie.Value == "fr") {
		return cookie.Value
	}
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		switch primary, _, _ := strings.Cut(strings.ToLower(tag), "-"); primary {
		case "fr":
			return "fr"
		case "en":
			return "en"
		}
	}
	return Languages[0]
}

// Paris is the time zone of dates that people read.
var Paris = localtime.Paris

var (
	frenchDays   = [...]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"}
	frenchMonths = [...]string{"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"}
)

// LongDay is a day as a letter gives it, in Paris: "lundi 23 novembre 2026".
func LongDay(t time.Time, lang string) string {
	t = t.In(Paris)
	if lang == "en" {
		return t.Format("Monday ") + Date(t, lang)
	}
	return frenchDays[t.Weekday()] + " " + Date(t, lang)
}

// Date is a day without its name, in Paris: "23 novembre 2026".
func Date(t time.Time, lang string) string {
	t = t.In(Paris)
	if lang == "en" {
		return t.Format("2 January 2006")
	}
	number := strconv.Itoa(t.Day())
	if t.Day() == 1 {
		number = "1er"
	}
	return fmt.Sprintf("%s"+noBreak+"%s %d", number, frenchMonths[t.Month()-1], t.Year())
}

// ShortDay is a day as a chart names it, in Paris: "23/11".
func ShortDay(t time.Time, lang string) string {
	if lang == "en" {
		return t.In(Paris).Format("2 Jan")
	}
	return t.In(Paris).Format("02/01")
}

// dayOf is a day given as YYYY-MM-DD in words; as it was given where it is none.
func dayOf(date, lang string, words func(time.Time, string) string) string {
	day, err := time.ParseInLocation(time.DateOnly, date, Paris)
	if err != nil {
		return date
	}
	return words(day, lang)
}

// clock is a time of day, in Paris, which no line breaks: "9 h 36", as mails have it. Where
// clocks show the hour twice, because summer time ends, it says which it is, as they do.
func clock(t time.Time, lang string) string {
	t = t.In(Paris)
	words := fmt.Sprintf("%d\u00a0h\u00a0%02d", t.Hour(), t.Minute())
	if lang == "en" {
		words = t.Format("15:04")
	}
	switch {
	case !localtime.Repeated(t):
		return words
	case lang == "en" && t.IsDST():
		return words + " (summer time)"
	case lang == "en":
		return words + " (winter time)"
	case t.IsDST():
		return words + " (heure d’été)"
	default:
		return words + " (heure d’hiver)"
	}
}

// Clock is a time of day in the language of the pages, in Paris.
func (p *Pages) Clock(t time.Time) string { return clock(t, p.Lang) }

// shownPhone is a telephone number as people write it, which no line breaks.
func shownPhone(number string) string {
	return strings.ReplaceAll(contact.ShownPhone(number), " ", noBreak)
}

// Moment is a short date with the time, in Paris.
func Moment(t time.Time, lang string) string {
	if lang == "en" {
		return t.In(Paris).Format("2 Jan 2006, ") + clock(t, lang)
	}
	return t.In(Paris).Format("02/01/2006 à ") + clock(t, lang)
}

func audienceLabel(a taxonomypb.Audience, lang string) string {
	labels := map[taxonomypb.Audience][2]string{
		taxonomypb.Audience_PARTICULIER: {"Particulier", "Individual"},
		taxonomypb.Audience_EXPLOITANT:  {"Exploitant", "Farmer"},
		taxonomypb.Audience_EMPLOYEUR:   {"Employeur", "Employer"},
	}
	if lang == "en" {
		return labels[a][1]
	}
	return labels[a][0]
}

// StatusLabel is a conversation's status in words, which agree with it.
func StatusLabel(s messagingpb.Status, lang string) string {
	labels := map[messagingpb.Status][2]string{
		messagingpb.Status_SENT:               {"Envoyée", "Sent"},
		messagingpb.Status_IN_PROGRESS:        {"En cours de traitement", "In progress"},
		messagingpb.Status_PARTLY_ANSWERED:    {"Première réponse donnée", "Partly answered"},
		messagingpb.Status_ANSWERED:           {"Réponse donnée", "Answered"},
		messagingpb.Status_WAITING_FOR_MEMBER: {"En attente de votre part", "Waiting for you"},
		messagingpb.Status_REOPENED:           {"Rouverte", "Reopened"},
		messagingpb.Status_CLOSED:             {"Close", "Closed"},
	}
	if lang == "en" {
		return labels[s][1]
	}
	return labels[s][0]
}

// hoursLabel puts a number of hours into days when it is long.
func hoursLabel(hours float64, lang string) string {
	text := fmt.Sprintf("%.1f"+noBreak+"h", hours)
	if hours >= 48 {
		text = fmt.Sprintf("%.1f"+noBreak+"%s", hours/24, map[string]string{"fr": "j", "en": "d"}[lang])
	}
	if lang == "fr" {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text
}

// Wait is how long something has waited: in minutes, from an hour on in hours, from two days
// on in days.
func Wait(d time.Duration, lang string) string {
	switch hours := int(d.Hours()); {
	case hours < 1:
		return fmt.Sprintf("%d"+noBreak+"min", max(int(d.Minutes()), 1))
	case hours < 48:
		return fmt.Sprintf("%d"+noBreak+"h", hours)
	default:
		return fmt.Sprintf("%d"+noBreak+"%s %d"+noBreak+"h", hours/24, map[string]string{"fr": "j", "en": "d"}[lang], hours%24)
	}
}

// Counted is a number of things in words, by the rule of the language: 0 is singular in
// French, plural in English.
func (p *Pages) Counted(n int, one, more, oneEnglish, moreEnglish string) string {
	if n == 1 || n == 0 && p.Lang != "en" {
		return p.Tr(one, oneEnglish, n)
	}
	return p.Tr(more, moreEnglish, n)
}

// Characters is a number of them in words.
func (p *Pages) Characters(n int) string {
	return p.Counted(n, "%d caractère", "%d caractères", "%d character", "%d characters")
}

// WorkingDays is a number of them in words; empty for none.
func (p *Pages) WorkingDays(n int32) string {
	if n == 0 {
		return ""
	}
	return p.Counted(int(n), "%d jour ouvré", "%d jours ouvrés", "%d working day", "%d working days")
}
