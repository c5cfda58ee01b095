package notifier

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// log puts an event into the event log at a time.
func (d *directory) log(id uuid.UUID, e bus.Event, kind string, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logged = append(d.logged, &messagingpb.LoggedEvent{
		Id: id.String(), Type: kind, Caisse: "armorique", ConversationId: e.Entity, CreateTime: timestamppb.New(at), Payload: e.Data,
	})
}

// ListDigests computes digests as the contract describes them, and not as the
// ledger does.
func (d *directory) ListDigests(_ context.Context, req *messagingpb.ListDigestsRequest) (*messagingpb.ListDigestsResponse, error) {
	d.calls.Add(1)
	if d.failures.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "not now")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	resp := &messagingpb.ListDigestsResponse{SettledTime: timestamppb.New(d.settled), Retention: d.retention}
	for at := req.GetFrom().AsTime().Truncate(slot); at.Before(d.settled); at = at.Add(slot) {
		found := &messagingpb.SlotDigest{Start: timestamppb.New(at)}
		for _, e := range d.logged {
			if t := e.GetCreateTime().AsTime(); !t.Before(at) && t.Before(at.Add(slot)) {
				id := uuid.MustParse(e.GetId())
				sum := sha256.Sum256(id[:])
				found.Count++
				found.Digest ^= int64(binary.BigEndian.Uint64(sum[:8]))
			}
		}
		if found.GetCount() > 0 {
			resp.Slots = append(resp.Slots, found)
		}
	}
	return resp, nil
}

// ListEvents pages by one event, so that paging is always exercised.
func (d *directory) ListEvents(_ context.Context, req *messagingpb.ListEventsRequest) (*messagingpb.ListEventsResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var within []*messagingpb.LoggedEvent
	for _, e := range d.logged {
		if t := e.GetCreateTime().AsTime(); !t.Before(req.GetFrom().AsTime()) && t.Before(req.GetBefore().AsTime()) {
			within = append(within, e)
		}
	}
	var i int
	if _, err := fmt.Sscan(req.GetPageToken(), &i); err != nil {
		i = 0
	}
	resp := &messagingpb.ListEventsResponse{}
	if i < len(within) {
		resp.Events = within[i : i+1]
	}
	if i+1 < len(within) {
		resp.NextPageToken = fmt.Sprint(i + 1)
	}
	return resp, nil
}

// CheckReader lets those see everything who are in readers.
func (d *directory) CheckReader(_ context.Context, req *messagingpb.CheckReaderRequest) (*messagingpb.CheckReaderResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.readers[req.GetMember()] || d.readers[req.GetAgent().GetCaisse()] {
		return &messagingpb.CheckReaderResponse{}, nil
	}
	return nil, status.Error(codes.NotFound, "not found")
}

// G4: what the broker never brought leaves all the same, once, and what it brings
// afterwards changes nothing.
func TestReconciliation(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.ReconcileEvery = 50 * time.Millisecond
	past := time.Now().Add(-5 * time.Minute).Truncate(time.Microsecond)
	type logged struct {
		id    uuid.UUID
		event bus.Event
	}
	var events []logged
	for i := range 7 {
		kind := eventspb.TypeMessageSubmitted
		if i%3 == 2 {
			kind = eventspb.TypeReplyPosted
		}
		id, event := eventOf(t, kind, s.newcomer())
		// Some in one slot, some on the edge of two, some in neighbours, one apart.
		event.Time = past.Truncate(slot).Add([]time.Duration{0, slot - time.Microsecond, slot, slot + 1000, 2 * slot, 2*slot + 5000, 20 * slot}[i])
		s.log(id, event, kind, event.Time)
		events = append(events, logged{id, event})
	}
	s.mu.Lock()
	s.directory.settled = past.Truncate(slot).Add(21 * slot)
	s.mu.Unlock()
	s.failures.Store(2) // and at first the log cannot be asked
	s.broker.Stop()
	s.start(t)
	s.settled(t, 7*2)
	s.broker.Start(t)
	for _, e := range events {
		s.publish(t, e.event)
	}
	_, last := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
	s.publish(t, last)
	s.settled(t, 8*2)
	if n := len(s.providers.Accepted(providertest.Email)); n != 8 {
		t.Errorf("%d mails, want 8", n)
	}
	if n := len(s.providers.Accepted(providertest.SMS)); n != 5 {
		t.Errorf("%d SMS, want 5", n)
	}
	notifiertest.Eventually(t, "all is known to be there", func() bool {
		until, err := s.ledger.ReconciledUntil(t.Context(), time.Hour)
		return err == nil && until.Equal(past.Truncate(slot).Add(21*slot))
	})
}

// The ledger's digests are those of the contract.
func TestDigests(t *testing.T) {
	t.Parallel()
	l, _ := ledgerAndPool(t)
	d := &directory{}
	base := time.Now().Add(-time.Hour).Truncate(slot)
	for i := range 50 {
		plans := planOf(ledger.Email, ledger.SMS)
		for j := range plans {
			plans[j].LoggedAt = base.Add(time.Duration(i*i) * 100 * time.Millisecond)
		}
		notifiertest.Plan(t, l, plans)
		d.log(plans[0].EventID, bus.Event{}, eventspb.TypeMessageSubmitted, plans[0].LoggedAt)
	}
	d.settled = base.Add(time.Hour)
	resp, err := d.ListDigests(t.Context(), &messagingpb.ListDigestsRequest{From: timestamppb.New(base)})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := l.Digests(t.Context(), base, base.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if len(ours) != len(resp.GetSlots()) || len(ours) < 10 {
		t.Fatalf("%d slots, the contract has %d", len(ours), len(resp.GetSlots()))
	}
	for i, s := range resp.GetSlots() {
		if !ours[i].Start.Equal(s.GetStart().AsTime()) || ours[i].Count != s.GetCount() || ours[i].Digest != s.GetDigest() {
			t.Errorf("slot %d: %+v, the contract has %v", i, ours[i], s)
		}
	}
}

func TestDiffering(t *testing.T) {
	t.Parallel()
	at := func(i int) time.Time { return time.Unix(0, 0).Add(time.Duration(i) * slot) }
	s := func(i int, count, digest int64) ledger.Slot {
		return ledger.Slot{Start: at(i), Count: count, Digest: digest}
	}
	rows := []struct {
		name         string
		theirs, ours []ledger.Slot
		missing      []stretch
		foreign      int
	}{
		{"nothing", nil, nil, nil, 0},
		{"equal", []ledger.Slot{s(1, 2, 3)}, []ledger.Slot{s(1, 2, 3)}, nil, 0},
		{"a slot is missing", []ledger.Slot{s(1, 2, 3)}, nil, []stretch{{at(1), at(2)}}, 0},
		{"neighbours are joined", []ledger.Slot{s(1, 2, 3), s(2, 1, 1), s(4, 1, 1)}, []ledger.Slot{s(2, 1, 2)}, []stretch{{at(1), at(3)}, {at(4), at(5)}}, 0},
		{"same count, another event", []ledger.Slot{s(1, 2, 3)}, []ledger.Slot{s(1, 2, 4)}, []stretch{{at(1), at(2)}}, 0},
		{"more than the log", []ledger.Slot{s(1, 2, 3)}, []ledger.Slot{s(1, 3, 4)}, []stretch{{at(1), at(2)}}, 1},
		{"a slot that the log has not", nil, []ledger.Slot{s(1, 3, 4)}, nil, 1},
	}
	for _, row := range rows {
		missing, foreign := differing(row.theirs, row.ours)
		if fmt.Sprint(missing) != fmt.Sprint(row.missing) || foreign != row.foreign {
			t.Errorf("%s: %v and %d foreign, want %v and %d", row.name, missing, foreign, row.missing, row.foreign)
		}
	}
}

// While the log cannot be asked, what the broker brings goes on.
func TestWithoutTheLog(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.ReconcileEvery = 10 * time.Millisecond
	s.failures.Store(1 << 40)
	s.start(t)
	_, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
	s.publish(t, event)
	notifiertest.Eventually(t, "a round has failed", func() bool { return s.calls.Load() > 2 })
	s.failures.Store(0)
	s.settled(t, 2)
	if n := len(s.providers.Accepted(providertest.Email)); n != 1 {
		t.Errorf("%d mails", n)
	}
}

// The log's clock was ahead for less than a round, while the broker brings nothing: nobody
// has seen it go back.
func TestReconciliation_ClockWasAhead(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.ReconcileEvery = 20 * time.Millisecond
	s.mu.Lock()
	s.directory.settled = time.Now().Add(-40 * time.Second).Truncate(slot)
	s.mu.Unlock()
	s.broker.Stop()
	for _, ahead := range []time.Duration{3 * time.Hour, 48 * time.Hour} {
		id, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
		event.Time = time.Now().Add(ahead)
		s.log(id, event, eventspb.TypeReplyPosted, event.Time)
	}
	s.start(t)
	s.settled(t, 4)
}

// The log's clock was ahead and goes back, while the broker brings nothing: what was
// logged before and after that is sent without waiting for the time to come again.
func TestReconciliation_ClockGoesBack(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.ReconcileEvery = 20 * time.Millisecond
	log := func(at time.Time) {
		id, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
		event.Time = at
		s.log(id, event, eventspb.TypeReplyPosted, at)
	}
	settle := func(at time.Time) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.directory.settled = at.Truncate(slot)
	}
	ahead := time.Now().Add(3 * time.Hour).Truncate(slot)
	settle(ahead)
	s.broker.Stop()
	log(ahead.Add(-time.Minute))
	s.start(t)
	s.settled(t, 2)
	log(ahead.Add(time.Second)) // when its slot settles, the clock is right again
	settle(time.Now().Add(-40 * time.Second))
	s.settled(t, 4)
	log(time.Now().Add(-25 * time.Second)) // after the mark, which is half a minute ago at most
	notifiertest.Eventually(t, "what comes afterwards is found", func() bool {
		settle(time.Now().Add(-20 * time.Second))
		mails := s.providers.Accepted(providertest.Email)
		return len(mails) == 3
	})
}
