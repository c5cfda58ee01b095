package web

import (
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// fault is one thing to correct, with the field it is in.
type fault = render.Fault

// faultsOf is what is to be corrected after a refusal; nil when it is about no field.
func (v *visit) faultsOf(err error) []fault { return refusal.Faults(v.pages, err) }

// problemOf is the page that fits an error.
func (v *visit) problemOf(err error) refusal.Problem {
	home := refusal.Link{To: "/messagerie", Label: v.tr("Revenir à Ma messagerie", "Back to My messages")}
	if v.session != nil && v.session.Realm == session.Agent {
		home = refusal.Link{To: "/agent", Label: v.tr("Revenir à la file", "Back to the queue")}
	}
	return refusal.Of(v.pages, err, home, v.here())
}

// fail shows the page that fits an error.
func (v *visit) fail(err error) {
	if status.Code(err) == codes.Unauthenticated && v.session != nil {
		// The provider has taken the token back.
		who := v.session.Realm
		v.sessions.End(v.w)
		v.session = nil
		if shown := v.signInKeeping(who); shown == nil {
			return
		}
	}
	p := v.problemOf(err)
	v.noted(p, err)
	shown := v.showProblem(p, "")
	if shown != nil {
		slog.ErrorContext(v.r.Context(), "serving a page about a fault", "error", shown)
		http.Error(v.w, p.Title, p.Code)
	}
}

// noted logs a fault of ours, and tells the browser when to ask again.
func (v *visit) noted(p refusal.Problem, err error) {
	if p.Code >= http.StatusInternalServerError {
		slog.ErrorContext(v.r.Context(), "serving a page", "route", v.r.Pattern, "error", err)
	}
	if wait := refusal.Wait(err); p.Code == http.StatusServiceUnavailable || p.Code == http.StatusTooManyRequests {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(max(wait, time.Second).Seconds())))
	}
}

// atField says at a field why what is in it was not taken.
func (v *visit) atField(field string, p refusal.Problem, err error) fault {
	text := p.Text
	switch {
	case p.Code == http.StatusServiceUnavailable:
		text = v.tr("Ce que vous avez écrit est conservé ci-dessous : réessayez dans quelques instants.", "What you have written is kept below: try again in a moment.")
	case refusal.Reason(err) == "IDEMPOTENCY_KEY_REUSED":
		text = v.tr("Un premier envoi a été enregistré avec un autre texte : lisez-le avant d’envoyer à nouveau.", "It was first sent with another text: read that before you send again.")
	}
	return fault{Field: field, Text: p.Title + ". " + text}
}

// keptPage is a problem with what an agent has typed.
type keptPage struct {
	refusal.Problem
	desk.Kept
	// SignIn is where to sign in first; empty when that is not what is missing.
	SignIn string
}

// showProblem shows a page about a problem, with what was typed.
func (v *visit) showProblem(p refusal.Problem, signIn string) error {
	kept, ok := desk.KeptOf(v.r)
	if !ok {
		return v.show(p.Code, "problem", p)
	}
	return v.show(p.Code, "kept", keptPage{p, kept, signIn})
}

// signInKeeping leads to the sign-in; whoever has typed something keeps it on a page that
// leads there in another tab.
func (v *visit) signInKeeping(who session.Realm) error {
	if _, ok := desk.KeptOf(v.r); !ok {
		return v.signIn(who)
	}
	return v.showProblem(refusal.Problem{
		Code: http.StatusUnauthorized, Title: v.tr("Votre session est terminée", "Your session has ended"),
		Text: v.tr("Rien n’a été envoyé. Connectez-vous dans un autre onglet, puis revenez à cette page et envoyez à nouveau.",
			"Nothing was sent. Sign in in another tab, then come back to this page and send again."),
	}, "/connexion?"+url.Values{"pour": {string(who)}, "retour": {desk.Queue}}.Encode())
}

// refuseForeign answers a request that another site's page has made.
func (s *site) refuseForeign(w http.ResponseWriter, r *http.Request) {
	v := &visit{site: s, w: w, r: r, unread: unknown, pages: s.byLanguage[render.LanguageOf(r)], ctx: r.Context()}
	p := refusal.Problem{
		Code: http.StatusForbidden, Title: v.tr("Demande refusée", "Request refused"),
		Text:  v.tr("Elle ne vient pas d’une page de Ma messagerie. Rien n’a été fait.", "It does not come from a page of My messages. Nothing was done."),
		Again: "/messagerie", Label: v.tr("Ouvrir Ma messagerie", "Open My messages"),
	}
	if err := v.show(p.Code, "problem", p); err != nil {
		http.Error(w, p.Title, p.Code)
	}
}
