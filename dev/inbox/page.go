package inbox

import (
	_ "embed"
	"html/template"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/ma-messagerie/messagerie/chassis/localtime"
)

//go:embed page.html
var pageSource string

//go:embed inbox.css
var stylesheet []byte

//go:embed inbox.js
var scriptSource []byte

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock": clock,
	"keys":  func(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) },
	"parts": smsParts,
	"chars": func(s string) int { return len([]rune(s)) },
}).Parse(pageSource))

// paris is where the readers of these messages are.
var paris = localtime.Paris

// clock is a time in Paris, with the zone's name in the hour that clocks show twice.
func clock(t time.Time) string {
	t = t.In(paris)
	if localtime.Repeated(t) {
		return t.Format("02/01 15:04:05 MST")
	}
	return t.Format("02/01 15:04:05")
}

type pageData struct {
	Messages []Message // newest first
	Chosen   *Message
	Count    int
}

// page shows the list and one message, the newest unless another is asked for.
func (in *Inbox) page(w http.ResponseWriter, r *http.Request) {
	messages := in.Messages()
	slices.Reverse(messages)
	data := pageData{Messages: messages, Count: len(messages)}
	id := r.PathValue("id")
	for i := range messages {
		if messages[i].ID == id || id == "" && i == 0 {
			data.Chosen = &messages[i]
			break
		}
	}
	if id != "" && data.Chosen == nil {
		http.Error(w, "ce message n’existe pas ou plus", http.StatusNotFound)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; frame-src 'self'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'")
	header.Set("Cache-Control", "no-store")
	if err := pageTemplate.Execute(w, data); err != nil {
		slog.WarnContext(r.Context(), "writing the inbox page", "error", err)
	}
}

// mailBody is a mail's HTML on a page of its own, for the frame: no script, no
// form, nothing loaded, whatever the mail says.
func (in *Inbox) mailBody(w http.ResponseWriter, r *http.Request) {
	for _, m := range in.Messages() {
		if m.ID == r.PathValue("id") && m.HTML != "" {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; form-action 'none'; base-uri 'none'")
			w.Header().Set("Cache-Control", "no-store")
			_, _ = w.Write([]byte(m.HTML)) // the reader has gone away
			return
		}
	}
	http.NotFound(w, r)
}

func (in *Inbox) style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(stylesheet) // the reader has gone away
}

func (in *Inbox) script(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = w.Write(scriptSource) // the reader has gone away
}

// gsm7 and gsm7Extended are the characters of an SMS in the 7-bit alphabet (3GPP
// TS 23.038, 6.2.1); the extended ones take two places.
const (
	gsm7         = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsm7Extended = "^{}\\[~]|€"
)

// smsParts is how many parts an SMS is charged for: 160 places of 7 bits in one
// part, 153 in each of several; 70 and 67 when a character needs 16 bits.
func smsParts(body string) int {
	places := 0
	for _, r := range body {
		switch {
		case strings.ContainsRune(gsm7, r):
			places++
		case strings.ContainsRune(gsm7Extended, r):
			places += 2
		default:
			return partsOf(len(utf16.Encode([]rune(body))), 70, 67)
		}
	}
	return partsOf(places, 160, 153)
}

func partsOf(places, alone, joined int) int {
	if places <= alone {
		return 1
	}
	return (places + joined - 1) / joined
}
