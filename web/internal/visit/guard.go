package visit

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/ma-messagerie/messagerie/chassis/plain"
	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// MaxFormBytes bounds the body of a request: one above it is not read, and what was typed is
// lost. It is above two texts of 20,000 four-byte characters, percent-encoded.
const MaxFormBytes = 512 << 10

// Everybody serves a page to anybody.
func (s *Site) Everybody(serve func(*Visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := s.begin(w, r)
		if !utf8.ValidString(r.URL.Path) {
			v.fail(refusal.ErrNoPage)
			return
		}
		toValidUTF8(r)
		v.clean()
		if err := serve(v); err != nil {
			v.fail(err)
		}
	}
}

// toValidUTF8 replaces what is not UTF-8 in a form. Pages are in UTF-8, so no browser sends
// such text; passing it to a service would fail, which would look like a fault of ours.
func toValidUTF8(r *http.Request) {
	_ = r.ParseMultipartForm(MaxFormBytes) // what cannot be read is missing to the page
	for _, form := range []url.Values{r.Form, r.PostForm} {
		for _, values := range form {
			for i, value := range values {
				values[i] = strings.ToValidUTF8(value, "\ufffd")
			}
		}
	}
}

// Fields that people type into: freeText are texts that the service cleans, oneLine are addresses,
// numbers and words, which it would refuse for a character that nobody sees.
var (
	freeText = []string{"note", "texte", "titre"}
	oneLine  = []string{"autre", "conversation", "email", "q", "telephone"}
)

// lineMost is how many characters of a line are read: far more than any field takes, so that what
// is too long is said to be.
const lineMost = 10_000

// clean has what was typed as it will be stored, before a page shows it or a draft keeps it.
func (v *Visit) clean() {
	for _, form := range []url.Values{v.R.PostForm, v.R.Form} {
		v.removed = 0 // one has the values of the other
		for _, name := range freeText {
			for i, value := range form[name] {
				form[name][i] = v.Cleaned(value)
			}
		}
		for _, name := range oneLine {
			for i, value := range form[name] {
				form[name][i] = plain.Line(value, lineMost)
			}
		}
	}
}

// Cleaned is a text as it is stored, but for outer white space. What was taken out of it is said
// on the page that comes.
func (v *Visit) Cleaned(text string) string {
	text, removed := plain.Clean(text)
	v.removed += removed
	return text
}

// saidRemoved says that something was taken out of what was typed; empty if nothing was.
func (v *Visit) saidRemoved() string {
	if v.removed == 0 {
		return ""
	}
	return v.Pages.Counted(v.removed, "%d caractère invisible a été retiré de votre texte.", "%d caractères invisibles ont été retirés de votre texte.", "%d invisible character was removed from your text.", "%d invisible characters were removed from your text.")
}

// Member serves a page to a member who has chosen a profile.
func (s *Site) Member(serve func(*Visit) error) http.HandlerFunc {
	return s.Everybody(func(v *Visit) error {
		switch {
		case v.Session == nil:
			return v.signInKeeping(session.Member)
		case v.Session.Realm != session.Member:
			return refusal.ErrWrongSide
		case v.Session.Audience == 0 && v.R.URL.Path != "/profil":
			back := v.here()
			if form, ok := kept.Of(v.R); ok && kept.Carry(v.Seal, v.W, v.R, form) {
				back = HandBack
			}
			return v.lead("/profil?retour=" + url.QueryEscape(back))
		}
		return v.own(serve)
	})
}

// Agent serves a page to an agent.
func (s *Site) Agent(serve func(*Visit) error) http.HandlerFunc {
	return s.Everybody(func(v *Visit) error {
		switch {
		case v.Session == nil:
			return v.signInKeeping(session.Agent)
		case v.Session.Realm != session.Agent:
			return refusal.ErrWrongSide
		}
		return v.own(serve)
	})
}

// own serves a page unless what was sent is from one that was made for somebody else, who was
// signed in before.
func (v *Visit) own(serve func(*Visit) error) error {
	if kept.Foreign(v.Seal, v.R.PostForm, v.Session) {
		return refusal.ErrOtherAccount
	}
	if to := v.R.PostForm.Get(kept.Language); to != "" {
		return v.Translate(to)
	}
	if v.R.PostForm.Has(kept.Again) {
		kept.Drop(v.W)
	}
	return serve(v)
}

// Static is a page that says the same to all: the template of the tag without a body.
func Static(tag string) func(*Visit) error {
	return func(v *Visit) error { return v.Show(http.StatusOK, tag, nil) }
}
