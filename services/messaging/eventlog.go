package messaging

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

const (
	// slotWidth is the grain of digests.
	slotWidth = 10 * time.Second
	// settleTime is after how long a slot's set of events counts as final. An
	// event's time is that of the beginning of its transaction; a flush takes at
	// most flushTimeout. What should commit later still is found by whoever
	// compares a whole day again now and then.
	settleTime = 30 * time.Second
	// digestsMost is the most slots in one answer: a day.
	digestsMost = 8640
	// eventsMost is the most events on one page.
	eventsMost = 1000
)

// eventLogServer is EventLogService: it gives the event log to consumers who want
// to know what they have missed, without the broker.
type eventLogServer struct {
	messagingpb.UnimplementedEventLogServiceServer
	store *store
	// retention is how long the log keeps an event; 0: for ever.
	retention time.Duration
}

// ListDigests implements EventLogService.
func (s *eventLogServer) ListDigests(ctx context.Context, req *messagingpb.ListDigestsRequest) (*messagingpb.ListDigestsResponse, error) {
	var before *time.Time
	if req.GetBefore() != nil {
		at := req.GetBefore().AsTime()
		before = &at
	}
	slots, settled, err := s.store.digests(ctx, req.GetTypes(), req.GetFrom().AsTime(), before)
	if err != nil {
		return nil, statusOf(err)
	}
	resp := &messagingpb.ListDigestsResponse{SettledTime: timestamppb.New(settled), Retention: durationpb.New(s.retention)}
	for _, slot := range slots {
		resp.Slots = append(resp.Slots, &messagingpb.SlotDigest{Start: timestamppb.New(slot.Start), Count: slot.Count, Digest: slot.Digest})
	}
	return resp, nil
}

// ListEvents implements EventLogService.
func (s *eventLogServer) ListEvents(ctx context.Context, req *messagingpb.ListEventsRequest) (*messagingpb.ListEventsResponse, error) {
	after, err := pageOf(ctx, req)
	if err != nil {
		return nil, err
	}
	size := eventsMost
	if req.GetPageSize() > 0 {
		size = min(int(req.GetPageSize()), eventsMost)
	}
	rows, err := s.store.logged(ctx, req.GetTypes(), req.GetFrom().AsTime(), req.GetBefore().AsTime(), after, size+1)
	if err != nil {
		return nil, statusOf(err)
	}
	resp := &messagingpb.ListEventsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = nextPage(ctx, req, rows[size-1].CreatedAt, rows[size-1].ID)
	}
	for _, row := range rows {
		resp.Events = append(resp.Events, &messagingpb.LoggedEvent{
			Id: row.ID.String(), Type: row.Type, Caisse: row.Caisse, ConversationId: row.ConversationID.String(),
			CreateTime: timestamppb.New(row.CreatedAt), Payload: row.Payload,
		})
	}
	return resp, nil
}

// CheckReader implements RecipientService.
func (s *server) CheckReader(ctx context.Context, req *messagingpb.CheckReaderRequest) (*messagingpb.CheckReaderResponse, error) {
	id := uuid.MustParse(req.GetConversationId())
	var err error
	if agent := req.GetAgent(); agent != nil {
		err = s.store.withinScope(ctx, scope{caisse: agent.GetCaisse(), queues: agent.GetQueues(), allQueues: slices.Contains(agent.GetQueues(), auth.AllQueues)}, id)
	} else {
		_, err = s.store.ofMember(ctx, req.GetMember(), id)
	}
	return &messagingpb.CheckReaderResponse{}, statusOf(err)
}

const (
	// daysAhead is for how many days to come the event log has partitions.
	daysAhead = 7
	// keepEvery is how often they are looked after, keepTimeout what that may take.
	keepEvery   = time.Hour
	keepTimeout = 2 * time.Minute
)

// keepDays makes the event log's days to come and drops those that are older than
// the retention (0: none), until ctx is done. Any number of processes may do so.
func keepDays(ctx context.Context, s *store, retention time.Duration) error {
	for {
		round, cancel := context.WithTimeout(ctx, keepTimeout)
		err := s.keepDays(round, daysAhead, retention)
		cancel()
		if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "keeping the event log's days; the default partition takes what has none", "error", err)
		}
		if !sleep(ctx, keepEvery) {
			return nil
		}
	}
}
