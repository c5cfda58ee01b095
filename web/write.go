package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// The pages of the guide's steps 2 to 5, by the last part of their address.
const (
	stepTheme   = "theme"
	stepTopic   = "sujet"
	stepReason  = "motif"
	stepMessage = "message"
	stepRecap   = "recapitulatif"
	// What is only sent to.
	stepSend    = "envoyer"
	stepService = "service"
	stepSave    = "enregistrer"
	stepDelete  = "supprimer"
)

// writing is a message on its way: the draft, and what may be chosen.
type writing struct {
	*messagingpb.Draft
	Tree   *taxonomypb.GetTaxonomyResponse
	theme  *taxonomypb.Theme
	topic  *taxonomypb.Topic
	reason *taxonomypb.Reason
}

// newWriting finds a draft's selection in the tree. What is no longer there is as if
// it had not been chosen.
func newWriting(draft *messagingpb.Draft, tree *taxonomypb.GetTaxonomyResponse) *writing {
	w := &writing{Draft: draft, Tree: tree}
	for _, theme := range tree.GetThemes() {
		if theme.GetCode() == draft.GetTheme() {
			w.theme = theme
		}
	}
	for _, topic := range w.theme.GetTopics() {
		if topic.GetCode() == draft.GetTopic() {
			w.topic = topic
		}
	}
	for _, reason := range w.topic.GetReasons() {
		if reason.GetCode() == draft.GetReason() {
			w.reason = reason
		}
	}
	draft.Theme, draft.Topic, draft.Reason = w.theme.GetCode(), w.topic.GetCode(), w.reason.GetCode()
	draft.TaxonomyVersion = tree.GetVersion()
	return w
}

// steps are the pages of this audience's way, in order.
func (w *writing) steps() []string {
	steps := []string{stepTheme, stepTopic, stepReason}[:min(max(int(w.Tree.GetDepth()), 1), 3)]
	return append(steps[:len(steps):len(steps)], stepMessage, stepRecap)
}

// missing is the first step that has to be done again before a page can be shown;
// empty when none.
func (w *writing) missing(step string) string {
	for _, before := range w.steps() {
		if before == step {
			return ""
		}
		done := map[string]bool{
			stepTheme: w.theme != nil, stepTopic: w.topic != nil, stepReason: w.reason != nil, stepMessage: w.GetText() != "",
		}[before]
		if !done {
			return before
		}
	}
	return stepTheme
}

// after is the step that follows one.
func (w *writing) after(step string) string {
	steps := w.steps()
	for i, s := range steps[:len(steps)-1] {
		if s == step {
			return steps[i+1]
		}
	}
	return stepRecap
}

// before is where "back" leads from a step.
func (w *writing) before(step string) string {
	steps := w.steps()
	for i, s := range steps {
		if s == step && i > 0 {
			return w.path(steps[i-1])
		}
	}
	return "/messagerie"
}

func (w *writing) path(step string) string { return "/messagerie/brouillons/" + w.GetId() + "/" + step }

// option is one radio button.
type option struct{ Code, Label, Help string }

// stepPage is one question, or the message, or the recap.
type stepPage struct {
	*writing
	Step          string
	Number, Count int
	Back, Action  string
	// Question of a radio page, its field, what may be chosen and what is.
	Question, Field, Chosen string
	Options                 []option
	// Services are proposed before writing, Open whether their window is.
	Services []*taxonomypb.OnlineService
	Open     bool
	// Target and Usual are answer times in words; empty when unknown.
	Target, Usual string
	Limits        *taxonomypb.TextLimits
	// Recap comes back to the recap after the change of one line.
	Recap bool
}

// Labels are the levels of the selection with the step that changes each.
func (p *stepPage) Labels() []line {
	lines := []line{{stepTheme, p.theme.GetLabel()}}
	if p.topic != nil {
		lines = append(lines, line{stepTopic, p.topic.GetLabel()})
	}
	if p.reason != nil {
		lines = append(lines, line{stepReason, p.reason.GetLabel()})
	}
	return lines
}

type line struct{ Step, Label string }

// newMessage begins the guide's step 2. Nothing is stored before the first answer.
func (v *visit) newMessage() error {
	tree, err := v.tree()
	if err != nil {
		return err
	}
	w := newWriting(&messagingpb.Draft{Id: uuid.NewString()}, tree)
	return v.showQuestion(http.StatusOK, w, stepTheme)
}

// draft reads a draft with what may be chosen.
func (v *visit) draft() (*writing, error) {
	tree, err := v.tree()
	if err != nil {
		return nil, err
	}
	resp, err := v.members.GetDraft(v.ctx, &messagingpb.GetDraftRequest{Id: v.r.PathValue("id")})
	if err != nil {
		return nil, err
	}
	if resp.GetDraft().GetAudience() != v.session.Audience {
		// Begun under another profile, where other things may be chosen.
		return nil, errNoPage
	}
	return newWriting(resp.GetDraft(), tree), nil
}

// save stores what has been chosen and written so far.
func (v *visit) save(w *writing) error {
	_, err := v.members.SaveDraft(v.ctx, &messagingpb.SaveDraftRequest{
		Id: w.GetId(), Audience: v.session.Audience, Theme: w.GetTheme(), Topic: w.GetTopic(), Reason: w.GetReason(),
		TaxonomyVersion: w.Tree.GetVersion(), Text: w.GetText(),
	})
	return err
}

func (v *visit) showStep() error {
	step := v.r.PathValue("step")
	w, err := v.draft()
	if isGone(err) {
		return v.showGone()
	}
	if err != nil {
		return err
	}
	if missing := w.missing(step); missing != "" && step != stepTheme {
		return v.redirect(w.path(missing))
	}
	switch step {
	case stepTheme, stepTopic, stepReason:
		return v.showQuestion(http.StatusOK, w, step)
	case stepMessage:
		return v.showMessage(http.StatusOK, w)
	case stepRecap:
		return v.showRecap(w)
	}
	return errNoPage
}

// isGone tells whether a draft is no more: sent, deleted or too old.
func isGone(err error) bool {
	return status.Code(err) == codes.NotFound && infoOf(err).GetReason() == "DRAFT_NOT_FOUND"
}

// showGone is what the back button finds after a message was sent.
func (v *visit) showGone() error {
	return v.show(http.StatusGone, "problem", problem{
		http.StatusGone, v.tr("Ce brouillon n’existe plus", "This draft is no more"),
		v.tr("Le message a déjà été envoyé, ou le brouillon supprimé. Vos messages envoyés sont dans Ma messagerie : il n’y a rien à renvoyer.",
			"The message was sent already, or the draft deleted. What you have sent is in My messages: there is nothing to send again."),
		"/messagerie", v.tr("Revenir à Ma messagerie", "Back to My messages"),
	})
}

func (v *visit) stepPage(w *writing, step string) *stepPage {
	p := &stepPage{
		writing: w, Step: step, Count: len(w.steps()), Back: w.before(step), Action: w.path(step), Limits: w.Tree.GetTextLimits(),
		Recap: v.r.FormValue("recap") != "",
	}
	for i, s := range w.steps() {
		if s == step {
			p.Number = i + 1
		}
	}
	if p.Recap {
		p.Back = w.path(stepRecap)
	}
	return p
}

// showQuestion is one level of the guide's step 2.
func (v *visit) showQuestion(code int, w *writing, step string, faults ...fault) error {
	p := v.stepPage(w, step)
	switch step {
	case stepTheme:
		p.Question, p.Field, p.Chosen = v.tr("Quel est le thème de votre message ?", "What is the theme of your message?"), "theme", w.GetTheme()
		for _, t := range w.Tree.GetThemes() {
			p.Options = append(p.Options, option{t.GetCode(), t.GetLabel(), t.GetHelp()})
		}
	case stepTopic:
		p.Question, p.Field, p.Chosen = v.tr("Quel est le sujet ?", "What is the topic?"), "topic", w.GetTopic()
		for _, t := range w.theme.GetTopics() {
			p.Options = append(p.Options, option{t.GetCode(), t.GetLabel(), t.GetHelp()})
		}
	case stepReason:
		p.Question, p.Field, p.Chosen = v.tr("Quel est le motif ?", "What is the reason?"), "reason", w.GetReason()
		for _, r := range w.topic.GetReasons() {
			p.Options = append(p.Options, option{r.GetCode(), r.GetLabel(), ""})
		}
	}
	return v.show(code, "question", p, faults...)
}

// showMessage is the guide's step 4, under the window of step 3 when a selection was
// just made for which there is an online service.
func (v *visit) showMessage(code int, w *writing, faults ...fault) error {
	p := v.stepPage(w, stepMessage)
	if v.r.FormValue("proposition") != "" {
		services, err := v.services(w)
		if err != nil {
			return err
		}
		p.Services, p.Open = services, len(services) > 0
	}
	delay, err := v.members.GetExpectedDelay(v.ctx, &messagingpb.GetExpectedDelayRequest{
		Audience: v.session.Audience, Theme: w.GetTheme(), Topic: w.GetTopic(), Reason: w.GetReason(),
	})
	if err == nil { // without it, one can still write
		p.Target, p.Usual = v.days(delay.GetTarget()), v.days(delay.GetUsual())
	}
	return v.show(code, "message", p, faults...)
}

func (v *visit) days(delay *messagingpb.ExpectedDelay) string {
	switch n := delay.GetWorkingDays(); n {
	case 0:
		return ""
	case 1:
		return v.tr("1 jour ouvré", "1 working day")
	default:
		return v.tr("%d jours ouvrés", "%d working days", n)
	}
}

func (v *visit) showRecap(w *writing) error {
	return v.show(http.StatusOK, "recap", v.stepPage(w, stepRecap))
}

// services are those that would answer faster than a message.
func (v *visit) services(w *writing) ([]*taxonomypb.OnlineService, error) {
	resp, err := v.taxonomy.ResolveSuggestion(v.ctx, &taxonomypb.ResolveSuggestionRequest{
		Audience: v.session.Audience, Theme: w.GetTheme(), Topic: w.GetTopic(), Reason: w.GetReason(),
	})
	return resp.GetServices(), err
}

func (v *visit) takeStep() error {
	step := v.r.PathValue("step")
	if uuid.Validate(v.r.PathValue("id")) != nil {
		return errNoPage
	}
	switch step {
	case stepSend:
		return v.send()
	case stepDelete:
		return v.deleteDraft()
	}
	w, err := v.draft()
	if isGone(err) && (step == stepTheme || step == stepMessage) {
		// The first answer, or one that goes on writing after all.
		w, err = v.startOver()
	}
	if isGone(err) {
		return v.showGone()
	}
	if err != nil {
		return err
	}
	switch step {
	case stepTheme, stepTopic, stepReason:
		return v.takeAnswer(w, step)
	case stepMessage:
		return v.takeMessage(w)
	case stepSave:
		return v.autosave(w)
	case stepService:
		return v.leaveWindow(w)
	}
	return errNoPage
}

// startOver is a draft that is not stored, from what the form carries.
func (v *visit) startOver() (*writing, error) {
	tree, err := v.tree()
	if err != nil {
		return nil, err
	}
	draft := &messagingpb.Draft{Id: v.r.PathValue("id"), Theme: v.r.PostFormValue("theme"), Topic: v.r.PostFormValue("topic"), Reason: v.r.PostFormValue("reason")}
	return newWriting(draft, tree), nil
}

// takeAnswer stores one level of the selection. A changed level forgets those below.
func (v *visit) takeAnswer(w *writing, step string) error {
	next := &messagingpb.Draft{Id: w.GetId(), Theme: w.GetTheme(), Topic: w.GetTopic(), Reason: w.GetReason(), Text: w.GetText()}
	answer := v.r.PostFormValue(map[string]string{stepTheme: "theme", stepTopic: "topic", stepReason: "reason"}[step])
	switch step {
	case stepTheme:
		next.Theme = answer
	case stepTopic:
		next.Topic = answer
	case stepReason:
		next.Reason = answer
	}
	chosen := newWriting(next, w.Tree)
	if missing := chosen.missing(w.after(step)); missing == step || answer == "" {
		return v.showQuestion(http.StatusUnprocessableEntity, w, step, v.unanswered(step))
	}
	if err := v.save(chosen); err != nil {
		return err
	}
	after := chosen.after(step)
	// Coming from the recap, levels that are still right are not asked for again.
	if v.r.PostFormValue("recap") != "" {
		if missing := chosen.missing(stepRecap); missing != "" && missing != stepMessage {
			return v.redirect(chosen.path(missing) + "?recap=1")
		}
		after = stepMessage
		if chosen.GetText() != "" {
			after = stepRecap
		}
	}
	if chosen.missing(stepMessage) == "" {
		return v.propose(chosen, after)
	}
	return v.redirect(chosen.path(after))
}

func (v *visit) unanswered(step string) fault {
	switch step {
	case stepTheme:
		return fault{"theme", v.tr("Choisissez un thème.", "Choose a theme.")}
	case stepTopic:
		return fault{"topic", v.tr("Choisissez un sujet.", "Choose a topic.")}
	}
	return fault{"reason", v.tr("Choisissez un motif.", "Choose a reason.")}
}

// propose goes on to the message, by the guide's step 3 when there is an online
// service. Without the taxonomy, or after the proposal, straight on.
func (v *visit) propose(w *writing, after string) error {
	services, err := v.services(w)
	if err != nil || len(services) == 0 {
		return v.redirect(w.path(after))
	}
	v.record(w, services[0], taxonomypb.SuggestionOutcome_SHOWN)
	return v.redirect(w.path(stepMessage) + "?proposition=1")
}

// record counts what became of a proposal. It is a figure: nobody waits for it to be
// right, and a member is not kept from going on.
func (v *visit) record(w *writing, service *taxonomypb.OnlineService, outcome taxonomypb.SuggestionOutcome) {
	// Within a draft, once for each selection, service and outcome.
	key := uuid.NewSHA1(uuid.NameSpaceOID, []byte(strings.Join([]string{w.GetId(), w.GetTheme(), w.GetTopic(), w.GetReason(), service.GetCode(), outcome.String()}, "\x00")))
	_, _ = v.taxonomy.RecordSuggestionOutcome(metadata.AppendToOutgoingContext(v.ctx, "idempotency-key", key.String()), &taxonomypb.RecordSuggestionOutcomeRequest{
		Audience: v.session.Audience, Theme: w.GetTheme(), Topic: w.GetTopic(), Reason: w.GetReason(), Service: service.GetCode(), Outcome: outcome,
	})
}

// useService leads to the online service: the first way out of the window.
func (v *visit) useService() error {
	w, err := v.draft()
	if isGone(err) {
		return v.showGone()
	}
	if err != nil {
		return err
	}
	services, err := v.services(w)
	if err != nil {
		return err
	}
	for _, service := range services {
		if service.GetCode() == v.r.PathValue("service") {
			v.record(w, service, taxonomypb.SuggestionOutcome_FOLLOWED)
			return v.redirect(service.GetUrl())
		}
	}
	return errNoPage
}

// leaveWindow is the two other ways out: to write all the same, or to choose again.
func (v *visit) leaveWindow(w *writing) error {
	services, err := v.services(w)
	outcome, to := taxonomypb.SuggestionOutcome_WROTE_ANYWAY, w.path(stepMessage)
	if v.r.PostFormValue("issue") == "modifier" {
		outcome, to = taxonomypb.SuggestionOutcome_CHANGED_SELECTION, w.path(stepTheme)
	}
	if err == nil && len(services) > 0 {
		v.record(w, services[0], outcome)
	}
	return v.redirect(to)
}

// takeMessage is the end of the guide's step 4. The text is checked by the service
// when it is sent; here, what it will say is told before.
func (v *visit) takeMessage(w *writing) error {
	w.Text = v.r.PostFormValue("texte")
	if missing := w.missing(stepMessage); missing != "" {
		return v.redirect(w.path(missing))
	}
	if len(w.Text) > maxDraftBytes {
		w.Text = strings.ToValidUTF8(w.Text[:maxDraftBytes], "")
	}
	if f := v.checkText(w.Text); f != nil {
		return v.showMessage(http.StatusUnprocessableEntity, w, *f)
	}
	if err := v.save(w); err != nil {
		if faults := v.keepable(err); faults != nil {
			return v.showMessage(http.StatusUnprocessableEntity, w, faults...)
		}
		return v.unsaved(w, err)
	}
	return v.redirect(w.path(stepRecap))
}

// maxDraftBytes is as much of a text as is worth keeping.
const maxDraftBytes = 32000

func (v *visit) keepable(err error) []fault {
	if status.Code(err) == codes.InvalidArgument {
		return []fault{{"text", v.tr("Votre texte est trop long : 750 caractères au plus.", "Your text is too long: at most 750 characters.")}}
	}
	return nil
}

// unsaved shows the message again when it could not be stored, so that nothing that
// was typed is lost.
func (v *visit) unsaved(w *writing, err error) error {
	if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.ResourceExhausted {
		return v.showMessage(http.StatusServiceUnavailable, w, fault{
			"text",
			v.tr("Le service est momentanément indisponible. Votre texte est ci-dessous : réessayez dans quelques instants.",
				"The service is away for a moment. Your text is below: try again in a moment."),
		})
	}
	return err
}

// autosave stores what is in the form, for the script of the page.
func (v *visit) autosave(w *writing) error {
	w.Text = v.r.PostFormValue("texte")
	if err := v.save(w); err != nil {
		code := http.StatusServiceUnavailable
		if status.Code(err) == codes.InvalidArgument {
			code = http.StatusUnprocessableEntity
		}
		v.w.WriteHeader(code)
		return nil
	}
	v.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (v *visit) deleteDraft() error {
	if _, err := v.members.DeleteDraft(v.ctx, &messagingpb.DeleteDraftRequest{Id: v.r.PathValue("id")}); err != nil {
		return err
	}
	v.flash(v.tr("Le brouillon est supprimé.", "The draft was deleted."))
	return v.redirect("/messagerie")
}

// send is the guide's step 5. All that is sent is in the form, and the draft's id is
// the idempotency key: whatever is clicked twice is one message.
func (v *visit) send() error {
	id := v.r.PathValue("id")
	version, _ := strconv.ParseInt(v.r.PostFormValue("version"), 10, 32)
	req := &messagingpb.SubmitMessageRequest{
		Audience: v.session.Audience, Theme: v.r.PostFormValue("theme"), Topic: v.r.PostFormValue("topic"), Reason: v.r.PostFormValue("reason"),
		TaxonomyVersion: int32(version), Text: v.r.PostFormValue("texte"),
	}
	resp, err := v.members.SubmitMessage(metadata.AppendToOutgoingContext(v.ctx, "idempotency-key", id), req)
	if err != nil {
		return v.unsent(req, err)
	}
	// A draft that stays is deleted when it is old; sent again, it is this message.
	_, _ = v.members.DeleteDraft(v.ctx, &messagingpb.DeleteDraftRequest{Id: id})
	return v.redirect("/messagerie/confirmation/" + resp.GetConversation().GetId())
}

// unsent leads to where a refused message can be mended.
func (v *visit) unsent(req *messagingpb.SubmitMessageRequest, err error) error {
	base := "/messagerie/brouillons/" + v.r.PathValue("id") + "/"
	reason := infoOf(err).GetReason()
	switch {
	case strings.HasPrefix(reason, "BODY_"):
		tree, treeErr := v.tree()
		if treeErr != nil {
			return treeErr
		}
		w := newWriting(&messagingpb.Draft{Id: v.r.PathValue("id"), Theme: req.GetTheme(), Topic: req.GetTopic(), Reason: req.GetReason(), Text: req.GetText()}, tree)
		return v.showMessage(http.StatusUnprocessableEntity, w, v.faultsOf(err)...)
	case reason == "TAXONOMY_VERSION_OUTDATED", strings.HasPrefix(reason, "THEME_"), strings.HasPrefix(reason, "TOPIC_"), strings.HasPrefix(reason, "REASON_"):
		v.flash(v.tr("Les thèmes proposés ont changé entre-temps : vérifiez votre choix.", "The themes have changed meanwhile: check your choice."))
		return v.redirect(base + stepRecap)
	}
	return err
}

// showConfirmation is the end of the guide's step 5. It can be opened again.
func (v *visit) showConfirmation() error {
	resp, err := v.members.GetConversation(v.ctx, &messagingpb.GetConversationRequest{Id: v.r.PathValue("id")})
	if err != nil {
		return err
	}
	c := resp.GetConversation()
	target := ""
	delay, err := v.members.GetExpectedDelay(v.ctx, &messagingpb.GetExpectedDelayRequest{
		Audience: c.GetAudience(), Theme: c.GetTheme().GetCode(), Topic: c.GetTopic().GetCode(), Reason: c.GetReason().GetCode(),
	})
	if err == nil {
		target = v.days(delay.GetTarget())
	}
	return v.show(http.StatusOK, "confirmation", map[string]any{"Conversation": c, "Target": target})
}

// searchPage is what was found.
type searchPage struct {
	Words    string
	Reasons  []*taxonomypb.FoundReason
	Services []*taxonomypb.OnlineService
}

func (v *visit) search() error {
	page := searchPage{Words: strings.TrimSpace(v.r.FormValue("q"))}
	if page.Words == "" {
		return v.redirect("/messagerie/nouveau")
	}
	words := []rune(page.Words)
	resp, err := v.taxonomy.SearchReasons(v.ctx, &taxonomypb.SearchReasonsRequest{Audience: v.session.Audience, Q: string(words[:min(len(words), 100)])})
	if err != nil {
		return err
	}
	page.Reasons, page.Services = resp.GetReasons(), resp.GetServices()
	return v.show(http.StatusOK, "search", page)
}

// chooseFound begins a message with a selection that was found by words.
func (v *visit) chooseFound() error {
	tree, err := v.tree()
	if err != nil {
		return err
	}
	chosen, err := url.ParseQuery(v.r.PostFormValue("choix"))
	if err != nil {
		return errNoPage
	}
	w := newWriting(&messagingpb.Draft{Id: uuid.NewString(), Theme: chosen.Get("t"), Topic: chosen.Get("s"), Reason: chosen.Get("m")}, tree)
	if w.theme == nil {
		return errNoPage
	}
	if err := v.save(w); err != nil {
		return err
	}
	if missing := w.missing(stepMessage); missing != "" {
		return v.redirect(w.path(missing))
	}
	return v.propose(w, stepMessage)
}
