package messaging

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

// Limits of a text, in characters, both included.
const (
	// MinMemberChars and MaxMemberChars are the guide's step 4.
	MinMemberChars = 10
	MaxMemberChars = 750
	// MinAgentChars and MaxAgentChars are ours: the guide limits members alone.
	MinAgentChars = 1
	MaxAgentChars = 5000
)

// text is what somebody wrote, in the form in which it is counted, stored and
// given back.
type text struct {
	body  string
	chars int
}

// normalise puts a text into that form and refuses what may not be in one.
//
// A character is a Unicode code point, counted after CRLF and CR have become LF,
// after NFC, and after outer white space has been trimmed. It is what PostgreSQL's
// char_length and JavaScript's [...s].length count; testdata/text.json holds the
// vectors that all three must agree on.
//
// Refused are NUL and the other control characters but tab and newline, and the
// bidirectional embeddings, overrides and isolates, which can make a text read
// otherwise than it is.
func normalise(raw string, least, most int) (text, error) {
	const field = "text"
	if !utf8.ValidString(raw) {
		return text{}, rpc.Invalid(field, errorpb.ErrorReason_BODY_NOT_UTF8, "the text is not valid UTF-8")
	}
	body := strings.ReplaceAll(raw, "\r\n", "\n")
	body = strings.ReplaceAll(body, "\r", "\n")
	body = strings.TrimFunc(norm.NFC.String(body), unicode.IsSpace)
	chars, visible := 0, 0
	for _, r := range body {
		chars++
		if forbidden(r) {
			return text{}, rpc.Invalid(field, errorpb.ErrorReason_BODY_CHARACTER_FORBIDDEN,
				fmt.Sprintf("character %d is %U, which a text may not contain", chars, r),
				"character", fmt.Sprintf("%U", r), "position", strconv.Itoa(chars))
		}
		if !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) {
			visible++
		}
	}
	if err := (text{body, chars}).within(least, most); err != nil {
		return text{}, err
	}
	if visible == 0 {
		// Ten zero-width spaces are ten characters and no message.
		return text{}, rpc.Invalid(field, errorpb.ErrorReason_BODY_BLANK, "the text has no visible character")
	}
	return text{body, chars}, nil
}

// within refuses a text with fewer or more characters.
func (t text) within(least, most int) error {
	switch {
	case t.chars > most:
		return outOfBounds("text", errorpb.ErrorReason_BODY_TOO_LONG, "at most", most, t.chars)
	case t.chars < least:
		return outOfBounds("text", errorpb.ErrorReason_BODY_TOO_SHORT, "at least", least, t.chars)
	}
	return nil
}

func outOfBounds(field string, reason errorpb.ErrorReason, bound string, limit, actual int) error {
	return rpc.Invalid(field, reason,
		fmt.Sprintf("the text has %d characters; %s %d are accepted", actual, bound, limit),
		"limit", strconv.Itoa(limit), "actual", strconv.Itoa(actual))
}

// forbidden tells whether a text may not contain the character.
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
