package bus

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errNoAck is the broker's silence about an event, errDenied its refusal of a subject.
var (
	errNoAck  = errors.New("no acknowledgement")
	errDenied = errors.New("the broker's permissions deny the subject")
)

// Reasons of [Refusal] that concern the subject: other events of it are refused, too.
const (
	NoStream          = "NO_STREAM"
	NoAcknowledgement = "NO_ACKNOWLEDGEMENT"
	Denied            = "DENIED"
)

// brokersOwn are the errors by which the broker says that it would take no event at all now.
var brokersOwn = map[jetstream.ErrorCode]bool{
	10008:                                  true, // the cluster has no leader
	10009:                                  true, // the cluster has none for this stream
	10023:                                  true, // insufficient resources
	10028:                                  true, // the account's memory is full
	10047:                                  true, // the account's storage is full
	10077:                                  true, // the stream does not store: full, or its disk fails
	jetstream.JSErrCodeJetStreamNotEnabled: true,
	jetstream.JSErrCodeJetStreamNotEnabledForAccount: true,
}

// Refusal returns why an event was not taken, from its error of [Bus.Publish], by a stable
// name for operators. own is true if the cause may be the event itself: its subject, which
// the stream does not have or the broker does not permit, or its size. Otherwise any event
// would have been refused.
//
// A missing acknowledgement has its cause in the event only if others were acknowledged
// meanwhile.
func Refusal(err error) (reason string, own bool) {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return "", false
	case errors.As(err, &api):
		return "JETSTREAM_" + strconv.Itoa(int(api.ErrorCode)), !brokersOwn[api.ErrorCode]
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return NoStream, true
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
		return "EVENT_INVALID", true
	case errors.Is(err, errDenied):
		return Denied, true
	case errors.Is(err, errNoAck):
		return NoAcknowledgement, true
	default:
		return "BROKER_AWAY", false
	}
}

// denials are subjects that the broker does not permit. It answers no event with that, but
// reports it on the connection, as text.
type denials struct {
	mu       sync.Mutex
	subjects map[string]bool
	// watchers are called with each denied subject.
	watchers map[*func(string)]bool
}

// denialsMost bounds the subjects that are remembered, each until the next event of it.
const denialsMost = 10_000

var denialText = regexp.MustCompile(`(?i)permissions violation for publish to "([^"]+)"`)

// learn takes an error of the connection, and reports whether it is a denial.
func (d *denials) learn(err error) bool {
	found := denialText.FindStringSubmatch(err.Error())
	if found == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.subjects == nil || len(d.subjects) >= denialsMost {
		d.subjects = make(map[string]bool)
	}
	d.subjects[found[1]] = true
	for watcher := range d.watchers {
		(*watcher)(found[1])
	}
	return true
}

// watch calls a function when a subject of these events is denied, until stop is called.
func (d *denials) watch(msgs []*nats.Msg, call func()) (stop func()) {
	watcher := func(subject string) {
		if slices.ContainsFunc(msgs, func(msg *nats.Msg) bool { return msg.Subject == subject }) {
			call()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watchers == nil {
		d.watchers = make(map[*func(string)]bool)
	}
	d.watchers[&watcher] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, &watcher)
	}
}

func (d *denials) has(subject string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.subjects[subject]
}

func (d *denials) any(msgs []*nats.Msg) bool {
	return slices.ContainsFunc(msgs, func(msg *nats.Msg) bool { return d.has(msg.Subject) })
}

// forget drops the denials of subjects that are about to be published to again.
func (d *denials) forget(msgs []*nats.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, msg := range msgs {
		delete(d.subjects, msg.Subject)
	}
}
