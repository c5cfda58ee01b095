// Package eventspb is what the broker carries: the payloads of events (generated
// from events.proto) and the names by which they are found.
//
// Payloads hold ids, codes, times and counters: never a name, an address, a
// telephone number or a word of what was written. The stream keeps events by age
// and size alone, on disk, refuses new ones when it is full, and lets no client
// delete or purge.
package eventspb

import (
	"slices"
	"strings"
	"time"
)

// StreamName is the JetStream stream that holds every event.
const StreamName = "MESSAGERIE"

// SubjectPrefix begins every subject of the stream. A subject is
// messagerie.<event>.v1.<caisse>.
const SubjectPrefix = "messagerie."

// Types of events. A type is part of the subject, and of ce-type between its domain and its
// version; the payload is the message of the same name in this package.
const (
	TypeMessageSubmitted          = "message-submitted"
	TypeReplyPosted               = "reply-posted"
	TypeFollowupPosted            = "followup-posted"
	TypeConversationClaimed       = "conversation-claimed"
	TypeConversationRecategorised = "conversation-recategorised"
	TypeConversationClosed        = "conversation-closed"
	TypeConversationReopened      = "conversation-reopened"
	TypeConversationErased        = "conversation-erased"
)

// Durable consumers of the stream.
const (
	// NotifierConsumer is the notifier's.
	NotifierConsumer = "notifier"
)

// NotifierSubjects are the subjects that the notifier's consumer filters by.
func NotifierSubjects() []string {
	return []string{AllCaisses(TypeMessageSubmitted), AllCaisses(TypeReplyPosted)}
}

// Retention of the stream.
const (
	// MaxAge is how long the broker keeps an event. The event log in PostgreSQL keeps it for
	// longer (MESSAGING_EVENT_LOG_RETENTION).
	MaxAge = 14 * 24 * time.Hour
	// DuplicateWindow is how long the broker remembers a message id. Beyond it,
	// consumers tell repeated events by their ids.
	DuplicateWindow = 24 * time.Hour
)

// DefaultDomain is the domain of types and sources that an installation has unless it is
// set.
const DefaultDomain = "ma-messagerie.org"

// version ends the CloudEvents type, and is a token of the subject.
const version = ".v1"

// CEType is the CloudEvents type of an event type: it begins with the reversed domain of
// who defines what it means (CloudEvents 1.0, type).
func CEType(domain, eventType string) string {
	labels := strings.Split(domain, ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "." + eventType + version
}

// TypeOf is the event type that a CloudEvents type names, whatever its domain; empty where
// it is of another version of the payloads than this one, or of none.
func TypeOf(ceType string) string {
	name, is := strings.CutSuffix(ceType, version)
	at := strings.LastIndexByte(name, '.')
	if !is || at < 0 {
		return ""
	}
	return name[at+1:]
}

// Schema is the CloudEvents dataschema of an event type: the type URL of its payload, as
// google.protobuf.Any writes it.
func Schema(eventType string) string {
	var name strings.Builder
	for word := range strings.SplitSeq(eventType, "-") {
		if word != "" {
			name.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return "https://type.googleapis.com/messagerie.events.v1." + name.String()
}

// Subject is where an event is published. The caisse must be one token: lower-case
// letters, digits and hyphens.
func Subject(eventType, caisse string) string {
	return SubjectPrefix + eventType + version + "." + caisse
}

// AllCaisses is the filter for one type of event of every caisse.
func AllCaisses(eventType string) string { return Subject(eventType, "*") }

// Everything is the filter for every event.
const Everything = SubjectPrefix + ">"
