// Package provider calls the providers of e-mail and SMS: SendGrid, an SMTP relay
// and Twilio.
//
// What is promised: each call ends within its context's time, in an Answer that says
// whether the provider may have taken the message. Accepted, Refused and NotSent are
// certain; whatever is not is Unknown. No call is repeated here, so a message is sent
// at most once a call, by SendGrid or, if that certainly did not take it, by the relay.
//
// How: HTTP requests and the SMTP dialogue are watched for the moment from which the
// provider may have all of the message (call, smtpMailer.transact). An answer's status
// and error code decide its Class (classify, twilioAnswer, smtpRefusal). A Gate
// guards each provider and keeps calls back while most of them fail, our
// credentials are refused, or the provider has asked for a pause. A provider that is a
// Finder can be asked whether it has a message.
//
// When it breaks: a provider that answers 429, 500 or 503 and sends all the same gets
// the message again. One that never answers leaves each of its calls Unknown.
package provider

import (
	"context"
	"time"
)

// Class says what is known about a call to a provider, which decides what may be
// done next. Everything hangs on one question: may the provider have taken it?
type Class string

const (
	// Accepted means: the provider said so.
	Accepted Class = "accepted"
	// Refused means: the provider said that it never will.
	Refused Class = "refused"
	// NotSent means: it was certainly not taken; it may be sent again at once.
	NotSent Class = "not_sent"
	// ConfigFault means: our credentials or our sender were refused. No delivery
	// is to blame, so none pays for it with an attempt.
	ConfigFault Class = "config_fault"
	// Unknown means: the request left and no answer that settles it came back.
	Unknown Class = "unknown"
	// Suppressed means: no provider was called, because there is nobody to send it
	// to, or nothing that could be rendered.
	Suppressed Class = "suppressed"
	// Found means: asked about an earlier attempt in doubt, the provider said that
	// it has the message. Nothing was sent.
	Found Class = "found"
	// LookupFailed means: it could not be asked, so the doubt stays and nothing
	// was sent.
	LookupFailed Class = "lookup_failed"
	// Held means: the provider was not called, because it is being left alone.
	Held Class = "held"
)

// Answer is the end of a call to a provider. There is no error beside it: each
// way in which a call can end is a class.
type Answer struct {
	Class Class
	// Status is the HTTP status or SMTP code, 0 when no answer came.
	Status int
	// MessageID is what the provider calls the message.
	MessageID string
	// RetryAfter is how long the provider wants to be left alone, 0 if it did
	// not say.
	RetryAfter time.Duration
	// Reason is a code of ours; a provider's words may repeat an address.
	Reason string
	// Provider is who gave the answer, where there is a choice.
	Provider string
}

// Mailer sends e-mails. A call ends before its context does, by itself; it is never
// repeated inside. Implementations are safe for concurrent use.
type Mailer interface {
	Mail(ctx context.Context, m Email) Answer
}

// Texter sends SMS, on a Mailer's terms.
type Texter interface {
	Text(ctx context.Context, s SMS) Answer
}

// Finder is a mailer or a texter that can be asked whether it has taken a message.
// It is asked before a message is sent again that it may have taken.
type Finder[M any] interface {
	// Find ends as Found, as NotSent if the provider does not know of
	// the message, or as LookupFailed. It was not sent before since.
	Find(ctx context.Context, message M, since time.Time) Answer
}

// Email is an e-mail ready to leave.
type Email struct {
	// DeliveryID is what the provider's reports about this mail will carry.
	DeliveryID string
	// To is one address, checked; never logged.
	To                  string
	Subject, Text, HTML string
}

// SMS is an SMS ready to leave: one part of GSM 7-bit.
type SMS struct {
	// DeliveryID is what the provider's reports about this SMS will carry.
	DeliveryID string
	// To is a number in E.164, checked; never logged.
	To   string
	Body string
}

const (
	// reasonUnreadable: the answer to a question is not what the provider promises.
	reasonUnreadable = "LOOKUP_UNREADABLE"
	// reasonBreakerOpen: most calls to the provider fail.
	reasonBreakerOpen = "BREAKER_OPEN"
	// reasonPauseAsked: the provider asked to be left alone.
	reasonPauseAsked = "PAUSE_ASKED"
)

// Names of the providers, as the ledger and the metrics have them.
const (
	NameSendGrid = "sendgrid"
	NameSMTP     = "smtp"
	NameTwilio   = "twilio"
)
