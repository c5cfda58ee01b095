package visit

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

// FaultsOf is what is to be corrected after a refusal; nil when it is about no field.
func (v *Visit) FaultsOf(err error) []render.Fault { return refusal.Faults(v.Pages, err) }

// ProblemOf is the page that fits an error.
func (v *Visit) ProblemOf(err error) refusal.Problem {
	home := refusal.Link{To: "/messagerie", Label: v.Tr("Revenir à Ma messagerie", "Back to My messages")}
	if v.Session != nil && v.Session.Realm == session.Agent {
		home = refusal.Link{To: "/agent", Label: v.Tr("Revenir à la file", "Back to the queue")}
	}
	return refusal.Of(v.Pages, err, home, v.here())
}

// fail shows the page that fits an error.
func (v *Visit) fail(err error) {
	if status.Code(err) == codes.Unauthenticated && v.Session != nil {
		// The provider has taken the token back.
		who := v.Session.Realm
		v.Sessions.End(v.W)
		v.Session = nil
		if shown := v.signInKeeping(who); shown == nil {
			return
		}
	}
	p := v.ProblemOf(err)
	v.Noted(p, err)
	shown := v.showProblem(p)
	if shown != nil {
		slog.ErrorContext(v.R.Context(), "serving a page about a fault", "error", shown)
		http.Error(v.W, p.Title, p.Code)
	}
}

// Noted logs a fault of ours, and tells the browser when to ask again.
func (v *Visit) Noted(p refusal.Problem, err error) {
	if p.Code >= http.StatusInternalServerError {
		slog.ErrorContext(v.R.Context(), "serving a page", "route", v.R.Pattern, "error", err)
	}
	if wait := refusal.Wait(err); p.Code == http.StatusServiceUnavailable || p.Code == http.StatusTooManyRequests {
		v.W.Header().Set("Retry-After", strconv.Itoa(int(max(wait, time.Second).Seconds())))
	}
}

// AtField says at a field why what is in it was not taken.
func (v *Visit) AtField(field string, p refusal.Problem, err error) render.Fault {
	text := p.Text
	switch {
	case p.Code == http.StatusServiceUnavailable:
		text = v.Tr("Ce que vous avez écrit est ci-dessous : réessayez dans quelques instants.", "What you have written is below: try again in a moment.")
	case refusal.Reason(err) == "IDEMPOTENCY_KEY_REUSED":
		text = v.Tr("Un premier envoi a été enregistré avec un autre texte : lisez-le avant d’envoyer à nouveau.", "It was first sent with another text: read that before you send again.")
	}
	return render.Fault{Field: field, Text: p.Title + ". " + text}
}

// RefuseForeign answers a request that another site's page has made.
func (s *Site) RefuseForeign(w http.ResponseWriter, r *http.Request) {
	v := s.anonymous(w, r)
	p := refusal.Problem{
		Code: http.StatusForbidden, Title: v.Tr("Demande refusée", "Request refused"),
		Text:  v.Tr("Elle ne vient pas d’une page de Ma messagerie. Rien n’a été fait.", "It does not come from a page of My messages. Nothing was done."),
		Again: "/messagerie", Label: v.Tr("Ouvrir Ma messagerie", "Open My messages"),
	}
	if err := v.Show(p.Code, "problem", p); err != nil {
		http.Error(w, p.Title, p.Code)
	}
}

// ShowTooMany gives back what was typed to a person who has sent too many requests.
func (v *Visit) ShowTooMany() error {
	return v.showProblem(refusal.Problem{
		Code: http.StatusTooManyRequests, Title: v.Tr("Trop de demandes en peu de temps", "Too many requests in a short time"),
		Text:  v.Tr("Rien n’a été fait. Attendez quelques secondes, puis réessayez.", "Nothing was done. Wait a few seconds, then try again."),
		Again: v.here(), Label: v.Tr("Réessayer", "Try again"),
	})
}
