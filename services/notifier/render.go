package notifier

import (
	"bytes"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"regexp"
	"strings"
	texttemplate "text/template"
	"time"
	_ "time/tzdata" // the container has no time zones of its own

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

//go:embed templates
var templateFiles embed.FS

// paris is the time zone of the body: of dates that members read, and of the
// hours at which they may be sent an SMS.
var paris = mustLocation("Europe/Paris")

func mustLocation(name string) *time.Location {
	location, err := time.LoadLocation(name)
	if err != nil {
		panic(err) // tzdata is linked in
	}
	return location
}

// notice is all that a template can say. A name, a label of the selection or a
// word of what was written is not in it, so that no template can leak one.
type notice struct {
	Lang          string
	Reference     string
	Received      string // in full, for a mail
	ReceivedShort string // for an SMS
	Service       *taxonomypb.Queue
	AnswerDays    int32
	Site          string
}

// pages are the templates of one notification in one language.
type pages struct {
	text *texttemplate.Template // defines subject, text, sms
	html *htmltemplate.Template // defines layout
}

// library holds every notification by event type and language.
var library = map[ledger.EventType]map[string]pages{
	ledger.MessageSubmitted: {"fr": parse("acknowledgement", "fr"), "en": parse("acknowledgement", "en")},
	ledger.ReplyPosted:      {"fr": parse("reply", "fr"), "en": parse("reply", "en")},
}

func parse(name, lang string) pages {
	files, err := fs.Sub(templateFiles, "templates")
	if err != nil {
		panic(err) // embedded
	}
	return pages{
		text: texttemplate.Must(texttemplate.New(name).Option("missingkey=error").
			ParseFS(files, "footer."+lang+".txt", name+"."+lang+".txt")),
		html: htmltemplate.Must(htmltemplate.New(name).Option("missingkey=error").
			ParseFS(files, "layout.html", "footer."+lang+".html", name+"."+lang+".html")),
	}
}

// references are the only value that enters a subject and an SMS: upper-case
// letters, digits and hyphens, so neither can be broken by one.
var references = regexp.MustCompile(`^[A-Z0-9-]{4,16}$`)

// composer renders notifications. It is safe for concurrent use.
type composer struct {
	// site is the bare address that members type in, "messagerie.example.org".
	site string
}

func (c composer) notice(event ledger.EventType, to *messagingpb.Recipient) (pages, notice, error) {
	byLang, ok := library[event]
	if !ok {
		return pages{}, notice{}, fmt.Errorf("rendering: no template for events of type %q", event)
	}
	if !references.MatchString(to.GetReference()) {
		return pages{}, notice{}, fmt.Errorf("rendering: the reference is not 4 to 16 upper-case letters, digits or hyphens")
	}
	lang := "fr"
	if to.GetLocale() == "en" || strings.HasPrefix(to.GetLocale(), "en-") {
		lang = "en"
	}
	received := to.GetReceiveTime().AsTime()
	return byLang[lang], notice{
		Lang: lang, Reference: to.GetReference(), Site: c.site,
		Received: longDate(received, lang), ReceivedShort: shortDate(received, lang),
		Service: to.GetQueue(), AnswerDays: to.GetQueue().GetAnswerDays(),
	}, nil
}

// mail renders the e-mail that announces an event.
func (c composer) mail(event ledger.EventType, to *messagingpb.Recipient) (provider.Email, error) {
	p, n, err := c.notice(event, to)
	if err != nil {
		return provider.Email{}, err
	}
	var subject, text, html bytes.Buffer
	if err := p.text.ExecuteTemplate(&subject, "subject", n); err != nil {
		return provider.Email{}, fmt.Errorf("rendering the subject: %w", err)
	}
	if err := p.text.ExecuteTemplate(&text, "text", n); err != nil {
		return provider.Email{}, fmt.Errorf("rendering the text: %w", err)
	}
	if err := p.html.ExecuteTemplate(&html, "layout", n); err != nil {
		return provider.Email{}, fmt.Errorf("rendering the page: %w", err)
	}
	return provider.Email{To: to.GetEmail(), Subject: subject.String(), Text: text.String(), HTML: html.String()}, nil
}

// text renders the SMS that announces an event. What is not one part of GSM
// 7-bit is an error: no value that passes the checks can cause it.
func (c composer) text(event ledger.EventType, to *messagingpb.Recipient) (provider.SMS, error) {
	p, n, err := c.notice(event, to)
	if err != nil {
		return provider.SMS{}, err
	}
	var body bytes.Buffer
	if err := p.text.ExecuteTemplate(&body, "sms", n); err != nil {
		return provider.SMS{}, fmt.Errorf("rendering the SMS: %w", err)
	}
	if size, ok := septets(body.String()); !ok || size > onePart {
		return provider.SMS{}, fmt.Errorf("rendering the SMS: %d septets (GSM 7-bit: %t), of at most %d", size, ok, onePart)
	}
	return provider.SMS{To: to.GetPhone(), Body: body.String()}, nil
}

var (
	frenchDays   = [...]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"}
	frenchMonths = [...]string{"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"}
)

// longDate is a moment as a letter gives it, in Paris:
// "lundi 23 novembre 2026 à 14 h 05", whose hour no line breaks.
func longDate(t time.Time, lang string) string {
	t = t.In(paris)
	if lang == "en" {
		return t.Format("Monday 2 January 2006 at 15:04") + " (Paris\u00a0time)"
	}
	day := fmt.Sprint(t.Day())
	if t.Day() == 1 {
		day = "1er"
	}
	return fmt.Sprintf("%s %s %s %d à\u00a0%d\u00a0h\u00a0%02d", frenchDays[t.Weekday()], day, frenchMonths[t.Month()-1], t.Year(), t.Hour(), t.Minute())
}

// shortDate is a moment in few septets, in Paris.
func shortDate(t time.Time, lang string) string {
	t = t.In(paris)
	if lang == "en" {
		return t.Format("2 Jan 2006 at 15:04")
	}
	return t.Format("02/01/2006 à 15h04")
}
