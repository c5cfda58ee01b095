// Package letter writes what members get: an e-mail or an SMS, in French or English, from
// the templates in its folder.
//
// What is promised: a notification has the reference, the date and the site's bare address, an
// acknowledgement and a closing also the service in charge, and nothing that the member or
// the agent wrote: notice has no place for it. An SMS is one part of GSM 7-bit without a link.
//
// How: text and pages are Go templates, parsed at the start, with golden files of each. What
// enters a subject or an SMS is checked beforehand.
//
// When it breaks: a reference or a template that does not fit is an error; nothing is sent.
package letter

import (
	"bytes"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"regexp"
	"strings"
	texttemplate "text/template"

	"github.com/ma-messagerie/messagerie/chassis/workday"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

//go:embed templates
var templateFiles embed.FS

// notice is all that a template can say. A name, a label of the selection or a
// word of what was written is not in it, so that no template can leak one.
type notice struct {
	Lang          string
	Reference     string
	Received      string // in full, for a mail
	ReceivedShort string // for an SMS
	Service       *taxonomypb.Queue
	Before        string // the day before which a reply is expected; empty without a target
	Site          string
}

// pages are the templates of one notification in one language.
type pages struct {
	text *texttemplate.Template // defines subject, text, sms
	html *htmltemplate.Template // defines layout
}

// occasion is what a notification is sent for.
type occasion struct {
	event   ledger.EventType
	closing bool
}

// library holds every notification by occasion and language.
var library = map[occasion]map[string]pages{
	{event: ledger.MessageSubmitted}:           {"fr": parse("acknowledgement", "fr"), "en": parse("acknowledgement", "en")},
	{event: ledger.ReplyPosted}:                {"fr": parse("reply", "fr"), "en": parse("reply", "en")},
	{event: ledger.ReplyPosted, closing: true}: {"fr": parse("closing", "fr"), "en": parse("closing", "en")},
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

// Composer renders notifications. It is safe for concurrent use.
type Composer struct {
	// Site is the bare address that members type in, "messagerie.example.org".
	Site string
}

func (c Composer) notice(d ledger.Delivery, to *messagingpb.Recipient) (pages, notice, error) {
	byLang, ok := library[occasion{d.EventType, d.Closing}]
	if !ok {
		return pages{}, notice{}, fmt.Errorf("rendering: no template for events of type %q (closing: %t)", d.EventType, d.Closing)
	}
	if !references.MatchString(to.GetReference()) {
		return pages{}, notice{}, fmt.Errorf("rendering: the reference is not 4 to 16 upper-case letters, digits or hyphens")
	}
	lang := "fr"
	if to.GetLocale() == "en" || strings.HasPrefix(to.GetLocale(), "en-") {
		lang = "en"
	}
	received, before := to.GetReceiveTime().AsTime(), ""
	if days := to.GetQueue().GetAnswerDays(); days > 0 {
		before = day(workday.Before(received, int(days)), lang)
	}
	return byLang[lang], notice{
		Lang: lang, Reference: to.GetReference(), Site: c.Site,
		Received: longDate(received, lang), ReceivedShort: shortDate(received, lang),
		Service: to.GetQueue(), Before: before,
	}, nil
}

// Mail renders the e-mail of a delivery.
func (c Composer) Mail(d ledger.Delivery, to *messagingpb.Recipient) (provider.Email, error) {
	p, n, err := c.notice(d, to)
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
	return provider.Email{To: to.GetEmail(), Subject: subject.String(), Text: spaced(text.String(), n.Lang), HTML: html.String()}, nil
}

// spaced has the spaces that no line of a French text breaks at. An SMS has no septets for them.
func spaced(text, lang string) string {
	if lang != "fr" {
		return text
	}
	return noBreaks.Replace(text)
}

var noBreaks = strings.NewReplacer(" :", "\u00a0:", " ;", "\u00a0;", " !", "\u00a0!", " ?", "\u00a0?", "« ", "«\u00a0", " »", "\u00a0»")

// Text renders the SMS of a delivery. What is not one part of GSM
// 7-bit is an error: no value that passes the checks can cause it.
func (c Composer) Text(d ledger.Delivery, to *messagingpb.Recipient) (provider.SMS, error) {
	p, n, err := c.notice(d, to)
	if err != nil {
		return provider.SMS{}, err
	}
	var body bytes.Buffer
	if err := p.text.ExecuteTemplate(&body, "sms", n); err != nil {
		return provider.SMS{}, fmt.Errorf("rendering the SMS: %w", err)
	}
	if size, ok := Septets(body.String()); !ok || size > OnePart {
		return provider.SMS{}, fmt.Errorf("rendering the SMS: %d septets (GSM 7-bit: %t), of at most %d", size, ok, OnePart)
	}
	return provider.SMS{To: to.GetPhone(), Body: body.String()}, nil
}
