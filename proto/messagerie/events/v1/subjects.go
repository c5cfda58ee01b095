// Package eventspb is what the broker carries: the payloads of events (generated
// from events.proto) and the names by which they are found.
//
// Payloads hold ids, codes, times and counters: never a name, an address, a
// telephone number or a word of what was written. The stream keeps events by age
// and size alone, on disk, refuses new ones when it is full, and lets no client
// delete or purge.
package eventspb

import "time"

// StreamName is the JetStream stream that holds every event.
const StreamName = "MESSAGERIE"

// SubjectPrefix begins every subject of the stream. A subject is
// messagerie.<event>.v1.<caisse>.
const SubjectPrefix = "messagerie."

// Types of events. A type is what ce-type says; the payload is the message of
// the same name in this package.
const (
	TypeMessageSubmitted          = "message-submitted"
	TypeReplyPosted               = "reply-posted"
	TypeFollowupPosted            = "followup-posted"
	TypeConversationClaimed       = "conversation-claimed"
	TypeConversationRecategorised = "conversation-recategorised"
	TypeConversationClosed        = "conversation-closed"
	TypeConversationReopened      = "conversation-reopened"
	TypeErasureRequested          = "erasure-requested"
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
	// MaxAge is how long the broker keeps an event. PostgreSQL keeps it for good.
	MaxAge = 14 * 24 * time.Hour
	// DuplicateWindow is how long the broker remembers a message id. Beyond it,
	// consumers tell repeated events by their ids.
	DuplicateWindow = 24 * time.Hour
)

// CEType is the CloudEvents type of an event type.
func CEType(eventType string) string { return SubjectPrefix + eventType + ".v1" }

// Subject is where an event is published. The caisse must be one token: lower-case
// letters, digits and hyphens.
func Subject(eventType, caisse string) string { return CEType(eventType) + "." + caisse }

// AllCaisses is the filter for one type of event of every caisse.
func AllCaisses(eventType string) string { return Subject(eventType, "*") }

// Everything is the filter for every event.
const Everything = SubjectPrefix + ">"
