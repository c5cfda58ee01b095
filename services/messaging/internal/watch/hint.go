package watch

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/bus"
)

const (
	// hintSubject is outside the stream: hints are not stored.
	hintSubject = "messaging-hints.v1"
	// hintsMost is how many hints wait to be sent; beyond, one catch-all hint replaces them.
	hintsMost = 1024
	// catchAllRetry is how often a catch-all hint that is due is tried.
	catchAllRetry = time.Second
	// lossWindow is how long before a reconnection a hint may have been sent and lost with
	// the old connection: a little more than two of its pings.
	lossWindow = 30 * time.Second
)

// Hints notifies the processes of this service, this one too, of changes that have no event.
//
// What is promised: no change waits for its hint, nothing is stored, and a hint carries no
// person's name or id. How: one core NATS message for each hint, after the commit. When it
// breaks: a hint that could not be sent, or may have been lost with its connection, is
// replaced by a catch-all hint (any conversation may have changed) as soon as one can be
// sent. Hints that were sent and did not arrive are noticed by the subscriber (see
// [bus.Bus.SubscribeCore] and echoReturned). Only the hint of a process that dies between
// the commit and the hint is lost for good: a watch lasts ten minutes, and the next one
// begins by reading everything.
type Hints struct {
	bus     *bus.Bus
	self    uuid.UUID
	waiting chan Hint
	// catchAll: a hint was lost, or may have been, and a catch-all hint is due.
	catchAll atomic.Bool
	// lastSent is when the last hint was sent, in nanoseconds since 1970.
	lastSent atomic.Int64
	// awaited: an echo was requested; echoed: it has come back.
	awaited, echoed atomic.Bool
}

// Send queues hints, which Run publishes. It never blocks.
func (h *Hints) Send(list ...Hint) {
	for _, one := range list {
		select {
		case h.waiting <- one:
		default:
			h.catchAll.Store(true)
		}
	}
}

// Run publishes hints until ctx is done, and then those that still wait.
func (h *Hints) Run(ctx context.Context) error {
	retry := time.NewTicker(catchAllRetry)
	defer retry.Stop()
	for {
		select {
		case one := <-h.waiting:
			h.publish(ctx, one)
		case <-retry.C:
			if h.catchAll.CompareAndSwap(true, false) {
				h.publish(ctx, Hint{})
			}
		case <-ctx.Done():
			for {
				select {
				case one := <-h.waiting:
					h.publish(ctx, one)
				default:
					if err := h.bus.Flush(context.WithoutCancel(ctx)); err != nil {
						slog.WarnContext(ctx, "hints may be lost", "error", err)
					}
					return nil
				}
			}
		}
	}
}

func (h *Hints) publish(ctx context.Context, one Hint) {
	text, err := json.Marshal(one)
	if err == nil {
		err = h.bus.PublishCore(hintSubject, text)
	}
	if err != nil {
		slog.DebugContext(ctx, "publishing a hint; a catch-all hint will follow", "error", err)
		h.catchAll.Store(true)
		return
	}
	h.lastSent.Store(time.Now().UnixNano())
}

// subscribe calls handle with each hint until ctx is done. attached is called when hints may
// have been missed.
func (h *Hints) subscribe(ctx context.Context, attached func(), handle func(Hint)) {
	h.bus.SubscribeCore(ctx, hintSubject, func() {
		if time.Since(time.Unix(0, h.lastSent.Load())) < lossWindow {
			h.catchAll.Store(true)
		}
		attached()
	}, func(data []byte) {
		var one Hint
		if json.Unmarshal(data, &one) != nil {
			one = Hint{}
		}
		if one.Echo == nil {
			handle(one)
		} else if *one.Echo == h.self {
			h.echoed.Store(true)
		}
	})
}

// echoReturned reports whether the echo that the previous call requested has come back, and
// requests the next. The first call reports true.
func (h *Hints) echoReturned() bool {
	came := h.echoed.Swap(false)
	if !h.awaited.Swap(true) {
		came = true
	}
	h.Send(Hint{Echo: &h.self})
	return came
}

// NewHints returns the hints that are sent and received through a bus.
func NewHints(b *bus.Bus) *Hints {
	return &Hints{bus: b, self: uuid.New(), waiting: make(chan Hint, hintsMost)}
}

// Hint is the message, between processes of this service, about a change that has no event,
// or that concerns somebody whom its event does not reach. The empty hint is the catch-all:
// any conversation may have changed. A process takes a hint that it cannot read for one.
type Hint struct {
	// Conversation is the one that has changed.
	Conversation uuid.UUID `json:"conversation,omitzero"`
	// Agents: the change is visible to agents only, not to the member.
	Agents bool `json:"agents,omitempty"`
	// Caisse and Queue are where the conversation was before: agents of that queue alone no
	// longer see it.
	Caisse string `json:"caisse,omitempty"`
	Queue  string `json:"queue,omitempty"`
	// Mark identifies a member who has had everything erased, see [MarkOf].
	Mark *uint16 `json:"mark,omitempty"`
	// Echo is the process that published the hint, to itself: see echoReturned.
	Echo *uuid.UUID `json:"echo,omitempty"`
}

// MarkOf is what the broker sees of a member whose conversations no longer name them: 16 bits
// of a hash, which thousands of members share. The others who share them read once in vain.
func MarkOf(member string) *uint16 {
	digest := sha256.Sum256([]byte(member))
	return new(binary.BigEndian.Uint16(digest[:]))
}
