package operator

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
)

var errRefusedUnknown = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_REFUSED_EVENT_NOT_FOUND, "no such event is refused; it may have been published")

// ListRefusedEvents implements OperatorService.
func (s *Server) ListRefusedEvents(ctx context.Context, req *messagingpb.ListRefusedEventsRequest) (*messagingpb.ListRefusedEventsResponse, error) {
	after, err := page.Of(ctx, req)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	var from page.Key
	if after != nil {
		from = *after
	}
	rows, err := report.Read(ctx, s.Reports.Lists, reports.Alone(ctx), func(ctx context.Context) ([]outbox.Refused, error) {
		return outbox.New(s.Reports.DB).Refused(ctx, from.At, from.ID, size+1)
	})
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.ListRefusedEventsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = page.Next(ctx, req, rows[size-1].CreatedAt, rows[size-1].ID)
	}
	for _, row := range rows {
		event := &messagingpb.RefusedEvent{
			Id: row.ID.String(), Type: row.Type, Caisse: row.Caisse, ConversationId: row.ConversationID.String(), CreateTime: timestamppb.New(row.CreatedAt),
			Reason: row.Reason, Tries: int32(row.Tries), TryTime: timestamppb.New(row.TriedAt),
		}
		if row.SetAsideAt != nil {
			event.SetAsideTime = timestamppb.New(*row.SetAsideAt)
		}
		resp.Events = append(resp.Events, event)
	}
	return resp, nil
}

// RequeueRefusedEvents implements OperatorService.
func (s *Server) RequeueRefusedEvents(ctx context.Context, req *messagingpb.RequeueRefusedEventsRequest) (*messagingpb.RequeueRefusedEventsResponse, error) {
	if err := checkRequeue(req); err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, len(req.GetIds()))
	for i, id := range req.GetIds() {
		ids[i] = uuid.MustParse(id)
	}
	requeued, err := outbox.New(s.DB).Requeue(ctx, req.GetAll(), ids)
	if err != nil {
		return nil, err
	}
	return &messagingpb.RequeueRefusedEventsResponse{Requeued: int32(requeued)}, nil //nolint:gosec // few
}

// CheckWhole registers the checks that the calls make themselves, to run also for a request that
// breaks rules of its .proto: the caller gets all faults at once.
func (s *Server) CheckWhole(to *rpc.Server) {
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.RequeueRefusedEventsRequest) []rpc.Violation {
		return rpc.FaultsOf(checkRequeue(req))
	})
}

// checkRequeue checks that events are selected by ids or by all, not by both. With both, the
// fault is on all: ids may have faults of their own.
func checkRequeue(req *messagingpb.RequeueRefusedEventsRequest) error {
	const words = "give ids, or all, and one of them alone"
	switch {
	case len(req.GetIds()) > 0 && req.GetAll():
		return rpc.Invalid("all", errorpb.ErrorReason_SELECTION_INVALID, words)
	case len(req.GetIds()) == 0 && !req.GetAll():
		return rpc.Invalid("ids", errorpb.ErrorReason_SELECTION_INVALID, words)
	}
	return nil
}

// DropRefusedEvent implements OperatorService.
func (s *Server) DropRefusedEvent(ctx context.Context, req *messagingpb.DropRefusedEventRequest) (*messagingpb.DropRefusedEventResponse, error) {
	err := pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		dropped, err := outbox.Drop(ctx, tx, uuid.MustParse(req.GetId()))
		if errors.Is(err, pgx.ErrNoRows) {
			return errRefusedUnknown
		}
		if err != nil {
			return err
		}
		by := auth.FromContext(ctx)
		return conversation.Audit(ctx, tx, conversation.Audited{
			AgentID: by.Subject, AgentName: conversation.AgentName(by), Client: by.Client,
			Caisse: dropped.Caisse, Action: lifecycle.DropEvent, ConversationID: dropped.ConversationID,
		})
	})
	return &messagingpb.DropRefusedEventResponse{}, err
}
