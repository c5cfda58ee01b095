// Package writing is a member's message before it is sent: what has been chosen from the
// taxonomy, what has been written, and which page comes next.
//
// # What is promised
//
// A page is shown only when all that it needs has been answered: whoever opens a later
// one by its address, or whose choice has left the taxonomy since, is led to the first
// question that is open. Nothing is stored here; the draft is the messaging service's.
//
// # When it breaks
//
// A text is counted here so that its member sees on the right page what to correct. The
// service counts again and decides: if the two ever differ, its refusal is shown in the same
// place. The vectors of services/messaging/testdata/text.json keep them alike.
package writing

import (
	"slices"
	"unicode/utf8"

	"github.com/ma-messagerie/messagerie/chassis/plain"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// The pages of the guide's steps 2 to 5, by the last part of their address.
const (
	Theme  = "theme"
	Topic  = "sujet"
	Reason = "motif"
	Text   = "message"
	Recap  = "recapitulatif"
)

// Draft is a message on its way, with what may be chosen.
type Draft struct {
	*messagingpb.Draft
	// Tag is that of the draft as the page has seen it (RFC 9110, 8.8.3); empty if it has not.
	Tag string
	// Other is what another tab has written into it since.
	Other  string
	Tree   *taxonomypb.GetTaxonomyResponse
	theme  *taxonomypb.Theme
	topic  *taxonomypb.Topic
	reason *taxonomypb.Reason
}

// New finds a draft's selection in the tree. What is no longer there is as if it had
// not been chosen.
func New(draft *messagingpb.Draft, tree *taxonomypb.GetTaxonomyResponse) *Draft {
	d := &Draft{Draft: draft, Tree: tree}
	for _, theme := range tree.GetThemes() {
		if theme.GetCode() == draft.GetTheme() {
			d.theme = theme
		}
	}
	for _, topic := range d.theme.GetTopics() {
		if topic.GetCode() == draft.GetTopic() {
			d.topic = topic
		}
	}
	for _, reason := range d.topic.GetReasons() {
		if reason.GetCode() == draft.GetReason() {
			d.reason = reason
		}
	}
	draft.Theme, draft.Topic, draft.Reason = d.theme.GetCode(), d.topic.GetCode(), d.reason.GetCode()
	draft.TaxonomyVersion = tree.GetVersion()
	return d
}

// OtherProfile is that a draft was begun under another profile than the one that its member
// acts as, where other things may be chosen.
type OtherProfile struct {
	// Audience is the draft's profile.
	Audience taxonomypb.Audience
	*Draft
}

func (e *OtherProfile) Error() string { return "the draft is of the profile " + e.Audience.String() }

// Of returns an OtherProfile if the draft is of another profile than this; one that is of
// none is of any.
func (d *Draft) Of(profile taxonomypb.Audience) error {
	if a := d.GetAudience(); a != 0 && a != profile {
		return &OtherProfile{Audience: a, Draft: d}
	}
	return nil
}

// Request stores the draft under a profile.
func (d *Draft) Request(profile taxonomypb.Audience) *messagingpb.SaveDraftRequest {
	return &messagingpb.SaveDraftRequest{
		Id: d.GetId(), Audience: profile, Theme: d.GetTheme(), Topic: d.GetTopic(), Reason: d.GetReason(),
		TaxonomyVersion: d.Tree.GetVersion(), Text: d.GetText(),
	}
}

// With returns the draft with one level of the selection answered. A changed level
// forgets those below that it does not have.
func (d *Draft) With(step, answer string) *Draft {
	next := &messagingpb.Draft{Id: d.GetId(), Theme: d.GetTheme(), Topic: d.GetTopic(), Reason: d.GetReason(), Text: d.GetText()}
	switch step {
	case Theme:
		next.Theme = answer
	case Topic:
		next.Topic = answer
	case Reason:
		next.Reason = answer
	}
	return New(next, d.Tree)
}

// Steps are the pages that this audience goes through, in order.
func (d *Draft) Steps() []string {
	steps := []string{Theme, Topic, Reason}[:min(max(int(d.Tree.GetDepth()), 1), 3)]
	return append(steps[:len(steps):len(steps)], Text, Recap)
}

// Missing is the first step that has to be done again before a page can be shown;
// empty when none.
func (d *Draft) Missing(step string) string {
	for _, before := range d.Steps() {
		if before == step {
			return ""
		}
		if !d.answered(before) {
			return before
		}
	}
	return Theme
}

func (d *Draft) answered(step string) bool {
	switch step {
	case Theme:
		return d.theme != nil
	case Topic:
		return d.topic != nil
	case Reason:
		return d.reason != nil
	case Text:
		return d.GetText() != ""
	}
	return false
}

// After is the step that follows one.
func (d *Draft) After(step string) string {
	steps := d.Steps()
	for i, s := range steps[:len(steps)-1] {
		if s == step {
			return steps[i+1]
		}
	}
	return Recap
}

// Before is where "back" leads from a step.
func (d *Draft) Before(step string) string {
	steps := d.Steps()
	for i, s := range steps {
		if s == step && i > 0 {
			return d.Path(steps[i-1])
		}
	}
	return "/messagerie"
}

// Path is the address of a step.
func (d *Draft) Path(step string) string { return Path(d.GetId(), step) }

// Path is the address of a draft's step.
func Path(id, step string) string { return Drafts + id + "/" + step }

// Drafts is what the addresses of drafts begin with.
const Drafts = "/messagerie/brouillons/"

// Sent reports whether the last that a member has sent among the messages is what a draft has, and
// was sent since that was saved: its sending was answered by a fault, and it is a draft still. What
// was written since in the same words is another message.
func Sent(messages []*messagingpb.Message, draft *messagingpb.Draft) bool {
	for _, m := range slices.Backward(messages) {
		if m.GetAuthor() == messagingpb.Author_MEMBER {
			return Same(m.GetText(), draft.GetText()) && !m.GetCreateTime().AsTime().Before(draft.GetUpdateTime().AsTime())
		}
	}
	return false
}

// Same reports whether two texts are the same to the service.
func Same(a, b string) bool { return normal(a) == normal(b) }

// normal is a text as the service stores it.
func normal(text string) string {
	text, _ = plain.Text(text)
	return text
}

// Option is one of the answers to a question.
type Option struct{ Code, Label, Help string }

// Question is what one level of the selection can be answered with, and the answer so
// far; none where the level above is open.
func (d *Draft) Question(step string) (options []Option, chosen string) {
	switch step {
	case Theme:
		for _, t := range d.Tree.GetThemes() {
			options = append(options, Option{t.GetCode(), t.GetLabel(), t.GetHelp()})
		}
		return options, d.GetTheme()
	case Topic:
		for _, t := range d.theme.GetTopics() {
			options = append(options, Option{t.GetCode(), t.GetLabel(), t.GetHelp()})
		}
		return options, d.GetTopic()
	}
	for _, r := range d.topic.GetReasons() {
		options = append(options, Option{r.GetCode(), r.GetLabel(), ""})
	}
	return options, d.GetReason()
}

// Line is one level of a selection with the step that changes it.
type Line struct{ Step, Label string }

// Lines are the levels of the selection, as far as it was made.
func (d *Draft) Lines() []Line {
	lines := []Line{{Theme, d.theme.GetLabel()}}
	if d.topic != nil {
		lines = append(lines, Line{Topic, d.topic.GetLabel()})
	}
	if d.reason != nil {
		lines = append(lines, Line{Reason, d.reason.GetLabel()})
	}
	return lines
}

// Count counts a text's characters as the service does: Unicode code points after the text was
// cleaned (see [plain.Text]). The script of the page counts alike.
func Count(text string) int { return utf8.RuneCountInString(normal(text)) }

// Limits are how many characters a message may have where a taxonomy says nothing: the
// guide's. One that is published may narrow them.
func Limits(tree *taxonomypb.GetTaxonomyResponse) *taxonomypb.TextLimits {
	if limits := tree.GetTextLimits(); limits.GetMax() > 0 {
		return limits
	}
	return &taxonomypb.TextLimits{Min: 10, Max: 750}
}

// LimitsFurther are how many characters a further message may have: people answer in a word.
func LimitsFurther(tree *taxonomypb.GetTaxonomyResponse) *taxonomypb.TextLimits {
	return &taxonomypb.TextLimits{Min: 1, Max: Limits(tree).GetMax()}
}
