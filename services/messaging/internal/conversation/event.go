package conversation

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
func newEvent(ctx context.Context, kind string, row Row, fill func(*eventspb.Origin) proto.Message) (outbox.Event, error) {
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

// Submitted is the event that its member has opened a conversation by a message.
func Submitted(ctx context.Context, row Row, message uuid.UUID) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeMessageSubmitted, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.MessageSubmitted{
			Origin: origin, Audience: Audience(row.Audience),
			Theme: row.Theme, Topic: row.Topic, Reason: row.Reason,
			TaxonomyVersion: row.TaxonomyVersion, MessageId: message.String(),
		}
	})
}

// Replied is the event that an agent has written. Its sms is for notifiers of an earlier
// version: they plan an SMS by it, and ask whether the member wants one when it would leave,
// as those of this version do without it. closing: it says why the conversation is closed.
func Replied(ctx context.Context, row Row, message Message, closing bool) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeReplyPosted, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ReplyPosted{Origin: origin, MessageId: message.ID.String(), Final: message.Final || closing, Sms: true, Closing: closing} //nolint:staticcheck // deprecated, see above
	})
}

// Claimed is the event that an agent has taken it in charge.
func Claimed(ctx context.Context, row Row) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeConversationClaimed, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ConversationClaimed{Origin: origin}
	})
}

// Closed is the event that it has ended.
func Closed(ctx context.Context, row Row) (outbox.Event, error) {
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

// FollowedUp is the event that its member has added a message.
func FollowedUp(ctx context.Context, row Row, message uuid.UUID) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeFollowupPosted, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.FollowupPosted{Origin: origin, MessageId: message.String()}
	})
}

// Erased is the event that its member has had it erased.
func Erased(ctx context.Context, row Row) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeConversationErased, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ConversationErased{Origin: origin}
	})
}

// Recategorised is the event that its selection or queue was corrected.
func Recategorised(ctx context.Context, row Row) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeConversationRecategorised, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ConversationRecategorised{
			Origin: origin, Theme: row.Theme, Topic: row.Topic, Reason: row.Reason, TaxonomyVersion: row.TaxonomyVersion,
		}
	})
}

// Reopened is the event that an agent has opened it again.
func Reopened(ctx context.Context, row Row) (outbox.Event, error) {
	return newEvent(ctx, eventspb.TypeConversationReopened, row, func(origin *eventspb.Origin) proto.Message {
		return &eventspb.ConversationReopened{Origin: origin}
	})
}
