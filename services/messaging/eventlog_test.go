package messaging

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
)

// logEvent puts an event into the log at a time.
func (s *stage) logEvent(t *testing.T, kind string, at time.Time) uuid.UUID {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	_, err := s.pool.Exec(t.Context(), `INSERT INTO event_log (id, type, caisse, conversation_id, payload, created_at) VALUES ($1, $2, 'msa-75', $1, $3, $4)`,
		id, kind, []byte("payload "+id.String()), at)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func digestOf(ids ...uuid.UUID) (digest int64) {
	for _, id := range ids {
		sum := sha256.Sum256(id[:])
		digest ^= int64(binary.BigEndian.Uint64(sum[:8]))
	}
	return digest
}

var both = []string{eventspb.TypeMessageSubmitted, eventspb.TypeReplyPosted}

// TestListDigests: what the contract says, computed here by other means.
func TestListDigests(t *testing.T) {
	t.Parallel()
	s := running(t)
	base := time.Now().Add(-time.Hour).Truncate(outbox.SlotWidth)
	first := []uuid.UUID{
		s.logEvent(t, eventspb.TypeMessageSubmitted, base), s.logEvent(t, eventspb.TypeReplyPosted, base.Add(outbox.SlotWidth-time.Microsecond)),
	}
	second := s.logEvent(t, eventspb.TypeMessageSubmitted, base.Add(outbox.SlotWidth))
	last := s.logEvent(t, eventspb.TypeReplyPosted, base.Add(5*outbox.SlotWidth))
	s.logEvent(t, eventspb.TypeConversationClaimed, base.Add(7*outbox.SlotWidth)) // not asked for
	s.logEvent(t, eventspb.TypeReplyPosted, time.Now())                           // not settled
	s.logEvent(t, eventspb.TypeReplyPosted, base.Add(-time.Microsecond))          // before
	ctx := s.machine(t).call(t)
	resp, err := s.events.ListDigests(ctx, &messagingpb.ListDigestsRequest{Types: both, From: timestamppb.New(base)})
	if err != nil {
		t.Fatal(err)
	}
	type slot struct {
		at            time.Time
		count, digest int64
	}
	want := []slot{{base, 2, digestOf(first...)}, {base.Add(outbox.SlotWidth), 1, digestOf(second)}, {base.Add(5 * outbox.SlotWidth), 1, digestOf(last)}}
	var got []slot
	for _, d := range resp.GetSlots() {
		got = append(got, slot{d.GetStart().AsTime().Local(), d.GetCount(), d.GetDigest()})
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if behind := time.Since(resp.GetSettledTime().AsTime()); behind < 30*time.Second || behind > 30*time.Second+outbox.SlotWidth+messagingtest.Patience {
		t.Errorf("settled %s ago", behind)
	}
	until, err := s.events.ListDigests(ctx, &messagingpb.ListDigestsRequest{Types: both[:1], From: timestamppb.New(base), Before: timestamppb.New(base.Add(outbox.SlotWidth))})
	if err != nil || len(until.GetSlots()) != 1 || until.GetSlots()[0].GetCount() != 1 || !until.GetSettledTime().AsTime().Equal(base.Add(outbox.SlotWidth)) {
		t.Errorf("one type, one slot: %v, %v", until, err)
	}
}

func TestListEvents(t *testing.T) {
	t.Parallel()
	s := running(t)
	base := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	var want []uuid.UUID
	for i := range 7 {
		at := base.Add(time.Duration(i/3) * time.Microsecond) // three at a time
		want = append(want, s.logEvent(t, both[i%2], at))
	}
	s.logEvent(t, eventspb.TypeReplyPosted, base.Add(time.Second)) // the end is not within
	ctx := s.machine(t).call(t)
	for _, size := range []int32{0, 1, 2, 6, 7, 8} {
		req := &messagingpb.ListEventsRequest{Types: both, From: timestamppb.New(base), Before: timestamppb.New(base.Add(time.Second)), PageSize: size}
		var got []uuid.UUID
		for {
			resp, err := s.events.ListEvents(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range resp.GetEvents() {
				got = append(got, uuid.MustParse(e.GetId()))
				if string(e.GetPayload()) != "payload "+e.GetId() || e.GetCaisse() != "msa-75" {
					t.Errorf("event %v", e)
				}
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v, want %v", size, got, want)
		}
	}
}

// The digests are those of what was really committed and published.
func TestEventLog_HasWhatIsPublished(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	conversation := jeanne.submit(t)
	claire.claim(t, conversation.GetId())
	claire.reply(t, conversation.GetId(), true)
	resp, err := s.events.ListEvents(s.machine(t).call(t), &messagingpb.ListEventsRequest{
		Types: both, From: timestamppb.New(time.Now().Add(-time.Hour)), Before: timestamppb.New(time.Now().Add(time.Hour)),
	})
	if err != nil || len(resp.GetEvents()) != 2 {
		t.Fatalf("%v, %v", resp, err)
	}
	published := make(map[string]string)
	messagingtest.Eventually(t, "all is published", func() bool {
		for _, msg := range s.published(t) {
			published[msg.Header.Get("Nats-Msg-Id")] = msg.Header.Get("ce-time")
		}
		return len(published) == 3
	})
	for _, e := range resp.GetEvents() {
		at, err := time.Parse(time.RFC3339Nano, published[e.GetId()])
		if err != nil || !at.Equal(e.GetCreateTime().AsTime()) {
			t.Errorf("event %s is of %s on the broker, of %s in the log: %v", e.GetId(), at, e.GetCreateTime().AsTime(), err)
		}
	}
}

func TestEventLog_IsForMachines(t *testing.T) {
	t.Parallel()
	s := running(t)
	now := timestamppb.Now()
	for name, who := range map[string]caller{"member": s.member(t, "jeanne"), "agent": s.clerk(t, "claire")} {
		_, err1 := s.events.ListDigests(who.call(t), &messagingpb.ListDigestsRequest{Types: both, From: now})
		_, err2 := s.events.ListEvents(who.call(t), &messagingpb.ListEventsRequest{Types: both, From: now, Before: now})
		_, err3 := s.recipients.CheckReader(who.call(t), &messagingpb.CheckReaderRequest{ConversationId: uuid.NewString(), Reader: &messagingpb.CheckReaderRequest_Member{Member: "m"}})
		for _, err := range []error{err1, err2, err3} {
			if status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for what, err := range map[string]error{
		"no types": second(s.events.ListDigests(s.machine(t).call(t), &messagingpb.ListDigestsRequest{From: now})),
		"no from":  second(s.events.ListDigests(s.machine(t).call(t), &messagingpb.ListDigestsRequest{Types: both})),
		"no end":   second(s.events.ListEvents(s.machine(t).call(t), &messagingpb.ListEventsRequest{Types: both, From: now})),
		"a token":  second(s.events.ListEvents(s.machine(t).call(t), &messagingpb.ListEventsRequest{Types: both, From: now, Before: now, PageToken: "x"})),
		"nobody":   second(s.recipients.CheckReader(s.machine(t).call(t), &messagingpb.CheckReaderRequest{ConversationId: uuid.NewString()})),
	} {
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestCheckReader(t *testing.T) {
	t.Parallel()
	s := running(t)
	id := s.member(t, "jeanne").submit(t).GetId()
	member := func(subject string) *messagingpb.CheckReaderRequest {
		return &messagingpb.CheckReaderRequest{ConversationId: id, Reader: &messagingpb.CheckReaderRequest_Member{Member: subject}}
	}
	agent := func(caisse string, queues ...string) *messagingpb.CheckReaderRequest {
		return &messagingpb.CheckReaderRequest{ConversationId: id, Reader: &messagingpb.CheckReaderRequest_Agent{Agent: &messagingpb.AgentScope{Caisse: caisse, Queues: queues}}}
	}
	elsewhere := member("member:jeanne")
	elsewhere.ConversationId = uuid.NewString()
	var queue string
	if err := s.pool.QueryRow(t.Context(), `SELECT queue FROM conversation`).Scan(&queue); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name string
		req  *messagingpb.CheckReaderRequest
		want codes.Code
	}{
		{"its member", member("member:jeanne"), codes.OK},
		{"another member", member("member:marc"), codes.NotFound},
		{"nobody", member(""), codes.NotFound},
		{"an unknown conversation", elsewhere, codes.NotFound},
		{"an agent of all queues", agent("msa-75", "*"), codes.OK},
		{"an agent of its queue", agent("msa-75", "other", queue), codes.OK},
		{"an agent of another queue", agent("msa-75", "other"), codes.NotFound},
		{"an agent without a queue", agent("msa-75"), codes.NotFound},
		{"an agent of another caisse", agent("msa-29", "*"), codes.NotFound},
	}
	for _, row := range rows {
		if _, err := s.recipients.CheckReader(s.machine(t).call(t), row.req); status.Code(err) != row.want {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
	}
}
