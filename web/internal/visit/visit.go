// Package visit is one request of one person: who they are, what they may open, and the page
// that answers them. What a page asks and says is its own, for members (package member), for
// agents (package console) and for everybody (package web).
//
// # What is promised
//
// A handler that is registered by [Site.Member] or [Site.Agent] runs for somebody who is signed
// in on that side, and whose token is in the visit's context; whoever is not is led to the
// sign-in and back to where they were. A form from a page that was made for somebody else runs
// nothing.
//
// A handler answers, or returns an error. Every error becomes a page that says in plain words
// what can be done about it (package refusal), and has what was typed, to be sent again (package
// kept). A fault of ours is logged with its cause, and shown without it.
//
// # When it breaks
//
// A handler that writes a part of its answer and then returns an error has the page about the
// error appended.
package visit

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/web/internal/click"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// unknown is the number of unread replies of a page that has not asked for it.
const unknown = -1

// Visit is one request of one person.
type Visit struct {
	*Site
	W http.ResponseWriter
	// R has its form read.
	R *http.Request
	// Session is nil when nobody is signed in.
	Session *session.Session
	// Pages are those of the person's language.
	Pages *render.Pages
	// Unread is how many replies wait to be read; -1 on a page that has not asked for it.
	Unread int32
	// Ctx carries the person's token to the gateway.
	Ctx context.Context //nolint:containedctx // a visit lasts as long as its request
	// At is the address of the page that answers a form, to open it again, where that is not the
	// one that here says.
	At string
	// removed is how many characters were taken out of what was typed, flash what was done.
	removed int
	flash   string
}

// begin begins the visit of whoever is signed in.
func (s *Site) begin(w http.ResponseWriter, r *http.Request) *Visit {
	v := s.anonymous(w, r)
	if v.Session = s.Sessions.Read(w, r); v.Session != nil {
		v.Ctx = metadata.AppendToOutgoingContext(v.Ctx, "authorization", "Bearer "+v.Session.Access)
	}
	return v
}

// anonymous begins a visit without asking who it is.
func (s *Site) anonymous(w http.ResponseWriter, r *http.Request) *Visit {
	return &Visit{Site: s, W: w, R: r, Unread: unknown, Pages: s.ByLanguage[render.LanguageOf(r)], Ctx: r.Context()}
}

// Tr is a text in the person's language.
func (v *Visit) Tr(french, english string, args ...any) string {
	return v.Pages.Tr(french, english, args...)
}

// here returns the visit's address, to come back to. For a request that cannot be repeated by
// GET it is that of the page it came from; for a draft, the recap, which leads on to the first
// missing step.
func (v *Visit) here() string {
	if v.R.Method == http.MethodGet {
		return v.R.URL.RequestURI()
	}
	dir := path.Dir(v.R.URL.Path)
	switch path.Dir(dir) {
	case "/messagerie/brouillons":
		return path.Join(dir, writing.Recap)
	case "/agent/modeles":
		return "/agent/modeles"
	}
	switch v.R.URL.Path {
	case desk.Find, desk.Audit, "/agent/modeles", "/preferences": // these are pages too
		return v.R.URL.Path
	}
	if path.Base(v.R.URL.Path) == "motifs" { // and these
		return v.R.URL.Path
	}
	return dir
}

// Redirect leads to another page by GET, so that a reload repeats nothing: a path of this site
// (see session.OwnPath), or a service of the taxonomy.
func (v *Visit) Redirect(to string) error {
	if said := v.saidRemoved(); said != "" && v.Navigates() {
		v.Flash(strings.TrimSpace(v.flash + " " + said))
	}
	http.Redirect(v.W, v.R, to, http.StatusSeeOther)
	return nil
}

func (v *Visit) signIn(who session.Realm) error {
	return v.lead("/connexion?" + url.Values{"pour": {string(who)}, "retour": {v.here()}}.Encode())
}

// lead redirects to the page that has to come first. A stream of events cannot be redirected
// to a page: it is refused with 401.
func (v *Visit) lead(to string) error {
	if v.R.Header.Get("Accept") == "text/event-stream" {
		v.W.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	return v.Redirect(to)
}

// Show renders a page: the template of the tag around a body, with what is to be corrected.
func (v *Visit) Show(code int, tag string, body any, faults ...render.Fault) error {
	data := render.View{
		Path: v.R.URL.RequestURI(), Body: body, Session: v.Session, Name: v.FundName, Publisher: v.Publisher, Statement: v.Statement,
		Author: kept.Sign(v.Seal, v.Session), Unread: v.Unread, Faults: faults, Trace: click.Short(v.R), Searched: v.searched(), Finding: tag == "find", Shortcuts: desk.Shortcuts(v.R),
		Unsaved: v.R.Method == http.MethodPost && code != http.StatusConflict,
	}
	if v.Session != nil {
		data.SecondsLeft = int(v.Session.Left(time.Now()).Seconds())
	}
	if v.R.Method != http.MethodGet {
		data.Path = cmp.Or(v.At, v.here())
	}
	data.Waits = tag != "kept" && v.waits()
	data.Flash, data.Removed = v.takeFlash(), v.saidRemoved()
	return v.Pages.Write(v.W, v.R, code, tag, data)
}

// Navigates reports whether a person comes to the page, and no script reads it behind them.
func (v *Visit) Navigates() bool {
	mode := v.R.Header.Get("Sec-Fetch-Mode")
	return mode == "" || mode == "navigate"
}

const flashCookie = "__Host-note"

// Flash shows on the next page what was done. Its texts are this program's own.
func (v *Visit) Flash(text string) {
	v.flash = text
	session.SetCookie(v.W, flashCookie, url.QueryEscape(text), 60)
}

// takeFlash returns what was just done, once. Only a page that a person navigates to takes it:
// the live script may read a page at the same moment.
func (v *Visit) takeFlash() string {
	if !v.Navigates() {
		return ""
	}
	cookie, err := v.R.Cookie(flashCookie)
	if err != nil || cookie.Value == "" {
		return ""
	}
	session.SetCookie(v.W, flashCookie, "", -1)
	text, err := url.QueryUnescape(cookie.Value)
	if err != nil || len(text) > 300 {
		return ""
	}
	return text
}
