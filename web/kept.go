package web

import (
	"net/http"
	"net/url"

	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// handBack is the page that has what was typed before a sign-in.
const handBack = "/repris"

// keptPage is a problem with what was typed, to be sent again.
type keptPage struct {
	refusal.Problem
	*kept.Form
	// SignIn is where to sign in first; empty when that is not what is missing.
	SignIn string
}

// showProblem shows a page about a problem, with what was typed.
func (v *visit) showProblem(p refusal.Problem) error {
	form, ok := kept.Of(v.r)
	if !ok {
		return v.show(p.Code, "problem", p)
	}
	return v.show(p.Code, "kept", keptPage{p, &form, ""})
}

// signInKeeping leads to the sign-in, and whoever has typed something back to that; what
// does not fit into cookies stays on a page that leads there in another tab.
func (v *visit) signInKeeping(who session.Realm) error {
	form, ok := kept.Of(v.r)
	if !ok {
		return v.signIn(who)
	}
	to := url.Values{"pour": {string(who)}, "retour": {handBack}}
	if kept.Carry(v.seal, v.w, form) {
		return v.redirect("/connexion?" + to.Encode())
	}
	to.Del("retour")
	return v.show(http.StatusUnauthorized, "kept", keptPage{refusal.Problem{
		Code: http.StatusUnauthorized, Title: v.tr("Votre session est terminée", "Your session has ended"),
		Text: v.tr("Rien n’a été envoyé. Connectez-vous dans un autre onglet, puis revenez à cette page et envoyez à nouveau.",
			"Nothing was sent. Sign in in another tab, then come back to this page and send again."),
	}, &form, "/connexion?" + to.Encode()})
}

// showKept hands back what was typed before the sign-in, as often as it is asked for until it
// is sent again.
func (v *visit) showKept() error {
	form, ok := kept.Carried(v.seal, v.r)
	who := session.Member
	if form.Agents() {
		who = session.Agent
	}
	switch {
	case !ok:
		return v.redirect("/")
	case v.session == nil:
		return v.signIn(who)
	case !form.By(v.seal, v.session):
		kept.Drop(v.w)
		return v.redirect("/")
	case who == session.Member && v.session.Audience == 0:
		return v.redirect("/profil?retour=" + handBack)
	}
	return v.show(http.StatusOK, "kept", keptPage{refusal.Problem{
		Code: http.StatusOK, Title: v.tr("Voici ce que vous avez écrit", "Here is what you had written"),
		Text:  v.tr("Votre session avait pris fin : rien n’a été envoyé.", "Your session had ended: nothing was sent."),
		Again: "/", Label: v.tr("Ne pas l’envoyer", "Do not send it"),
	}, &form, ""})
}
