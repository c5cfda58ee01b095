package visit

import (
	"net/http"
	"net/url"

	"github.com/ma-messagerie/messagerie/chassis/plain"
	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// HandBack is the page that has what was typed before a sign-in.
const HandBack = "/repris"

// keptPage is a problem with what was typed, to be sent again.
type keptPage struct {
	refusal.Problem
	*kept.Form
	// SignIn is where to sign in first; empty when that is not what is missing.
	SignIn string
}

// searched are those of a search by GET, as many of them as its field takes.
func (v *Visit) searched() string {
	if v.R.Method != http.MethodGet {
		return ""
	}
	return plain.Line(v.R.URL.Query().Get("q"), wordsMost)
}

// wordsMost is how many characters the search of a list takes.
const wordsMost = 100

// showProblem shows a page about a problem, with what was typed.
func (v *Visit) showProblem(p refusal.Problem) error {
	form, ok := kept.Of(v.R)
	if !ok {
		return v.Show(p.Code, "problem", p)
	}
	return v.Show(p.Code, "kept", keptPage{p, &form, ""})
}

// signInKeeping leads to the sign-in, and whoever has typed something back to that; what
// does not fit into cookies stays on a page that leads there in another tab.
func (v *Visit) signInKeeping(who session.Realm) error {
	v.Speak(v.R.PostForm.Get(kept.Language))
	form, ok := kept.Of(v.R)
	if !ok {
		return v.signIn(who)
	}
	to := url.Values{"pour": {string(who)}, "retour": {HandBack}}
	if kept.Carry(v.Seal, v.W, v.R, form) {
		return v.Redirect("/connexion?" + to.Encode())
	}
	to.Del("retour")
	return v.Show(http.StatusUnauthorized, "kept", keptPage{refusal.Problem{
		Code: http.StatusUnauthorized, Title: v.Tr("Votre session est terminée", "Your session has ended"),
		Text: v.Tr("Rien n’a été envoyé. Connectez-vous dans un autre onglet, puis revenez à cette page et envoyez à nouveau.",
			"Nothing was sent. Sign in in another tab, then come back to this page and send again."),
	}, &form, "/connexion?" + to.Encode()})
}

// Translate changes the language of the pages, and shows what was typed in it: to is the language
// with the address of the page. A form that is sent for this does nothing else.
func (v *Visit) Translate(to string) error {
	back := v.Speak(to)
	form, ok := kept.Of(v.R)
	if !ok {
		return v.Redirect(back)
	}
	return v.handBack(&form, back, v.Tr("Rien n’a encore été envoyé.", "Nothing has been sent yet."))
}

// handBack shows what was typed, to be sent or not: to go back to a page, or to be forgotten.
func (v *Visit) handBack(form *kept.Form, back, text string) error {
	return v.Show(http.StatusOK, "kept", keptPage{refusal.Problem{
		Code: http.StatusOK, Title: v.Tr("Voici ce que vous avez écrit", "Here is what you had written"),
		Text: text, Again: back, Label: v.Tr("Ne pas l’envoyer", "Do not send it"),
	}, form, ""})
}

// Speak goes on in the language that a value of the field kept.Language begins with, and returns
// the address of the page that follows in it.
func (v *Visit) Speak(to string) (back string) {
	lang := to[:min(2, len(to))]
	if pages, ok := v.ByLanguage[lang]; ok {
		v.Pages = pages
		render.SetLanguage(v.W, lang)
	}
	back = session.OwnPath(to[len(lang):])
	if back == "" || back == "/" || back == HandBack { // the page was itself an answer to a form
		return v.here()
	}
	return back
}

// ShowKept hands back what was typed before the sign-in, as often as it is asked for until it
// is sent again.
func (v *Visit) ShowKept() error {
	form, ok := kept.Carried(v.Seal, v.R)
	who := session.Member
	if form.Agents() {
		who = session.Agent
	}
	switch {
	case !ok:
		return v.Redirect("/")
	case v.Session == nil:
		return v.signIn(who)
	case !form.By(v.Seal, v.Session): // it waits for them
		return v.Redirect("/")
	case who == session.Member && v.Session.Audience == 0:
		return v.Redirect("/profil?retour=" + HandBack)
	}
	return v.handBack(&form, "", v.Tr("Votre session avait pris fin : rien n’a été envoyé.", "Your session had ended: nothing was sent."))
}

// DropKept forgets what was typed before the sign-in: it is not to be sent.
func (v *Visit) DropKept() error {
	kept.Drop(v.W)
	return v.Redirect("/")
}

// waits reports whether something that the person had typed before the sign-in is not sent yet.
func (v *Visit) waits() bool {
	form, ok := kept.Carried(v.Seal, v.R)
	return ok && v.Session != nil && form.By(v.Seal, v.Session)
}
