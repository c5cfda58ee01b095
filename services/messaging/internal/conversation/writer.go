package conversation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// Names is the form in which the fund shows the names of its agents, to members and in messages.
// A person has a right to know the first name, the last name and the service of whoever deals
// with their affair, unless public safety forbids it (CRPA, L111-2).
type Names string

// The forms of a name.
const (
	// InFull is "Claire Bernard".
	InFull Names = "full"
	// Initial is "Claire B.".
	Initial Names = "initial"
	// OfService is the label of the queue that was in charge, "Prestations familiales".
	OfService Names = "service"
)

// UnmarshalText reads a form by its name.
func (n *Names) UnmarshalText(text []byte) error {
	switch form := Names(text); form {
	case InFull, Initial, OfService:
		*n = form
		return nil
	}
	return fmt.Errorf("%q is none of full, initial, service", text)
}

// of is an agent's name in this form.
func (n Names) of(name, service string) string {
	switch {
	case n == OfService || strings.TrimSpace(name) == "":
		return service
	case n == Initial:
		return cmp.Or(withInitial(name), service)
	}
	return name
}

// withInitial is a first name with the initial of the last, which begins with the first
// upper-case letter behind the first name: that of "Jean de La Tour" is L. It is empty where it
// is not certain which is which, as in "BERNARD Claire" or an address: this form is to keep last
// names back.
func withInitial(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsSpace(r) && !strings.ContainsRune("-'’", r)
	}) {
		return ""
	}
	words := strings.Fields(name)
	if len(words) < 2 || !strings.ContainsFunc(words[0], unicode.IsLower) || !unicode.IsUpper([]rune(words[0])[0]) || slices.Contains(titles, strings.ToLower(words[0])) {
		return ""
	}
	initial := ' '
	for _, word := range words[1:] {
		for _, r := range word {
			if unicode.IsUpper(r) {
				return words[0] + " " + string(r) + "."
			}
			if initial == ' ' && unicode.IsLetter(r) {
				initial = unicode.ToUpper(r)
			}
		}
	}
	if initial == ' ' {
		return ""
	}
	return words[0] + " " + string(initial) + "."
}

// titles are what may stand before a name.
var titles = []string{"m", "mr", "mme", "mlle", "dr", "me", "pr", "madame", "monsieur", "mademoiselle", "docteur"}

// writer is who wrote a message of a conversation.
func (n Names) writer(row *Row, message *Message) *messagingpb.Writer {
	if message.Author == int16(messagingpb.Author_MEMBER) {
		return &messagingpb.Writer{Kind: messagingpb.Writer_MEMBER}
	}
	service := row.QueueLabel
	if message.Service != nil {
		service = *message.Service
	}
	if message.AgentName == nil { // stored by an earlier version
		return &messagingpb.Writer{Kind: messagingpb.Writer_AGENT, Name: service}
	}
	if message.Machine != nil && *message.Machine {
		return &messagingpb.Writer{Kind: messagingpb.Writer_MACHINE, Name: *message.AgentName}
	}
	return &messagingpb.Writer{Kind: messagingpb.Writer_AGENT, Name: n.of(*message.AgentName, service)}
}
