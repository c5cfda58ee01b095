// Package text is what somebody writes: the form in which it is counted, stored and given
// back, and how long it may be.
//
// A character is a Unicode code point, counted after the text has been cleaned: package
// chassis/plain says of what. PostgreSQL's char_length and JavaScript's [...s].length count
// the same; services/messaging/testdata/text.json has vectors on which all three agree.
package text

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/ma-messagerie/messagerie/chassis/plain"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// Limits bound the number of characters of a text, both included.
type Limits struct{ Min, Max int }

var (
	// OfMember is what a member writes first: the guide's step 4.
	OfMember = Limits{10, 750}
	// OfFollowUp is what they add to it, be it "Oui.".
	OfFollowUp = Limits{1, 750}
	// OfAgent is a reply or a template. It is ours: the guide limits members alone.
	OfAgent = Limits{1, 5000}
	// OfClosing is what a member reads of why their conversation was closed.
	OfClosing = Limits{1, 750}
	// OfNote is an internal note.
	OfNote = Limits{1, 2000}
	// OfHold is why a conversation is on hold.
	OfHold = Limits{1, 200}
)

// Text is what somebody wrote, in the form in which it is counted, stored and
// given back.
type Text struct {
	Body  string
	Chars int
}

// Normalise returns a text in the form in which it is counted and stored (see [plain.Text]), or
// an [rpc.Error] on the field "text" that says what is wrong with it and what the limit is.
func (l Limits) Normalise(raw string) (Text, error) {
	const field = "text"
	if !utf8.ValidString(raw) {
		return Text{}, rpc.Invalid(field, errorpb.ErrorReason_BODY_NOT_UTF8, "the text is not valid UTF-8")
	}
	body, _ := plain.Text(raw)
	written := Text{body, utf8.RuneCountInString(body)}
	if err := l.Check(written); err != nil {
		return Text{}, err
	}
	if plain.Blank(body) {
		// Ten zero-width spaces are ten characters and no message.
		return Text{}, rpc.Invalid(field, errorpb.ErrorReason_BODY_BLANK, "the text has no visible character")
	}
	return written, nil
}

// CheckBegun refuses a text that somebody is still at work on if it is too long: whether it is
// enough is seen when it is sent. Outer white space counts, as it is kept, and so does what will
// be taken out beyond as much again.
func (l Limits) CheckBegun(raw string) error {
	cleaned, removed := plain.Clean(raw)
	return Limits{0, l.Max}.Check(Text{Chars: utf8.RuneCountInString(cleaned) + max(0, removed-l.Max)})
}

// Check refuses a text with fewer or more characters.
func (l Limits) Check(t Text) error {
	switch {
	case t.Chars > l.Max:
		return outOfBounds("text", errorpb.ErrorReason_BODY_TOO_LONG, "at most", l.Max, t.Chars)
	case t.Chars < l.Min:
		return outOfBounds("text", errorpb.ErrorReason_BODY_TOO_SHORT, "at least", l.Min, t.Chars)
	}
	return nil
}

func outOfBounds(field string, reason errorpb.ErrorReason, bound string, limit, actual int) error {
	return rpc.Invalid(field, reason,
		fmt.Sprintf("the text has %d characters; %s %d are accepted", actual, bound, limit),
		"limit", strconv.Itoa(limit), "actual", strconv.Itoa(actual))
}

// Faults are what is wrong with a text, for [rpc.AlsoCheck].
func (l Limits) Faults(raw string) []rpc.Violation {
	_, err := l.Normalise(raw)
	return rpc.FaultsOf(err)
}
