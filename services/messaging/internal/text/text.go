// Package text is what somebody writes: the form in which it is counted, stored and given
// back, how long it may be, and what it may not contain.
//
// A character is a Unicode code point, counted after CRLF and CR have become LF, after
// NFC, and after outer white space has been trimmed. PostgreSQL's char_length and
// JavaScript's [...s].length count the same; services/messaging/testdata/text.json has
// vectors on which all three agree.
package text

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// Limits bound the number of characters of a text, both included.
type Limits struct{ Min, Max int }

var (
	// OfMember is what a member writes: the guide's step 4.
	OfMember = Limits{10, 750}
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

// Normalise returns a text in the form in which it is counted and stored, or an
// [rpc.Error] on the field "text" that says what is wrong with it and what the limit is.
//
// Refused are NUL and the other control characters but tab and newline, and the
// bidirectional embeddings, overrides and isolates, which can make a text read
// otherwise than it is.
func (l Limits) Normalise(raw string) (Text, error) {
	const field = "text"
	if !utf8.ValidString(raw) {
		return Text{}, rpc.Invalid(field, errorpb.ErrorReason_BODY_NOT_UTF8, "the text is not valid UTF-8")
	}
	body := strings.TrimFunc(normal(raw), unicode.IsSpace)
	chars, visible := 0, 0
	for _, r := range body {
		chars++
		if forbidden(r) {
			return Text{}, rpc.Invalid(field, errorpb.ErrorReason_BODY_CHARACTER_FORBIDDEN,
				fmt.Sprintf("character %d is %U, which a text may not contain", chars, r),
				"character", fmt.Sprintf("%U", r), "position", strconv.Itoa(chars))
		}
		if !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) {
			visible++
		}
	}
	if err := l.Check(Text{body, chars}); err != nil {
		return Text{}, err
	}
	if visible == 0 {
		// Ten zero-width spaces are ten characters and no message.
		return Text{}, rpc.Invalid(field, errorpb.ErrorReason_BODY_BLANK, "the text has no visible character")
	}
	return Text{body, chars}, nil
}

// normal is the form in which characters are counted, but for outer white space.
func normal(raw string) string {
	return norm.NFC.String(strings.ReplaceAll(strings.ReplaceAll(raw, "\r\n", "\n"), "\r", "\n"))
}

// CheckBegun refuses a text that somebody is still at work on if it is too long: what is in it,
// and whether it is enough, is seen when it is sent. Outer white space counts, as it is kept.
func (l Limits) CheckBegun(raw string) error {
	return Limits{0, l.Max}.Check(Text{Chars: utf8.RuneCountInString(normal(raw))})
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

// forbidden reports whether a text may not contain the character.
func forbidden(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case unicode.IsControl(r): // C0, DEL, C1
		return true
	case r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069: // bidirectional
		return true
	}
	return false
}

// Faults are what is wrong with a text, for [rpc.AlsoCheck].
func (l Limits) Faults(raw string) []rpc.Violation {
	_, err := l.Normalise(raw)
	return rpc.FaultsOf(err)
}
