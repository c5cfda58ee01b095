package messaging

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
)

// newEvent makes an event about a conversation as it is after the change. fill
// gets the origin that every payload carries and returns the payload.
func newEvent(ctx context.Context, kind string, row conversationRow, fill func(*eventspb.Origin) proto.Message) (outbox.Event, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return outbox.Event{}, fmt.Errorf("drawing an event id: %w", err)
	}
	payload, err := proto.Marshal(fill(&eventspb.Origin{
		EventId: id.String(), ConversationId: row.ID.String(), Reference: row.Reference,
		Caisse: row.Caisse, Queue: row.Queue, Version: row.Version,
	}))
	if err != nil {
		return outbox.Event{}, fmt.Errorf("writing event %s: %w", id, err)
	}
	return outbox.Event{ID: id, Type: kind, Caisse: row.Caisse, ConversationID: row.ID, Payload: payload, Trace: traceParent(ctx)}, nil
}

func submittedEvent(ctx context.Context, row conversationRow, message uuid.UUID) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeMessageSubmitted, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.MessageSubmitted{
			Origin: origin, Audience: audienceOf(row.Audience),
			Theme: row.Theme, Topic: row.Topic, Reason: row.Reason,
			TaxonomyVersion: row.TaxonomyVersion, MessageId: message.String(),
		}
	})
}

func repliedEvent(ctx context.Context, row conversationRow, message messageRow, sms bool) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeReplyPosted, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ReplyPosted{Origin: origin, MessageId: message.ID.String(), Final: message.Final, Sms: sms}
	})
}

func claimedEvent(ctx context.Context, row conversationRow) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeConversationClaimed, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ConversationClaimed{Origin: origin}
	})
}

func closedEvent(ctx context.Context, row conversationRow) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeConversationClosed, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ConversationClosed{Origin: origin}
	})
}

// traceParent is the current span as text.
func traceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

func followedUpEvent(ctx context.Context, row conversationRow, message uuid.UUID) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeFollowupPosted, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.FollowupPosted{Origin: origin, MessageId: message.String()}
	})
}

func erasedEvent(ctx context.Context, row conversationRow) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeConversationErased, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ConversationErased{Origin: origin}
	})
}
