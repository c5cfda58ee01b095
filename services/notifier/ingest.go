package notifier

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
)

// ingestBatch is the most events that one transaction puts into the ledger.
const ingestBatch = 500

// intake is the consumer whose events make deliveries.
var intake = bus.Consumer{
	Durable:   eventspb.NotifierConsumer,
	Subjects:  eventspb.NotifierSubjects(),
	BatchSize: ingestBatch,
}

// reasonEventUnread is why an event is set aside.
const reasonEventUnread = "EVENT_UNREADABLE"

// ingest turns events into planned deliveries. It calls nobody but the database:
// a slow provider must not hold up the broker.
type ingest struct {
	ledger *ledger.Ledger
	wake   func()
	counts *instruments
}

// take stores a batch of events in one transaction. It returns an error only if
// the database did not take it; the batch then comes again, whole.
//
// What cannot be read is set aside: stored among the dead letters, counted, and
// acknowledged, so that it holds up nothing.
func (in *ingest) take(ctx context.Context, msgs []bus.Msg) error {
	var plans []ledger.Plan
	for _, msg := range msgs {
		more, err := plansOf(msg)
		switch {
		case err != nil:
			slog.ErrorContext(msg.Context(ctx), "setting an event aside", "event", msg.ID, "type", msg.Type, "error", err)
			in.counts.event(ctx, msg.Type, "set_aside")
			aside := ledger.Unreadable{MessageID: msg.ID, Type: msg.Type, TraceContext: msg.TraceParent, Payload: msg.Data, OccurredAt: msg.Time, Reason: reasonEventUnread}
			if err := in.ledger.SetAside(ctx, aside); err != nil {
				return err
			}
		case more == nil:
			in.counts.event(ctx, msg.Type, "ignored")
		default:
			in.counts.event(ctx, msg.Type, "planned")
		}
		plans = append(plans, more...)
	}
	if len(plans) == 0 {
		return nil
	}
	added, err := in.ledger.Plan(ctx, plans)
	if err != nil {
		return err
	}
	if added > 0 {
		in.wake()
	}
	return nil
}

// plansOf returns the deliveries that an event asks for: an acknowledgement, or the
// announcement of a reply or of a closing, by e-mail and by SMS. Whether the member wishes the SMS is asked
// when it would leave, and nowhere else (see wished). Other events ask for none.
func plansOf(msg bus.Msg) ([]ledger.Plan, error) {
	var event interface {
		proto.Message
		GetOrigin() *eventspb.Origin
	}
	var kind ledger.EventType
	switch eventspb.TypeOf(msg.Type) {
	case eventspb.TypeMessageSubmitted:
		event, kind = new(eventspb.MessageSubmitted), ledger.MessageSubmitted
	case eventspb.TypeReplyPosted:
		event, kind = new(eventspb.ReplyPosted), ledger.ReplyPosted
	default:
		return nil, nil
	}
	if err := proto.Unmarshal(msg.Data, event); err != nil {
		return nil, fmt.Errorf("decoding its payload: %w", err)
	}
	id, err := uuid.Parse(event.GetOrigin().GetEventId())
	if err != nil {
		return nil, fmt.Errorf("reading its event id: %w", err)
	}
	conversation, err := uuid.Parse(event.GetOrigin().GetConversationId())
	if err != nil {
		return nil, fmt.Errorf("reading its conversation id: %w", err)
	}
	reply, _ := event.(*eventspb.ReplyPosted)
	plans := make([]ledger.Plan, len(ledger.Channels))
	for i, channel := range ledger.Channels {
		plans[i] = ledger.Plan{
			EventID: id, Channel: channel, EventType: kind, Closing: reply.GetClosing(), ConversationID: conversation, Caisse: event.GetOrigin().GetCaisse(),
			LoggedAt: msg.Time, TraceContext: msg.TraceParent,
		}
	}
	return plans, nil
}
