package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stream is what the stream holds and for how long.
type Stream struct {
	Name            string
	Subjects        []string
	MaxAge          time.Duration
	DuplicateWindow time.Duration
}

// Settings returns the configuration with which EnsureStream creates the stream.
func (s Stream) Settings(cfg Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:       s.Name,
		Subjects:   s.Subjects,
		Retention:  jetstream.LimitsPolicy,
		Discard:    jetstream.DiscardNew,
		Storage:    jetstream.FileStorage,
		MaxAge:     s.MaxAge,
		MaxBytes:   cfg.MaxBytes,
		Duplicates: s.DuplicateWindow,
		Replicas:   cfg.Replicas,
		// Events are deleted by age alone, even if a client may delete.
		DenyDelete:         true,
		DenyPurge:          true,
		AllowAtomicPublish: true,
	}
}

// EnsureStream creates the stream unless there is one. One that exists stays as it is,
// whoever created or changed it; what it lacks is logged, once until that changes.
func (b *Bus) EnsureStream(ctx context.Context) error {
	b.ensuring.Lock()
	defer b.ensuring.Unlock()
	// A cluster without a leader answers neither: then nothing is created.
	found, err := b.js.Stream(ctx, b.stream.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		found, err = b.js.CreateStream(ctx, b.stream.Settings(b.cfg))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody has been faster
			found, err = b.js.Stream(ctx, b.stream.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("making stream %s: %w", b.stream.Name, err)
	}
	lacks := b.stream.Lacks(found.CachedInfo().Config)
	if text := strings.Join(lacks, "; "); text != b.reported {
		b.reported = text
		if text != "" {
			slog.WarnContext(ctx, "the stream is not as it is needed; it is left as its operator has set it", "stream", b.stream.Name, "lacks", text)
		}
	}
	return nil
}

// Prepare creates the stream, or checks the one that is there, as soon as the broker
// answers; it returns then, or when ctx is done.
func (b *Bus) Prepare(ctx context.Context) {
	for ctx.Err() == nil {
		if err := within(ctx, apiTimeout, b.EnsureStream); err == nil {
			return
		}
		pause(ctx, retryPause)
	}
}

// Lacks returns which of a stream's settings fall short of what this one needs, in words
// for an operator; nothing if all are sufficient. Size and replicas are the operator's
// choice.
func (s Stream) Lacks(have jetstream.StreamConfig) (list []string) {
	lack := func(is bool, format string, args ...any) {
		if is {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	for _, subject := range s.Subjects {
		lack(!covered(subject, have.Subjects), "subject %s: its events are refused and wait in the outbox", subject)
	}
	lack(have.Retention != jetstream.LimitsPolicy, "retention %q: events go before every reader has them", jetstream.LimitsPolicy)
	lack(have.Discard != jetstream.DiscardNew, "discard %q: when it is full, the oldest events are dropped", jetstream.DiscardNew)
	lack(have.MaxAge > 0 && have.MaxAge < s.MaxAge, "max age %s: events go after %s", s.MaxAge, have.MaxAge)
	lack(have.Duplicates < s.DuplicateWindow, "duplicate window %s: an event that is published again after %s is kept twice", s.DuplicateWindow, have.Duplicates)
	lack(!have.AllowAtomicPublish, "atomic publish: large sets go event by event")
	lack(have.Sealed, "it is sealed: it takes no events")
	return list
}

// covered reports whether a subject is among those of a list, or within a wider one.
func covered(subject string, list []string) bool {
	return slices.ContainsFunc(list, func(wider string) bool {
		prefix, all := strings.CutSuffix(wider, ">")
		return wider == subject || all && strings.HasPrefix(subject, prefix)
	})
}
