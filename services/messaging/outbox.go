package messaging

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/seeded"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

const (
	// relayBatch is how many events one transaction takes.
	relayBatch = 500
	// publishTimeout bounds how long rows stay locked while the broker is slow.
	publishTimeout = 5 * time.Second
	// relayPause is the wait after a fault, doubled up to relayPauseMax.
	relayPause    = 100 * time.Millisecond
	relayPauseMax = 5 * time.Second
)

// eventSource is the ce-source of this service's events.
const eventSource = "messagerie/messaging"

// relay moves committed events from the outbox to the broker.
//
// What is promised: every event that was committed is acknowledged by the broker
// at least once, in no particular order, for as long as the outbox exists. The
// outbox row is deleted only after the acknowledgement.
//
// How: any number of relays work side by side without a leader. Each locks a set
// of rows that no other has (FOR UPDATE SKIP LOCKED), publishes them with the
// event's id as message id, deletes those that were acknowledged and commits. A
// commit of this process wakes it at once; a poll finds what other processes
// left behind.
//
// When it breaks: a process that dies between the acknowledgement and its commit
// publishes again. Within the stream's duplicate window the broker drops the
// second; beyond it, consumers do, by the event's id. An acknowledgement that the
// broker then loses (a disk, a wiped store) is not noticed here: whoever needs
// every event compares with the event log.
type relay struct {
	store *store
	bus   *bus.Bus
	poll  time.Duration
	woken chan struct{}
}

func newRelay(s *store, b *bus.Bus, poll time.Duration) *relay {
	return &relay{store: s, bus: b, poll: poll, woken: make(chan struct{}, 1)}
}

// wake tells the relay that something was committed. It never blocks.
func (r *relay) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// run relays until ctx is done. The set in hand is finished: its time is bounded.
func (r *relay) run(ctx context.Context) error {
	ticker := time.NewTicker(r.poll)
	defer ticker.Stop()
	pause := relayPause
	for {
		if err := r.drain(ctx); err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "relaying events; they stay in the outbox", "retry_in", pause.String(), "error", err)
			if !sleep(ctx, pause) {
				return nil
			}
			pause = min(2*pause, relayPauseMax)
			continue
		}
		pause = relayPause
		select {
		case <-ctx.Done():
			return nil
		case <-r.woken:
		case <-ticker.C:
		}
	}
}

// drain publishes set after set until the outbox is empty.
func (r *relay) drain(ctx context.Context) error {
	for ctx.Err() == nil {
		var fault error
		var early []outboxRow // deleted before they are published: a seeded bug
		taken, gone, err := r.store.relayed(context.WithoutCancel(ctx), relayBatch, func(rows []outboxRow) []uuid.UUID {
			var acked []uuid.UUID
			if seeded.On(seeded.DeleteBeforePublish) {
				early = rows
				return idsOf(rows)
			}
			acked, fault = r.publish(ctx, rows)
			return acked
		})
		if early != nil && err == nil {
			_, _ = r.publish(ctx, early)
		}
		switch {
		case err != nil:
			return err
		case fault != nil:
			return fault
		case taken < relayBatch && gone == taken:
			return nil
		}
	}
	return nil
}

func idsOf(rows []outboxRow) []uuid.UUID {
	ids := make([]uuid.UUID, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	return ids
}

// publish returns the ids that the broker has acknowledged, and the first fault
// of the others.
func (r *relay) publish(ctx context.Context, rows []outboxRow) ([]uuid.UUID, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	events := make([]bus.Event, len(rows))
	for i, row := range rows {
		events[i] = bus.Event{
			ID: row.ID.String(), Type: eventspb.CEType(row.Type), Source: eventSource, Time: row.CreatedAt,
			Subject: eventspb.Subject(row.Type, row.Caisse), Entity: row.ConversationID.String(),
			Data: row.Payload, TraceParent: row.Trace,
		}
	}
	var acked []uuid.UUID
	var fault error
	for i, err := range r.bus.Publish(ctx, events) {
		if err == nil || seeded.On(seeded.SwallowedPublishError) {
			acked = append(acked, rows[i].ID)
		} else if fault == nil {
			fault = err
		}
	}
	return acked, fault
}

// sleep waits, and tells whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
