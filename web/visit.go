package web

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/web/internal/click"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// unknown is the number of unread replies of a page that has not asked for it.
const unknown = -1

// visit is one request of one person.
type visit struct {
	*site
	w       http.ResponseWriter
	r       *http.Request
	session *session.Session
	pages   *render.Pages
	// unread is how many replies wait to be read, or unknown.
	unread int32
	// ctx carries the person's token to the gateway.
	ctx context.Context //nolint:containedctx // a visit lasts as long as its request
}

// everybody serves a page to anybody.
func (s *site) everybody(serve func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := s.visit(w, r)
		if !utf8.ValidString(r.URL.Path) {
			v.fail(refusal.ErrNoPage)
			return
		}
		toValidUTF8(r)
		if err := serve(v); err != nil {
			v.fail(err)
		}
	}
}

// toValidUTF8 replaces what is not UTF-8 in a form. Pages are in UTF-8, so no browser sends
// such text; passing it to a service would fail, which would look like a fault of ours.
func toValidUTF8(r *http.Request) {
	_ = r.ParseMultipartForm(maxFormBytes) //nolint:gosec // the body is bounded (see secured); what cannot be read is missing to the page
	for _, form := range []url.Values{r.Form, r.PostForm} {
		for _, values := range form {
			for i, value := range values {
				values[i] = strings.ToValidUTF8(value, "\ufffd")
			}
		}
	}
}

// member serves a page to a member who has chosen a profile.
func (s *site) member(serve func(*visit) error) http.HandlerFunc {
	return s.everybody(func(v *visit) error {
		switch {
		case v.session == nil:
			return v.signInKeeping(session.Member)
		case v.session.Realm != session.Member:
			return refusal.ErrWrongSide
		case v.session.Audience == 0 && v.r.URL.Path != "/profil":
			back := v.here()
			if form, ok := kept.Of(v.r); ok && kept.Carry(v.seal, v.w, form) {
				back = handBack
			}
			return v.lead("/profil?retour=" + url.QueryEscape(back))
		}
		return v.own(serve)
	})
}

// agent serves a page to an agent.
func (s *site) agent(serve func(*visit) error) http.HandlerFunc {
	return s.everybody(func(v *visit) error {
		switch {
		case v.session == nil:
			return v.signInKeeping(session.Agent)
		case v.session.Realm != session.Agent:
			return refusal.ErrWrongSide
		}
		return v.own(serve)
	})
}

// own serves a page unless what was sent is from one that was made for somebody else, who was
// signed in before.
func (v *visit) own(serve func(*visit) error) error {
	if kept.Foreign(v.seal, v.r.PostForm, v.session) {
		return refusal.ErrOtherAccount
	}
	if v.r.PostForm.Has(kept.Again) {
		kept.Drop(v.w)
	}
	return serve(v)
}

// caller returns who a request counts against: who is signed in, else the address.
func (s *site) caller(r *http.Request) (id string, signedIn bool) {
	if held := s.sessions.Opened(r); held != nil && held.ID != "" && !held.Over(time.Now()) {
		return held.ID, true
	}
	return "address " + s.cfg.Client(r.RemoteAddr, r.Header.Values("X-Forwarded-For")), false
}

func (s *site) visit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{
		site: s, w: w, r: r, session: s.sessions.Read(w, r), unread: unknown, pages: s.byLanguage[render.LanguageOf(r)], ctx: r.Context(),
	}
	if v.session != nil {
		v.ctx = metadata.AppendToOutgoingContext(v.ctx, "authorization", "Bearer "+v.session.Access)
	}
	return v
}

func (v *visit) tr(french, english string, args ...any) string {
	return v.pages.Tr(french, english, args...)
}

// here returns the visit's address, to come back to. For a request that cannot be repeated by
// GET it is that of the page it came from; for a draft, the recap, which leads on to the first
// missing step.
func (v *visit) here() string {
	if v.r.Method == http.MethodGet {
		return v.r.URL.RequestURI()
	}
	dir := path.Dir(v.r.URL.Path)
	switch path.Dir(dir) {
	case "/messagerie/brouillons":
		return path.Join(dir, writing.Recap)
	case "/agent/modeles":
		return "/agent/modeles"
	}
	if v.r.URL.Path == desk.Find || v.r.URL.Path == desk.Audit { // these are pages too
		return v.r.URL.Path
	}
	return dir
}

func (v *visit) redirect(to string) error {
	http.Redirect(v.w, v.r, to, http.StatusSeeOther) //nolint:gosec // a path of this site (see ownPath), or a service of the taxonomy
	return nil
}

func (v *visit) signIn(who session.Realm) error {
	return v.lead("/connexion?" + url.Values{"pour": {string(who)}, "retour": {v.here()}}.Encode())
}

// lead redirects to the page that has to come first. A stream of events cannot be redirected
// to a page: it is refused with 401.
func (v *visit) lead(to string) error {
	if v.r.Header.Get("Accept") == "text/event-stream" {
		v.w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	return v.redirect(to)
}

// show renders a page.
func (v *visit) show(code int, tag string, body any, faults ...fault) error {
	data := render.View{
		Path: v.r.URL.RequestURI(), Body: body, Session: v.session, Name: v.cfg.FundName, Publisher: v.cfg.Publisher,
		Author: kept.Sign(v.seal, v.session), Unread: v.unread, Faults: faults, Trace: click.Short(v.r), Finding: tag == "find", Shortcuts: v.console().Shortcuts,
	}
	if v.session != nil {
		data.SecondsLeft = int(v.session.Left(time.Now()).Seconds())
	}
	if v.r.Method != http.MethodGet {
		data.Path = "/"
	}
	data.Flash = v.takeFlash()
	return v.pages.Write(v.w, v.r, code, tag, data)
}

const flashCookie = "__Host-note"

// flash shows on the next page what was done. Its texts are this program's own.
func (v *visit) flash(text string) {
	session.SetCookie(v.w, flashCookie, url.QueryEscape(text), 60)
}

// takeFlash returns what was just done, once. Only a page that a person navigates to takes it:
// the live script may read a page at the same moment.
func (v *visit) takeFlash() string {
	if mode := v.r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return ""
	}
	cookie, err := v.r.Cookie(flashCookie)
	if err != nil || cookie.Value == "" {
		return ""
	}
	session.SetCookie(v.w, flashCookie, "", -1)
	text, err := url.QueryUnescape(cookie.Value)
	if err != nil || len(text) > 300 {
		return ""
	}
	return text
}
