// Package kept keeps what somebody has typed and sent, and what could not be taken: on the
// page that says why, or through a sign-in.
//
// # What is promised
//
// Every field that people type into is named in this package (a test compares it with the
// pages). Whatever refuses a form with one, the form is shown again with what was typed, to be
// sent as it was. Where the session has ended, its cookies carry the form through the
// sign-in, sealed (package session), and hand it back to whoever had typed it and to nobody
// else: each form says who its page was made for, sealed too.
//
// # When it breaks
//
// Cookies hold [bytesMost] of a sealed form; a message of 750 characters of four bytes fits,
// and a reply of 5000 in French. A longer one, or one of a page from before forms said whose they are, is shown on a page that asks
// to sign in in another tab: whoever leaves that page has lost it. So has who closes the
// browser, or comes back after an hour.
package kept

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// The names of fields: whom a form's page was made for, that it was handed back, and the language
// that it was sent to change, and for nothing else.
const (
	Author   = "auteur"
	Again    = "repris"
	Language = "vers"
)

// typed are the names of the fields that people type into, but for choices and dates.
var typed = []string{"autre", "email", "note", "q", "telephone", "texte", "titre"}

// isTyped reports whether people type into a field. A conversation is named by them where they
// look into the audit, and by the page elsewhere.
func isTyped(action, name string) bool {
	return slices.Contains(typed, name) || name == "conversation" && action == "/agent/audit"
}

// Form is a form as it was sent.
type Form struct {
	// Action is where it was sent to, a path of this site.
	Action string `json:"a"`
	// Typed are the fields that something was typed into, Fields all others.
	Typed  []Field `json:"t"`
	Fields []Field `json:"f,omitempty"`
	// Author is whom the page was made for, as Sign has it; empty if it did not say.
	Author string `json:"u,omitempty"`
}

// Field is one value of a form.
type Field struct {
	Name  string `json:"n"`
	Value string `json:"v"`
}

// Of is what is worth keeping of a request: a form that a person has typed something into. The
// form must have been read. What a page's script sends stays on the page anyway.
func Of(r *http.Request) (form Form, ok bool) {
	action := session.OwnPath(r.URL.EscapedPath())
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" || action == "" {
		return Form{}, false
	}
	form = Form{Action: action, Author: r.PostForm.Get(Author)}
	for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
		value := r.PostForm.Get(name)
		switch {
		case isTyped(form.Action, name) && value != "":
			form.Typed = append(form.Typed, Field{name, value})
		case name != "traceparent" && name != Author && name != Again && name != Language:
			form.Fields = append(form.Fields, Field{name, value})
		}
	}
	if r.PostForm.Has(Language) {
		form.press()
	}
	return form, len(form.Typed) > 0
}

// sending are the last parts of the addresses of forms that somebody else gets.
var sending = []string{"clore", "confier", "envoyer", "noter", "repondre", "reprendre", "suite", "transfert"}

// press adds what the button has that the form is to be sent with: it was sent by another one.
func (f *Form) press() {
	if path.Base(f.Action) == "repondre" && !slices.ContainsFunc(f.Fields, func(field Field) bool { return field.Name == "faire" }) {
		f.Fields = append(f.Fields, Field{"faire", "envoyer"})
	}
}

// Sends reports whether somebody else gets the form when it is taken.
func (f *Form) Sends() bool { return slices.Contains(sending, path.Base(f.Action)) }

// Agents reports whether the form is one of the console's.
func (f *Form) Agents() bool { return strings.HasPrefix(f.Action, "/agent/") }

// Sign returns the value of the field Author for the pages of a session; empty in a session
// from before sessions said whose they are.
func Sign(s *session.Sealer, held *session.Session) string {
	if held == nil || held.Subject == "" {
		return ""
	}
	sealed, err := s.Seal(Author, account(held))
	if err != nil {
		return ""
	}
	return sealed
}

func account(held *session.Session) string { return string(held.Realm) + ":" + held.Subject }

// Foreign reports whether a form is from a page that was made for somebody else.
func Foreign(s *session.Sealer, form url.Values, held *session.Session) bool {
	var author string
	return held.Subject != "" && s.Open(Author, form.Get(Author), &author) && author != account(held)
}

const (
	cookie = "__Host-typed"
	// cookieBytes is how much of a sealed form goes into one cookie, as for sessions.
	cookieBytes = 3800
	// cookiesMost bounds how many cookies a form takes: with those of the largest session
	// they must fit into a request's head.
	cookiesMost = 2
	// bytesMost is how long a sealed form may be.
	bytesMost = cookieBytes * cookiesMost
	// keptSeconds is how long a sign-in may take.
	keptSeconds = 3600
)

// Carry puts a form into cookies, to be handed back after the sign-in. It reports false for
// one that does not fit, or that does not say whose it is.
func Carry(s *session.Sealer, w http.ResponseWriter, r *http.Request, form Form) bool {
	var author string
	if !s.Open(Author, form.Author, &author) {
		return false
	}
	if other, ok := Carried(s, r); ok && !slices.Equal(other.Typed, form.Typed) && s.Open(Author, other.Author, new(string)) {
		return false // another tab's, which was told that it is handed back
	}
	sealed, err := s.Seal(cookie, form.packed())
	if err != nil || len(sealed) > bytesMost {
		return false
	}
	for i := range cookiesMost {
		part := sealed[:min(len(sealed), cookieBytes)]
		sealed = sealed[len(part):]
		age := keptSeconds
		if part == "" {
			age = -1
		}
		session.SetCookie(w, cookieName(i), part, age)
	}
	return true
}

// Carried is the form in a request's cookies.
func Carried(s *session.Sealer, r *http.Request) (form Form, ok bool) {
	var sealed strings.Builder
	for i := range cookiesMost {
		part, err := r.Cookie(cookieName(i))
		if err != nil {
			break
		}
		sealed.WriteString(part.Value)
	}
	var packed []byte
	return form, sealed.Len() > 0 && s.Open(cookie, sealed.String(), &packed) && form.unpack(packed)
}

// packed is the form in few bytes: a proxy may take no more than 4 KiB of an answer's head, and
// all that people write comes to less than half.
func (f *Form) packed() []byte {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestCompression)
	_ = json.NewEncoder(w).Encode(f) // into memory
	_ = w.Close()
	return out.Bytes()
}

// unpackedMost is more than what any form has that was packed here: this program's own key has
// sealed it.
const unpackedMost = 1 << 20

func (f *Form) unpack(packed []byte) bool {
	return json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), unpackedMost)).Decode(f) == nil
}

// By reports whether it is the session's own person who has sent the form.
func (f *Form) By(s *session.Sealer, held *session.Session) bool {
	var author string
	return held.Subject != "" && s.Open(Author, f.Author, &author) && author == account(held)
}

// Drop takes the cookies of a form away.
func Drop(w http.ResponseWriter) {
	for i := range cookiesMost {
		session.SetCookie(w, cookieName(i), "", -1)
	}
}

func cookieName(i int) string {
	if i == 0 {
		return cookie
	}
	return cookie + "." + strconv.Itoa(i)
}
