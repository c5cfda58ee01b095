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
	code := status.Code(err)
	if code == codes.Unauthenticated && v.session != nil {
		// The provider has taken the token back.
		v.sessions.End(v.w)
		_ = v.signIn(v.session.Realm)
		return
	}
	p := v.problemOf(err)
	if p.Code >= http.StatusInternalServerError {
		slog.ErrorContext(v.r.Context(), "serving a page", "route", v.r.Pattern, "error", err)
	}
	if wait := refusal.Wait(err); p.Code == http.StatusServiceUnavailable || p.Code == http.StatusTooManyRequests {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(max(wait, time.Second).Seconds())))
	}
	if err := v.show(p.Code, "problem", p); err != nil {
		slog.ErrorContext(v.r.Context(), "serving a page about a fault", "error", err)
		http.Error(v.w, p.Title, p.Code)
	}
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
