package member

import (
	"google.golang.org/grpc/metadata"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/window"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// services are those that would answer faster than a message.
func (v *visitor) services(d *writing.Draft) ([]*taxonomypb.OnlineService, error) {
	resp, err := v.taxonomy.ResolveSuggestion(v.Ctx, &taxonomypb.ResolveSuggestionRequest{
		Audience: v.Session.Audience, Theme: d.GetTheme(), Topic: d.GetTopic(), Reason: d.GetReason(),
	})
	return resp.GetServices(), err
}

// propose goes on to the message, by the guide's step 3 when there is an online
// service. Without the taxonomy, or after the proposal, straight on.
func (v *visitor) propose(d *writing.Draft, after string) error {
	services, err := v.services(d)
	if err != nil || len(services) == 0 {
		return v.Redirect(d.Path(after))
	}
	v.record(d, services[0], taxonomypb.SuggestionOutcome_SHOWN)
	window.Due(v.W, d)
	return v.Redirect(d.Path(writing.Text))
}

// record counts what became of a proposal. It is a figure: nobody waits for it to be
// right, and a member is not kept from going on.
func (v *visitor) record(d *writing.Draft, service *taxonomypb.OnlineService, outcome taxonomypb.SuggestionOutcome) {
	// Within a draft, once for each selection, service and outcome.
	key := window.Key(d, service.GetCode(), outcome.String())
	_, _ = v.taxonomy.RecordSuggestionOutcome(metadata.AppendToOutgoingContext(v.Ctx, "idempotency-key", key), &taxonomypb.RecordSuggestionOutcomeRequest{
		Audience: v.Session.Audience, Theme: d.GetTheme(), Topic: d.GetTopic(), Reason: d.GetReason(), Service: service.GetCode(), Outcome: outcome,
	})
}

// useService leads to the online service: the first way out of the window.
func (v *visitor) useService() error {
	d, err := v.draft()
	if err != nil {
		return v.noDraft(err)
	}
	services, err := v.services(d)
	if err != nil {
		return err
	}
	for _, service := range services {
		if service.GetCode() == v.R.PathValue("service") {
			v.record(d, service, taxonomypb.SuggestionOutcome_FOLLOWED)
			return v.Redirect(service.GetUrl())
		}
	}
	return refusal.ErrNoPage
}

// leaveWindow is the two other ways out: to write all the same, or to choose again.
func (v *visitor) leaveWindow(d *writing.Draft) error {
	services, err := v.services(d)
	outcome, to := taxonomypb.SuggestionOutcome_WROTE_ANYWAY, d.Path(writing.Text)+"#text"
	if level := v.R.PostFormValue("issue"); fields[level] != "" {
		outcome, to = taxonomypb.SuggestionOutcome_CHANGED_SELECTION, d.Path(level)
	}
	if err == nil && len(services) > 0 {
		v.record(d, services[0], outcome)
	}
	return v.Redirect(to)
}
