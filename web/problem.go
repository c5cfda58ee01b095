package web

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
	shown := v.showProblem(p)
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

// showTooMany gives back what was typed to a person who has sent too many requests.
func (v *visit) showTooMany() error {
	return v.showProblem(refusal.Problem{
		Code: http.StatusTooManyRequests, Title: v.tr("Trop de demandes en peu de temps", "Too many requests in a short time"),
		Text:  v.tr("Rien n’a été fait. Attendez quelques secondes, puis réessayez.", "Nothing was done. Wait a few seconds, then try again."),
		Again: v.here(), Label: v.tr("Réessayer", "Try again"),
	})
}
