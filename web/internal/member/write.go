package member

import (
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/calendar"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/visit"
	"github.com/ma-messagerie/messagerie/web/internal/window"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// What a draft's pages only send to, by the last part of the address.
const (
	stepSend    = "envoyer"
	stepService = "service"
	stepSave    = "enregistrer"
	stepAdopt   = "adopter"
	stepDelete  = "supprimer"
)

// newAt is the address where a message is begun, of which nothing is stored yet.
const newAt = "/messagerie/nouveau"

// stepPage is one question, or the message, or the recap.
type stepPage struct {
	*writing.Draft
	Step          string
	Number, Count int
	Back, Action  string
	// Field of a radio page, what may be chosen and what is.
	Field, Chosen string
	Options       []writing.Option
	// Services are proposed before writing, in a window.
	Services []*taxonomypb.OnlineService
	// Expected says by when an answer is due, Usual is how long answers take; empty when unknown.
	Expected, Usual string
	Limits          *taxonomypb.TextLimits
	// Recap comes back to the recap after the change of one line.
	Recap bool
}

// tree is what the member may choose from.
func (v *visitor) tree() (*taxonomypb.GetTaxonomyResponse, error) {
	return v.Trees.Tree(v.Ctx, v.Session.Audience)
}

// newMessage begins the guide's step 2. Nothing is stored before the first answer.
func (v *visitor) newMessage() error {
	tree, err := v.tree()
	if err != nil {
		return err
	}
	v.endSearch(false)
	d := writing.New(&messagingpb.Draft{Id: uuid.NewString()}, tree)
	return v.showQuestion(http.StatusOK, d, writing.Theme)
}

// draft reads a draft with what may be chosen.
func (v *visitor) draft() (*writing.Draft, error) {
	tree, err := v.tree()
	if err != nil {
		return nil, err
	}
	var header metadata.MD
	resp, err := v.members.GetDraft(v.Ctx, &messagingpb.GetDraftRequest{Id: v.R.PathValue("id")}, grpc.Header(&header))
	if err != nil {
		return nil, err
	}
	d := writing.New(resp.GetDraft(), tree)
	d.Text = v.Cleaned(d.GetText()) // another front end keeps it as it was typed
	d.Tag = visit.TagOf(header)
	return d, d.Of(v.Session.Audience)
}

// formDraft is a draft as the form has it: the selection that its page was made for, and
// the text that was typed.
func (v *visitor) formDraft() (*writing.Draft, error) {
	tree, err := v.tree()
	if err != nil {
		return nil, err
	}
	d := writing.New(&messagingpb.Draft{
		Id: v.R.PathValue("id"), Theme: v.R.PostFormValue("theme"), Topic: v.R.PostFormValue("topic"), Reason: v.R.PostFormValue("reason"),
		Text: v.R.PostFormValue("texte"),
	}, tree)
	d.Tag = v.R.PostFormValue("etag")
	return d, nil
}

// save stores what has been chosen and written so far.
func (v *visitor) save(d *writing.Draft) error {
	_, err := v.members.SaveDraft(v.Ctx, d.Request(v.Session.Audience))
	return err
}

func (v *visitor) showStep() error {
	step := v.R.PathValue("step")
	d, err := v.draft()
	if err != nil {
		return v.noDraft(err)
	}
	if missing := d.Missing(step); missing != "" && step != writing.Theme {
		return v.Redirect(d.Path(missing))
	}
	switch step {
	case writing.Theme, writing.Topic, writing.Reason:
		return v.showQuestion(http.StatusOK, d, step)
	case writing.Text:
		return v.showMessage(http.StatusOK, d)
	case writing.Recap:
		return v.Show(http.StatusOK, "recap", v.stepPage(d, writing.Recap))
	}
	return refusal.ErrNoPage
}

// as is the visit under another of the member's profiles.
func (v *visitor) as(profile taxonomypb.Audience) *visitor {
	then, acting := *v.Visit, *v.Session
	acting.Audience, then.Session = profile, &acting
	return &visitor{&then, v.gateway}
}

// profileOfPage is the profile that a form's page was made for, if it says one of the member's;
// they may act as another by now, in another tab.
func (v *visitor) profileOfPage() taxonomypb.Audience {
	for _, profile := range v.Session.Audiences() {
		if profile.String() == v.R.PostFormValue("profil") {
			return profile
		}
	}
	return v.Session.Audience
}

// takeOther keeps what a page of another profile sends, and says that it is that one's.
func (v *visitor) takeOther(then *visitor) error {
	d, err := then.draft()
	if isGone(err) || err == nil && v.R.PostForm.Has("texte") {
		if d, err = then.formDraft(); err == nil {
			err = then.save(d)
		}
	}
	if err == nil {
		err = &writing.OtherProfile{Audience: then.Session.Audience, Draft: d}
	}
	return v.noDraft(err)
}

// noDraft shows why there is no draft to go on with.
func (v *visitor) noDraft(err error) error {
	var other *writing.OtherProfile
	switch {
	case errors.As(err, &other):
		return v.Show(http.StatusConflict, "other", other)
	case isGone(err):
		return v.showGone()
	}
	return err
}

// isGone reports whether a draft no longer exists: sent, deleted or too old.
func isGone(err error) bool {
	return status.Code(err) == codes.NotFound && refusal.Reason(err) == "DRAFT_NOT_FOUND"
}

// showGone is what the back button finds after a message was sent.
func (v *visitor) showGone() error {
	return v.Show(http.StatusGone, "problem", refusal.Gone(v.Pages))
}

func (v *visitor) stepPage(d *writing.Draft, step string) *stepPage {
	p := &stepPage{
		Draft: d, Step: step, Count: len(d.Steps()), Back: d.Before(step), Action: d.Path(step), Limits: writing.Limits(d.Tree),
		Recap: v.R.FormValue("recap") != "",
	}
	for i, s := range d.Steps() {
		if s == step {
			p.Number = i + 1
		}
	}
	if p.Recap {
		p.Back = d.Path(writing.Recap)
	}
	return p
}

// fields are the names of a question's answer in its form.
var fields = map[string]string{writing.Theme: "theme", writing.Topic: "topic", writing.Reason: "reason"}

// showQuestion is one level of the guide's step 2.
func (v *visitor) showQuestion(code int, d *writing.Draft, step string, faults ...render.Fault) error {
	p := v.stepPage(d, step)
	p.Field = fields[step]
	p.Options, p.Chosen = d.Question(step)
	switch {
	case v.At != "":
	case p.Recap:
		v.At = p.Action + "?recap=1"
	default:
		v.At = p.Action
	}
	return v.Show(code, "question", p, faults...)
}

// showMessage is the guide's step 4, under the window of step 3 when a selection was
// just made for which there is an online service.
func (v *visitor) showMessage(code int, d *writing.Draft, faults ...render.Fault) error {
	p := v.stepPage(d, writing.Text)
	if window.Opens(v.W, v.R, d) {
		p.Services, _ = v.services(d) // without them, one can still write
	}
	delay, err := v.members.GetExpectedDelay(v.Ctx, &messagingpb.GetExpectedDelayRequest{
		Audience: v.Session.Audience, Theme: d.GetTheme(), Topic: d.GetTopic(), Reason: d.GetReason(),
	})
	if err == nil { // without it, one can still write
		p.Expected = calendar.Announced(v.Pages, time.Now(), int(delay.GetTarget().GetWorkingDays()))
		p.Usual = v.Pages.WorkingDays(delay.GetUsual().GetWorkingDays())
	}
	return v.Show(code, "message", p, faults...)
}

func (v *visitor) takeStep() error {
	step := v.R.PathValue("step")
	if uuid.Validate(v.R.PathValue("id")) != nil {
		return refusal.ErrNoPage
	}
	if profile := v.profileOfPage(); profile != v.Session.Audience {
		return v.takeOther(v.as(profile))
	}
	switch step {
	case stepSend:
		return v.send()
	case stepDelete:
		return v.deleteDraft()
	case writing.Text:
		return v.takeMessage()
	}
	d, err := v.draft()
	if isGone(err) && step == writing.Theme {
		d, err = v.formDraft() // the first answer
		v.At = newAt
	}
	var other *writing.OtherProfile
	switch {
	case errors.As(err, &other) && step == stepAdopt:
		err = v.save(d)
	case errors.As(err, &other) && step == stepSave: // where it belongs
		return v.as(other.Audience).takeStep()
	}
	if err != nil {
		return v.noDraft(err)
	}
	switch step {
	case stepAdopt:
		return v.Redirect(d.Path(writing.Recap))
	case writing.Theme, writing.Topic, writing.Reason:
		return v.takeAnswer(d, step)
	case stepSave:
		return v.autosave(d)
	case stepService:
		return v.leaveWindow(d)
	}
	return refusal.ErrNoPage
}

// takeAnswer stores one level of the selection.
func (v *visitor) takeAnswer(d *writing.Draft, step string) error {
	answer := v.R.PostFormValue(fields[step])
	chosen := d.With(step, answer)
	if missing := chosen.Missing(d.After(step)); missing == step || answer == "" {
		return v.showQuestion(http.StatusUnprocessableEntity, d, step, refusal.Unanswered(v.Pages, fields[step]))
	}
	if err := v.save(chosen); err != nil {
		return err
	}
	v.endSearch(false)
	after := chosen.After(step)
	// Coming from the recap, levels that are still right are not asked for again.
	if v.R.PostFormValue("recap") != "" {
		if missing := chosen.Missing(writing.Recap); missing != "" && missing != writing.Text {
			return v.Redirect(chosen.Path(missing) + "?recap=1")
		}
		after = writing.Text
		if chosen.GetText() != "" {
			after = writing.Recap
		}
	}
	if chosen.Missing(writing.Text) == "" {
		return v.propose(chosen, after)
	}
	return v.Redirect(chosen.Path(after))
}

// takeMessage is the end of the guide's step 4. The form has all that makes up the draft,
// so that a member goes on writing what was sent or deleted meanwhile. The text is checked
// by the service when it is sent; here, its verdict on the length is shown beforehand.
func (v *visitor) takeMessage() error {
	if !v.R.PostForm.Has("texte") {
		v.Flash(v.Tr("Votre texte est bien trop long pour être transmis.", "Your text is far too long to be sent."))
		return v.Redirect(writing.Path(v.R.PathValue("id"), writing.Text))
	}
	d, err := v.formDraft()
	if err != nil {
		return err
	}
	if missing := d.Missing(writing.Text); missing != "" {
		// What was chosen has left the taxonomy: the text waits in the draft for another choice.
		if err := v.save(d); err != nil {
			return err
		}
		return v.Redirect(d.Path(missing))
	}
	if f := refusal.Length(v.Pages, writing.Count(d.Text), writing.Limits(d.Tree)); f != nil {
		return v.showMessage(http.StatusUnprocessableEntity, d, *f)
	}
	err = v.saveSeen(d)
	switch status.Code(err) {
	case codes.OK:
		return v.Redirect(d.Path(writing.Recap))
	case codes.FailedPrecondition:
		return v.showMessage(http.StatusConflict, d, render.Fault{Field: "text", Text: v.Tr("Ce brouillon a changé depuis que la page est ouverte. Votre texte est ci-dessous : « Continuer » le met à la place de l’autre.",
			"This draft has changed since the page was opened. Your text is below: “Continue” puts it in place of the other.")})
	case codes.InvalidArgument:
		return v.showMessage(http.StatusUnprocessableEntity, d, render.Fault{Field: "text", Text: v.Tr("Votre texte ne peut pas être enregistré. Raccourcissez-le.", "Your text cannot be saved. Shorten it.")})
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		// Nothing that was typed is lost.
		return v.showMessage(http.StatusServiceUnavailable, d, render.Fault{
			Field: "text",
			Text: v.Tr("Le service est momentanément indisponible. Votre texte est ci-dessous : réessayez dans quelques instants.",
				"The service is temporarily unavailable. Your text is below: try again in a moment."),
		})
	default:
		return err
	}
}

// autosave stores what is in the form, for the script of the page.
func (v *visitor) autosave(d *writing.Draft) error {
	d.Text = v.R.PostFormValue("texte")
	return v.storeSeen(d.Request(v.Session.Audience))
}

func (v *visitor) deleteDraft() error {
	if _, err := v.members.DeleteDraft(v.Ctx, &messagingpb.DeleteDraftRequest{Id: v.R.PathValue("id")}); err != nil {
		return err
	}
	v.Flash(v.Tr("Le brouillon est supprimé.", "The draft was deleted."))
	return v.Redirect("/messagerie")
}
