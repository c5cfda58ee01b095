package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
)

const (
	// slot is the grain of digests.
	slot = 10 * time.Second
	// reconcileWindow is how far back the whole comparison goes, and where a new
	// ledger begins.
	reconcileWindow = 24 * time.Hour
	// wholeEvery is how often the whole window is compared again, for what was
	// committed after its slot had passed for settled.
	wholeEvery = time.Hour
	// reconcileTimeout bounds one round, stepTimeout each question of it.
	reconcileTimeout = 2 * time.Minute
	stepTimeout      = 15 * time.Second
	// slotsMost is how many slots one answer has at most.
	slotsMost = 8640
	// lookEvery is how often events are looked for whose time is to come, and toCome how far
	// beyond the settled part of the log that begins.
	lookEvery = time.Minute
	toCome    = 2 * time.Minute
	// farthest is how far ahead is looked where the log's clock has gone back.
	farthest = 10 * 365 * 24 * time.Hour
)

// notifying are the types of events that make deliveries.
var notifying = []string{eventspb.TypeMessageSubmitted, eventspb.TypeReplyPosted}

// reconciler finds in the messaging service's event log what the broker did not
// bring.
//
// What is promised: an event that was committed is planned within settling time
// (40 s), every, and the time it takes to ask, whatever became of it on the way:
// while the broker is away, after it lost its store, when an acknowledgement was
// lost. Nothing is planned twice, as the ledger knows each (event, channel).
//
// How: both sides digest their events by slots of ten seconds of the log's time.
// Slots that agree are done with; how far that goes is kept in the ledger, so a
// round costs what is new since the last. Of those that differ the events are
// fetched and planned as if the broker had brought them. Once an hour the last
// day is compared as a whole. Where a clock was ahead and has gone back, the mark goes
// back with it, and events with a time to come are planned without waiting for it: they
// are looked for each minute, and at once when the clock is seen to go back.
//
// When it breaks: while the messaging service is away, nothing is found, and what
// is missed then is found later. An event committed more than 40 s after its
// transaction began, which is longer than any of our transactions may take, or while a clock
// was behind for less than a round, waits for the hourly comparison. What the ledger has and
// the log has not, a forged event or a log restored from a backup, is logged and counted, not
// repaired.
type reconciler struct {
	ledger *ledger.Ledger
	log    messagingpb.EventLogServiceClient
	wake   func()
	counts *instruments
	every  time.Duration
	terms  *terms

	// settled is up to where the log was last complete, by its own clock, and looked when
	// events with a time to come were last looked for.
	settled, looked time.Time
}

// run compares until ctx is done, or the log turns out to keep what the ledger does not.
func (r *reconciler) run(ctx context.Context) error {
	var whole time.Time
	for ctx.Err() == nil {
		from := time.Time{}
		if time.Since(whole) >= wholeEvery {
			from = time.Now().Add(-reconcileWindow)
		}
		if err := r.round(ctx, from); err == nil && !from.IsZero() {
			whole = time.Now()
		} else if errors.Is(err, errLedgerTerm) {
			return err
		} else if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "comparing the ledger with the event log", "error", err)
		}
		timer := time.NewTimer(jittered(r.every))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// round compares from a time on, and at least from where the last round ended.
func (r *reconciler) round(ctx context.Context, from time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	until, err := bounded(ctx, stepTimeout, func(ctx context.Context) (time.Time, error) {
		return r.ledger.ReconciledUntil(ctx, reconcileWindow)
	})
	if err != nil {
		return err
	}
	if from.IsZero() || until.Before(from) {
		from = until
	}
	// What was forgotten, while nothing was compared or the term was another, is not missing.
	forgotten, err := bounded(ctx, stepTimeout, r.ledger.ForgottenUntil)
	if err != nil {
		return err
	}
	if from = from.Truncate(slot); !from.After(forgotten) {
		from = forgotten.Truncate(slot).Add(slot)
	}
	for {
		theirs, settled, err := r.digests(ctx, from)
		if err != nil {
			return err
		}
		if !settled.After(from) {
			return nil
		}
		if err := r.repair(ctx, from, settled, theirs); err != nil {
			return err
		}
		_, err = bounded(ctx, stepTimeout, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.ledger.Reconciled(ctx, settled) })
		if err != nil {
			return err
		}
		if len(theirs) < slotsMost {
			return nil
		}
		from = settled
	}
}

// digests asks for the log's slots and for how far the answer is complete.
func (r *reconciler) digests(ctx context.Context, from time.Time) ([]ledger.Slot, time.Time, error) {
	resp, err := bounded(ctx, stepTimeout, func(ctx context.Context) (*messagingpb.ListDigestsResponse, error) {
		return r.log.ListDigests(ctx, &messagingpb.ListDigestsRequest{Types: notifying, From: timestamppb.New(from)})
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("asking for digests: %w", err)
	}
	if err := r.terms.agree(resp.GetRetention()); err != nil {
		return nil, time.Time{}, err
	}
	slots := make([]ledger.Slot, len(resp.GetSlots()))
	for i, s := range resp.GetSlots() {
		slots[i] = ledger.Slot{Start: s.GetStart().AsTime(), Count: s.GetCount(), Digest: s.GetDigest()}
	}
	settled := resp.GetSettledTime().AsTime()
	if err := r.lookAhead(ctx, settled); err != nil {
		return nil, time.Time{}, err
	}
	if len(slots) == slotsMost {
		settled = slots[slotsMost-1].Start.Add(slot)
	}
	return slots, settled, nil
}

// lookAhead plans events with a time to come, written while the log's clock was ahead: they
// would be compared when their time has come. A leap that lasted for less than a round is
// not seen, so they are looked for now and then in any case.
func (r *reconciler) lookAhead(ctx context.Context, settled time.Time) error {
	from := settled
	switch back := settled.Before(r.settled); {
	case back:
		slog.WarnContext(ctx, "the event log's clock has gone back", "from", r.settled, "to", settled)
	case time.Since(r.looked) < lookEvery:
		r.settled = settled
		return nil
	default:
		from = settled.Add(toCome)
	}
	looked := time.Now()
	if err := r.plan(ctx, stretch{from, settled.Add(farthest)}); err != nil {
		return err
	}
	r.settled, r.looked = settled, looked
	return nil
}

// repair plans what is missing between two times.
func (r *reconciler) repair(ctx context.Context, from, before time.Time, theirs []ledger.Slot) error {
	ours, err := bounded(ctx, stepTimeout, func(ctx context.Context) ([]ledger.Slot, error) { return r.ledger.Digests(ctx, from, before) })
	if err != nil {
		return err
	}
	missing, foreign := differing(theirs, ours)
	if foreign > 0 {
		slog.ErrorContext(ctx, "the ledger has events that the event log does not know: forged, or the log was restored from a backup", "slots", foreign)
		r.counts.foreign.Add(ctx, int64(foreign))
	}
	for _, span := range missing {
		if err := r.plan(ctx, span); err != nil {
			return err
		}
	}
	return nil
}

// plan fetches and plans the events of a stretch.
func (r *reconciler) plan(ctx context.Context, span stretch) error {
	found, err := r.fetch(ctx, span)
	if err != nil {
		return err
	}
	if found > 0 {
		slog.InfoContext(ctx, "planned what the broker did not bring", "deliveries", found, "from", span.from, "before", span.before)
		r.counts.repaired.Add(ctx, found)
		r.wake()
	}
	return nil
}

// stretch is a range of the log's time.
type stretch struct{ from, before time.Time }

// differing compares slot by slot. It returns the stretches in which the log has
// what the ledger lacks, neighbours joined, and the number of slots in which the
// ledger has more than the log.
func differing(theirs, ours []ledger.Slot) (missing []stretch, foreign int) {
	known := make(map[int64]ledger.Slot, len(ours))
	for _, own := range ours {
		known[own.Start.Unix()] = own
	}
	for _, s := range theirs {
		own := known[s.Start.Unix()]
		delete(known, s.Start.Unix())
		if own.Count == s.Count && own.Digest == s.Digest {
			continue
		}
		if own.Count > s.Count {
			foreign++
		}
		end := s.Start.Add(slot)
		if last := len(missing) - 1; last >= 0 && missing[last].before.Equal(s.Start) {
			missing[last].before = end
		} else {
			missing = append(missing, stretch{s.Start, end})
		}
	}
	return missing, foreign + len(known)
}

// fetch plans the events of a stretch and returns how many deliveries that added.
func (r *reconciler) fetch(ctx context.Context, span stretch) (added int64, err error) {
	req := &messagingpb.ListEventsRequest{Types: notifying, From: timestamppb.New(span.from), Before: timestamppb.New(span.before)}
	for {
		resp, err := bounded(ctx, stepTimeout, func(ctx context.Context) (*messagingpb.ListEventsResponse, error) { return r.log.ListEvents(ctx, req) })
		if err != nil {
			return added, fmt.Errorf("asking for events: %w", err)
		}
		var plans []ledger.Plan
		for _, e := range resp.GetEvents() {
			more, err := plansOf(bus.Msg{ID: e.GetId(), Type: eventspb.CEType(eventspb.DefaultDomain, e.GetType()), Time: e.GetCreateTime().AsTime(), Data: e.GetPayload()})
			if err != nil {
				slog.ErrorContext(ctx, "reading an event of the log", "event", e.GetId(), "type", e.GetType(), "error", err)
				continue
			}
			plans = append(plans, more...)
		}
		n, err := bounded(ctx, stepTimeout, func(ctx context.Context) (int64, error) { return r.ledger.PlanMissing(ctx, plans) })
		if err != nil {
			return added, err
		}
		added += n
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return added, nil
		}
	}
}
