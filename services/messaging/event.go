package messaging

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

// event is one row of the event log and of the outbox.
type event struct {
	id      uuid.UUID
	kind    string
	payload []byte
	// trace is the W3C traceparent of the call that caused it, so that the trace
	// goes on at whoever consumes the event.
	trace string
}

// newEvent makes an event about a conversation as it is after the change. fill
// gets the origin that every payload carries and returns the payload.
func newEvent(ctx context.Context, kind string, row conversationRow, fill func(*eventspb.Origin) proto.Message) (event, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return event{}, fmt.Errorf("drawing an event id: %w", err)
	}
	payload, err := proto.Marshal(fill(&eventspb.Origin{
		EventId: id.String(), ConversationId: row.ID.String(), Reference: row.Reference,
		Caisse: row.Caisse, Queue: row.Queue, Version: row.Version,
	}))
	if err != nil {
		return event{}, fmt.Errorf("writing event %s: %w", id, err)
	}
	return event{id, kind, payload, traceParent(ctx)}, nil
}

func submittedEvent(ctx context.Context, row conversationRow, message uuid.UUID) (event, error) {
	return newEvent(ctx, eventspb.TypeMessageSubmitted, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.MessageSubmitted{
			Origin: origin, Audience: audienceOf(row.Audience),
			Theme: row.Theme, Topic: row.Topic, Reason: row.Reason,
			TaxonomyVersion: row.TaxonomyVersion, MessageId: message.String(),
		}
	})
}

func repliedEvent(ctx context.Context, row conversationRow, message messageRow, sms bool) (event, error) {
	return newEvent(ctx, eventspb.TypeReplyPosted, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ReplyPosted{Origin: origin, MessageId: message.ID.String(), Final: message.Final, Sms: sms}
	})
}

func claimedEvent(ctx context.Context, row conversationRow) (event, error) {
	return newEvent(ctx, eventspb.TypeConversationClaimed, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ConversationClaimed{Origin: origin}
	})
}

func closedEvent(ctx context.Context, row conversationRow) (event, error) {
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

func followedUpEvent(ctx context.Context, row conversationRow, message uuid.UUID) (event, error) {
	return newEvent(ctx, eventspb.TypeFollowupPosted, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.FollowupPosted{Origin: origin, MessageId: message.String()}
	})
}

func erasedEvent(ctx context.Context, row conversationRow) (event, error) {
	return newEvent(ctx, eventspb.TypeConversationErased, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ConversationErased{Origin: origin}
	})
}
