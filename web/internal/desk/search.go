package desk

import (
	"net/url"
	"strings"
	"unicode"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// Find is the address of the search. What is looked for is never in it: a number is personal.
const Find = "/agent/recherche"

// What a quoted text can be meant as.
const (
	AsReference = "reference"
	AsNumber    = "numero"
)

// referenceAlphabet and referenceLength are those of references without "MSA-".
const (
	referencePrefix   = "MSA"
	referenceAlphabet = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
	referenceLength   = 8
)

// Search is what an agent looks for: what a member or a colleague quotes, or the other
// conversations of one's member.
type Search struct {
	// Quoted is as it was typed.
	Quoted string
	// Conversation is the id of one whose member is meant; then Quoted is empty.
	Conversation string
	// As is what Quoted is taken for, Other what else it could be; empty if nothing else.
	As, Other string
	token     string
}

// SearchOf reads a form.
//
// What begins with MSA is a reference. So is what has eight characters of a reference, unless
// the form says that it is a number; all else is a number.
func SearchOf(form url.Values) Search {
	s := Search{Quoted: strings.TrimSpace(form.Get("q")), Conversation: form.Get("conversation"), As: AsNumber, token: form.Get("suite")}
	if s.Conversation != "" {
		s.Quoted = ""
	}
	letters := strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, s.Quoted)
	switch {
	case strings.HasPrefix(letters, referencePrefix):
		s.As = AsReference
	case len(letters) == referenceLength:
		// One that is none by its alphabet may have a 0 for an O.
		s.As, s.Other = AsNumber, AsReference
		if strings.Trim(letters, referenceAlphabet) == "" {
			s.As, s.Other = AsReference, AsNumber
		}
		if form.Get("sens") == s.Other {
			s.As, s.Other = s.Other, s.As
		}
	}
	return s
}

// Empty reports whether nothing is looked for.
func (s Search) Empty() bool { return s.Quoted == "" && s.Conversation == "" }

// From is the page of the conversation whose member is meant; empty without one.
func (s Search) From() string {
	if s.Conversation == "" {
		return ""
	}
	return Path(s.Conversation, "")
}

// Request looks for it.
func (s Search) Request() *messagingpb.FindConversationsRequest {
	req := &messagingpb.FindConversationsRequest{ConversationId: s.Conversation, PageToken: s.token}
	switch {
	case s.Conversation != "":
	case s.As == AsReference:
		req.Reference = s.Quoted
	default:
		req.MemberNumber = s.Quoted
	}
	return req
}
