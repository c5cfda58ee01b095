package messaging

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
)

// eventLogServer is EventLogService: it gives the event log to consumers who want
// to know what they have missed, without the broker.
type eventLogServer struct {
	messagingpb.UnimplementedEventLogServiceServer
	log *outbox.Store
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
	slots, settled, err := s.log.Digests(ctx, req.GetTypes(), req.GetFrom().AsTime(), before)
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.ListDigestsResponse{SettledTime: timestamppb.New(settled), Retention: durationpb.New(s.retention)}
	for _, slot := range slots {
		resp.Slots = append(resp.Slots, &messagingpb.SlotDigest{Start: timestamppb.New(slot.Start), Count: slot.Count, Digest: slot.Digest})
	}
	return resp, nil
}

// ListEvents implements EventLogService.
func (s *eventLogServer) ListEvents(ctx context.Context, req *messagingpb.ListEventsRequest) (*messagingpb.ListEventsResponse, error) {
	after, err := page.Of(ctx, req)
	if err != nil {
		return nil, err
	}
	var position page.Key
	if after != nil {
		position = *after
	}
	size := outbox.MostEvents
	if req.GetPageSize() > 0 {
		size = min(int(req.GetPageSize()), outbox.MostEvents)
	}
	rows, err := s.log.Events(ctx, req.GetTypes(), req.GetFrom().AsTime(), req.GetBefore().AsTime(), position.At, position.ID, size+1)
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.ListEventsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = page.Next(ctx, req, rows[size-1].CreatedAt, rows[size-1].ID)
	}
	for _, row := range rows {
		resp.Events = append(resp.Events, &messagingpb.LoggedEvent{
			Id: row.ID.String(), Type: row.Type, Caisse: row.Caisse, ConversationId: row.ConversationID.String(),
			CreateTime: timestamppb.New(row.CreatedAt), Payload: row.Payload,
		})
	}
	return resp, nil
}
