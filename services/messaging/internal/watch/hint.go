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
	// hintSubject is outside the stream: nobody keeps what is told there.
	hintSubject = "messaging-hints.v1"
	// hintsMost is how many wait to be told; beyond, any may have changed.
	hintsMost = 1024
	// oweRetry is how soon it is told again that any may have changed.
	oweRetry = time.Second
	// oweAfter is how long what was told may have been on a connection that was lost: a
	// little more than two of its pings.
	oweAfter = 30 * time.Second
)

// Hints tells the processes of this service, this one too, of what has changed without an
// event.
//
// What is promised: nobody who changes anything waits for it, nothing is stored, and no
// person's name or id is told. How: one message of core NATS for each, after its commit.
// When it breaks: what could not be told, or may have been on a connection that was lost, is
// owed, and made good by the hint that any may have changed as soon as it can be told. What
// is told and not heard, the hearer notices (see [bus.Bus.Hear] and reach). Only a process
// that dies between a commit and its hint owes it for good: a watch lasts ten minutes, and
// the next one begins with a look.
type Hints struct {
	bus     *bus.Bus
	self    uuid.UUID
	waiting chan Hint
	// owed: something was not told.
	owed atomic.Bool
	// lastTold is when something was, in nanoseconds since 1970.
	lastTold atomic.Int64
	// asked: an echo is awaited; echoed: it has come.
	asked, echoed atomic.Bool
}

// Tell hands hints over. It never blocks.
func (h *Hints) Tell(list ...Hint) {
	for _, one := range list {
		select {
		case h.waiting <- one:
		default:
			h.owed.Store(true)
		}
	}
}

// Run tells until ctx is done, and then what waits.
func (h *Hints) Run(ctx context.Context) error {
	retry := time.NewTicker(oweRetry)
	defer retry.Stop()
	for {
		select {
		case one := <-h.waiting:
			h.send(ctx, one)
		case <-retry.C:
			if h.owed.CompareAndSwap(true, false) {
				h.send(ctx, Hint{})
			}
		case <-ctx.Done():
			for {
				select {
				case one := <-h.waiting:
					h.send(ctx, one)
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

func (h *Hints) send(ctx context.Context, one Hint) {
	text, err := json.Marshal(one)
	if err == nil {
		err = h.bus.Tell(hintSubject, text)
	}
	if err != nil {
		slog.DebugContext(ctx, "a hint is owed", "error", err)
		h.owed.Store(true)
		return
	}
	h.lastTold.Store(time.Now().UnixNano())
}

// hear hands out hints until ctx is done. attached is called when some may have been missed.
func (h *Hints) hear(ctx context.Context, attached func(), handle func(Hint)) {
	h.bus.Hear(ctx, hintSubject, func() {
		if time.Since(time.Unix(0, h.lastTold.Load())) < oweAfter {
			h.owed.Store(true)
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

// reach reports whether hints come back that this process told when it was last asked, and
// tells one for the next time.
func (h *Hints) reach() bool {
	came := h.echoed.Swap(false)
	if !h.asked.Swap(true) {
		came = true
	}
	h.Tell(Hint{Echo: &h.self})
	return came
}

// NewHints returns what is told, and heard, by a bus.
func NewHints(b *bus.Bus) *Hints {
	return &Hints{bus: b, self: uuid.New(), waiting: make(chan Hint, hintsMost)}
}

// Hint is a change that no event tells of, or whom an event does not reach, as the
// processes of this service tell each other. A hint without anything says that any
// conversation may have changed; so does one that a process is too old to read.
type Hint struct {
	// Conversation is what has changed.
	Conversation uuid.UUID `json:"conversation,omitzero"`
	// Agents: its member sees nothing of it.
	Agents bool `json:"agents,omitempty"`
	// Caisse and Queue are where it was: whoever sees that alone no longer sees it.
	Caisse string `json:"caisse,omitempty"`
	Queue  string `json:"queue,omitempty"`
	// Mark is of a member who has had all erased, see markOf.
	Mark *uint16 `json:"mark,omitempty"`
	// Echo is for the process that says so.
	Echo *uuid.UUID `json:"echo,omitempty"`
}

// MarkOf is how the broker hears of a member whose conversations no longer say whose they
// were: 16 bits, which thousands share. Some of those then look for nothing.
func MarkOf(member string) *uint16 {
	digest := sha256.Sum256([]byte(member))
	return new(binary.BigEndian.Uint16(digest[:]))
}
