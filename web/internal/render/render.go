// Package render makes pages: the templates in both languages around the data of one
// request, the words and dates in them, and the files that they load.
//
// # What is promised
//
// A page is made in full before any of it is sent, so that a fault in a template is a
// page about a fault and never half a page. Each text is written next to its translation, so
// that neither is forgotten. What is put into a page is escaped for its place
// (html/template): nothing that a member or an agent has written is markup.
//
// # When it breaks
//
// Templates name the fields of the data they are given, which no compiler checks: a test
// has to show each page once.
package render

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/contact"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/link"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

//go:embed templates/*.html
var templateFiles embed.FS

// View is what the layout shows around a page.
type View struct {
	Lang, Path string
	// Body is the page's own data.
	Body    any
	Session *session.Session
	// Author says in forms whom the page was made for: see package kept.
	Author string
	// Name is the fund that answers, Publisher who runs the site.
	Name, Publisher string
	// Statement is what is declared about the site's accessibility.
	Statement Statement
	// Unread is how many replies wait to be read; -1 if the page has not asked for it: the
	// stream of hints that it opens brings the number.
	Unread int32
	// SecondsLeft is how long the session goes on without another page.
	SecondsLeft int
	// Unsaved is whether what is in the page's fields may be in no draft.
	Unsaved bool
	// Faults are what is to be corrected; the title then says so.
	Faults []Fault
	// Flash is what was just done.
	Flash string
	// Waits is whether something that was typed before the sign-in is not sent yet.
	Waits bool
	// Removed says that something was taken out of what was typed.
	Removed string
	// Shortcuts are whether the console's single keys are on.
	Shortcuts bool
	// Finding is whether the page is the agents' search, which the others have in their head.
	Finding bool
	// Searched are the words of a search that the page's address has.
	Searched string
	// tag is the name of the page's template.
	tag string
	// Trace is the beginning of the trace's id, or empty.
	Trace string
}

// Fault is one thing to correct, with the id of the field it is in.
type Fault struct{ Field, Text string }

// Pages are all pages in one language.
type Pages struct {
	// Lang is the language, as in the lang attribute.
	Lang  string
	byTag map[string]*template.Template
}

// NewPages reads the templates, for each language.
func NewPages(a *Assets, own link.Sites) (map[string]*Pages, error) {
	all := make(map[string]*Pages)
	for _, lang := range Languages {
		p := &Pages{Lang: lang, byTag: make(map[string]*template.Template)}
		base, err := template.New("").Funcs(p.funcs(a, own)).Option("missingkey=error").ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
		if err != nil {
			return nil, fmt.Errorf("reading templates: %w", err)
		}
		names, err := fs.Glob(templateFiles, "templates/*.html")
		if err != nil {
			return nil, fmt.Errorf("listing templates: %w", err)
		}
		for _, name := range names {
			tag := strings.TrimSuffix(path.Base(name), ".html")
			if tag == "layout" || tag == "parts" {
				continue
			}
			own, err := base.Clone()
			if err != nil {
				return nil, fmt.Errorf("reading template %s: %w", tag, err)
			}
			if p.byTag[tag], err = own.ParseFS(templateFiles, name); err != nil {
				return nil, fmt.Errorf("reading template %s: %w", tag, err)
			}
		}
		all[lang] = p
	}
	return all, nil
}

// funcs are what templates can call. tr has both languages side by side, so that
// neither is forgotten.
func (p *Pages) funcs(a *Assets, own link.Sites) template.FuncMap {
	return template.FuncMap{
		"tr":         p.tr,
		"asset":      a.url,
		"themed":     func() bool { return a.url("theme.css") != "" },
		"day":        func(t *timestamppb.Timestamp) string { return LongDay(t.AsTime(), p.Lang) },
		"date":       func(t *timestamppb.Timestamp) string { return Date(t.AsTime(), p.Lang) },
		"shown":      contact.Shown,
		"phone":      shownPhone,
		"moment":     func(t *timestamppb.Timestamp) string { return Moment(t.AsTime(), p.Lang) },
		"iso":        func(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.RFC3339) },
		"audience":   func(a taxonomypb.Audience) string { return audienceLabel(a, p.Lang) },
		"status":     func(s messagingpb.Status) string { return StatusLabel(s, p.Lang) },
		"longday":    func(date string) string { return dayOf(date, p.Lang, LongDay) },
		"shortday":   func(date string) string { return dayOf(date, p.Lang, ShortDay) },
		"hours":      func(hours float64) string { return hoursLabel(hours, p.Lang) },
		"join":       strings.Join,
		"percent":    p.percent,
		"characters": func(n int32) string { return p.Characters(int(n)) },
		"fr":         p.french,
		"name":       Name,
		"label":      p.Label,
		"writer":     p.writer,
		"pieces":     own.Divide,
		"waits":      func(t *timestamppb.Timestamp) string { return Wait(time.Since(t.AsTime()), p.Lang) },
		"dict":       dict,
		"other":      func() string { return map[string]string{"fr": "en", "en": "fr"}[p.Lang] },
	}
}

// Tr picks the text in the page's language and fills in its verbs. French gets its spaces
// here (see spaced), but not what is filled in.
func (p *Pages) Tr(french, english string, args ...any) string {
	text := english
	if p.Lang != "en" {
		text = spaced(french)
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// dict hands several values to a template.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict: a name without a value")
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, errors.New("dict: a name that is no string")
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// Write makes the page of a template's name and sends it. When it returns an error,
// nothing was sent.
func (p *Pages) Write(w http.ResponseWriter, r *http.Request, code int, tag string, view View) error {
	view.Lang, view.tag = p.Lang, tag
	var out bytes.Buffer
	if err := p.byTag[tag].ExecuteTemplate(&out, "layout", view); err != nil {
		return fmt.Errorf("rendering page %s: %w", tag, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", p.Lang)
	w.Header().Add("Vary", "Accept-Language, Cookie")
	compressed(w, r, code, out.Bytes())
	return nil
}

// compressed sends a page, compressed where the browser takes that. A page compressed
// together with what an attacker has put into its address can be guessed at by its
// length (BREACH); that takes many requests with the victim's cookie, which browsers do
// not send along with another site's (SameSite=Lax).
func compressed(w http.ResponseWriter, r *http.Request, code int, page []byte) {
	w.Header().Add("Vary", "Accept-Encoding")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(code)
		_, _ = w.Write(page) // the reader may have gone away
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(code)
	zip, ok := zippers.Get().(*gzip.Writer)
	if !ok {
		zip = gzip.NewWriter(nil)
	}
	defer zippers.Put(zip)
	zip.Reset(w)
	_, _ = zip.Write(page) // as above
	_ = zip.Close()
}

// zippers are kept: each holds some hundred kilobytes.
var zippers sync.Pool

// TooMany writes the page for a request that came too soon, which costs less than others.
func TooMany(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Type", "text/html; charset=utf-8")
	lang := LanguageOf(r)
	text := map[string][3]string{
		"fr": {"Trop de demandes en peu de temps", "Attendez quelques secondes, puis rechargez cette page.", "Le navigateur enverra à nouveau ce que vous aviez saisi."},
		"en": {"Too many requests in a short time", "Wait a few seconds, then reload this page.", "The browser will send again what you had entered."},
	}[lang]
	if r.Method != http.MethodPost {
		text[2] = ""
	}
	header.Set("Content-Language", lang)
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = w.Write([]byte(strings.NewReplacer("LANG", lang, "TITLE", text[0], "TEXT", strings.TrimSpace(text[1]+" "+text[2])).Replace( //nolint:gosec // words of ours
		`<!DOCTYPE html><html lang="LANG"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>TITLE</title><h1>TITLE</h1><p>TEXT</p></html>`)))
}
