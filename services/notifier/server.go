package notifier

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	reports "github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
)

// server is NotifierService, and the base of the services for agents and operators.
type server struct {
	notifierpb.UnimplementedNotifierServiceServer
	ledger *ledger.Ledger
	// apart reads the ledger through connections of its own, by turns (asked): what
	// operators ask costs as much as there is, and must not hold up what is sent.
	apart  *ledger.Ledger
	asked  *reports.Limiter
	maxAge time.Duration

	recipients messagingpb.RecipientServiceClient
	wake       func()
	// broker and lanes are what GetStatus looks at beside the ledger.
	broker *bus.Bus
	lanes  []*lane
}

// Refusals of this service.
var (
	errNoConversation = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_CONVERSATION_NOT_FOUND, "no such conversation")
	errNoLetter       = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_DEAD_LETTER_NOT_FOUND, "no such dead letter; it may have been replayed or dropped")
	errBadLetter      = rpc.Invalid("id", errorpb.ErrorReason_DEAD_LETTER_ID_INVALID, "must be as ListDeadLetters gives it: a UUID followed by .EMAIL, .SMS or .EVENT")
	errReplayNothing  = rpc.Invalid("ids", errorpb.ErrorReason_SELECTION_INVALID, "give ids or a filter, one of the two")
	// errReplayBoth names what is too much: ids may have faults of their own beside it.
	errReplayBoth = rpc.Invalid("filter", errorpb.ErrorReason_SELECTION_INVALID, "give ids or a filter, one of the two")
)

// ListDeliveries returns the notifications about one of the member's own
// conversations.
func (s *server) ListDeliveries(ctx context.Context, req *notifierpb.ListDeliveriesRequest) (*notifierpb.ListDeliveriesResponse, error) {
	list, next, err := s.timeline(ctx, req, &messagingpb.CheckReaderRequest{
		Reader: &messagingpb.CheckReaderRequest_Member{Member: auth.FromContext(ctx).Subject},
	})
	return &notifierpb.ListDeliveriesResponse{Deliveries: list, NextPageToken: next}, err
}

// agentServer is AgentService.
type agentServer struct {
	notifierpb.UnimplementedAgentServiceServer
	*server
}

// operatorServer is OperatorService.
type operatorServer struct {
	notifierpb.UnimplementedOperatorServiceServer
	*server
}

// ListDeliveries is the same within an agent's scope.
func (s *agentServer) ListDeliveries(ctx context.Context, req *notifierpb.AgentServiceListDeliveriesRequest) (*notifierpb.AgentServiceListDeliveriesResponse, error) {
	id := auth.FromContext(ctx)
	list, next, err := s.timeline(ctx, req, &messagingpb.CheckReaderRequest{
		Reader: &messagingpb.CheckReaderRequest_Agent{Agent: &messagingpb.AgentScope{Caisse: id.Caisse, Queues: id.Queues}},
	})
	return &notifierpb.AgentServiceListDeliveriesResponse{Deliveries: list, NextPageToken: next}, err
}

// timelineRequest asks for a page of a conversation's deliveries.
type timelineRequest interface {
	rpc.ListRequest
	GetConversationId() string
	GetPageSize() int32
}

// timelineMost is the most deliveries on a page, and how many it has unless asked for fewer.
const timelineMost = 1000

// timeline returns a page of a conversation's deliveries if the messaging service, which
// knows whose it is, lets the reader see it.
func (s *server) timeline(ctx context.Context, req timelineRequest, reader *messagingpb.CheckReaderRequest) (list []*notifierpb.Delivery, next string, err error) {
	after, err := letterKeyOf(ctx, req)
	if err != nil {
		return nil, "", err
	}
	reader.ConversationId = req.GetConversationId()
	_, err = s.recipients.CheckReader(ctx, reader)
	if status.Code(err) == codes.NotFound {
		return nil, "", errNoConversation
	}
	if err != nil {
		return nil, "", rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_MESSAGING_UNAVAILABLE, "cannot tell who may see this conversation; try again").Because(err)
	}
	size := timelineMost
	if req.GetPageSize() > 0 {
		size = min(int(req.GetPageSize()), timelineMost)
	}
	rows, err := s.ledger.Timeline(ctx, uuid.MustParse(req.GetConversationId()), after, size+1)
	if err != nil {
		return nil, "", ledger.StatusOf(err)
	}
	if len(rows) > size {
		rows = rows[:size]
		last := rows[size-1]
		next = rpc.PageToken(ctx, req, keyText(ledger.Place{At: last.OccurredAt, ID: last.EventID, Channel: string(last.Channel)}))
	}
	list = make([]*notifierpb.Delivery, 0, len(rows))
	for _, row := range rows {
		if row.State == ledger.Suppressed && row.Reason == ledger.ReasonNotWanted || undecided(row) {
			continue // what a member does not want is no part of what happened
		}
		entry := &notifierpb.Delivery{
			Channel: channelOf[row.Channel], Purpose: purposeOf[row.EventType], State: stateOf[row.State],
			OccurTime: timestamppb.New(row.OccurredAt), UpdateTime: timestamppb.New(row.UpdatedAt),
		}
		if entry.GetState() != notifierpb.DeliveryState_PENDING {
			// While it is under way, the reason of its last failure is of no use to a reader.
			entry.Reason = row.Reason
		}
		list = append(list, entry)
	}
	return list, next, nil
}

// undecided reports whether nobody knows yet, or ever will, that a member wants this SMS:
// about a reply few do, and they are asked when it would leave. None has been tried then.
func undecided(e ledger.Entry) bool {
	if e.EventType != ledger.ReplyPosted || e.Channel != ledger.SMS {
		return false
	}
	return e.State == ledger.Planned || e.State == ledger.Sending && e.Attempts == 1 || e.State == ledger.Expired && e.Attempts == 0
}

var channelOf = map[ledger.Channel]notifierpb.Channel{ledger.Email: notifierpb.Channel_EMAIL, ledger.SMS: notifierpb.Channel_SMS}

var purposeOf = map[ledger.EventType]notifierpb.Purpose{
	ledger.MessageSubmitted: notifierpb.Purpose_ACKNOWLEDGEMENT, ledger.ReplyPosted: notifierpb.Purpose_REPLY,
}

var stateOf = map[ledger.State]notifierpb.DeliveryState{
	ledger.Planned: notifierpb.DeliveryState_PENDING, ledger.Sending: notifierpb.DeliveryState_PENDING,
	ledger.Retry: notifierpb.DeliveryState_PENDING, ledger.Unknown: notifierpb.DeliveryState_PENDING,
	ledger.Accepted: notifierpb.DeliveryState_ACCEPTED, ledger.Delivered: notifierpb.DeliveryState_DELIVERED,
	ledger.Bounced: notifierpb.DeliveryState_BOUNCED, ledger.Complained: notifierpb.DeliveryState_COMPLAINED,
	ledger.Refused: notifierpb.DeliveryState_REFUSED, ledger.Expired: notifierpb.DeliveryState_EXPIRED,
	ledger.Suppressed: notifierpb.DeliveryState_SUPPRESSED,
}

const (
	pageDefault = 20
	pageMost    = 100
)

// ListDeadLetters returns a page, newest first.
func (s *operatorServer) ListDeadLetters(ctx context.Context, req *notifierpb.ListDeadLettersRequest) (*notifierpb.ListDeadLettersResponse, error) {
	after, err := letterKeyOf(ctx, req)
	if err != nil {
		return nil, err
	}
	size := pageDefault
	if req.GetPageSize() > 0 {
		size = min(int(req.GetPageSize()), pageMost)
	}
	filter := narrow(req.GetKind(), req.GetChannel())
	filter.Reason, filter.Provider = req.GetReason(), req.GetProvider()
	letters, err := reports.Read(ctx, s.asked, question(ctx, ""), func(ctx context.Context) ([]ledger.DeadLetter, error) {
		return s.apart.DeadLetters(ctx, filter, after, size+1)
	})
	if err != nil {
		return nil, ledger.StatusOf(err)
	}
	resp := &notifierpb.ListDeadLettersResponse{}
	if len(letters) > size {
		letters = letters[:size]
		resp.NextPageToken = rpc.PageToken(ctx, req, keyOf(letters[size-1]))
	}
	for _, letter := range letters {
		resp.DeadLetters = append(resp.DeadLetters, letterOf(letter))
	}
	return resp, nil
}

// question is one of the calling operator's, for them alone when there is no key.
func question(ctx context.Context, key string) reports.Question {
	return reports.Question{Caller: auth.FromContext(ctx).Subject, Key: key}
}

// narrow selects by kind and channel. Events have no channel, so a filter for
// events of a channel selects nothing.
func narrow(kind notifierpb.DeadLetterKind, channel notifierpb.Channel) ledger.Filter {
	var f ledger.Filter
	f.Deliveries = kind == notifierpb.DeadLetterKind_DELIVERY
	if channel != notifierpb.Channel_CHANNEL_UNSPECIFIED {
		f.Channel = channel.String()
	}
	if kind == notifierpb.DeadLetterKind_EVENT {
		if f.Channel != "" {
			f.Deliveries = true // and of a channel that no delivery has
		}
		f.Channel = ledger.Event
	}
	return f
}

func letterOf(row ledger.DeadLetter) *notifierpb.DeadLetter {
	letter := &notifierpb.DeadLetter{
		Id: row.ID.String() + "." + row.Channel, Kind: notifierpb.DeadLetterKind_DELIVERY, EventType: row.Kind, Caisse: row.Caisse,
		State: stateOf[row.State], Reason: row.Reason, Provider: row.Provider, Attempts: row.Attempts, EndTime: timestamppb.New(row.EndedAt),
	}
	if row.Channel == ledger.Event {
		letter.Kind = notifierpb.DeadLetterKind_EVENT
	}
	if row.ConversationID != nil {
		letter.ConversationId = row.ConversationID.String()
	}
	if row.OccurredAt != nil {
		letter.OccurTime = timestamppb.New(*row.OccurredAt)
	}
	return letter
}

// parseLetterID undoes the id of letterOf.
func parseLetterID(id string) (uuid.UUID, string, error) {
	name, channel, _ := strings.Cut(id, ".")
	letter, err := uuid.Parse(name)
	if err != nil || !isLetterChannel(channel) {
		return letter, channel, errBadLetter
	}
	return letter, channel, nil
}

func isLetterChannel(channel string) bool {
	return channel == string(ledger.Email) || channel == string(ledger.SMS) || channel == ledger.Event
}

// keyOf is the place of a letter in the list.
func keyOf(row ledger.DeadLetter) []byte {
	return keyText(ledger.Place{At: row.EndedAt, ID: row.ID, Channel: row.Channel})
}

// keyText is a place in a list, as a page token has it.
func keyText(k ledger.Place) []byte {
	return fmt.Appendf(nil, "%s %s %s", k.At.UTC().Format(time.RFC3339Nano), k.ID, k.Channel)
}

// letterKeyOf is where a page begins; nil for the first.
func letterKeyOf(ctx context.Context, req rpc.ListRequest) (*ledger.Place, error) {
	text, err := rpc.PageKey(ctx, req)
	if err != nil || text == nil {
		return nil, err
	}
	parts := strings.Split(string(text), " ")
	if len(parts) != 3 {
		return nil, rpc.ErrPageToken
	}
	ended, err1 := time.Parse(time.RFC3339Nano, parts[0])
	id, err2 := uuid.Parse(parts[1])
	if err1 != nil || err2 != nil || !isLetterChannel(parts[2]) {
		return nil, rpc.ErrPageToken
	}
	return &ledger.Place{At: ended, ID: id, Channel: parts[2]}, nil
}

// ReplayDeadLetters has dead letters tried again.
func (s *operatorServer) ReplayDeadLetters(ctx context.Context, req *notifierpb.ReplayDeadLettersRequest) (*notifierpb.ReplayDeadLettersResponse, error) {
	filter, err := replayFilter(req)
	if err != nil {
		return nil, err
	}
	if req.GetDryRun() {
		n, err := reports.Read(ctx, s.asked, question(ctx, ""), func(ctx context.Context) (int32, error) {
			return s.apart.CountDeadLetters(ctx, filter)
		})
		return &notifierpb.ReplayDeadLettersResponse{Replayed: n}, ledger.StatusOf(err)
	}
	operator := auth.FromContext(ctx).Subject
	leave, err := s.asked.Enter(ctx, operator)
	if err != nil {
		return nil, err
	}
	defer leave()
	events, err := s.replayEvents(ctx, operator, filter)
	if err != nil {
		return nil, ledger.StatusOf(err)
	}
	n, err := s.ledger.Replay(ctx, operator, filter)
	if err != nil {
		return nil, ledger.StatusOf(err)
	}
	slog.InfoContext(ctx, "dead letters replayed", "operator", operator, "deliveries", n, "events", events)
	s.wake()
	return &notifierpb.ReplayDeadLettersResponse{Replayed: n + events}, nil
}

func replayFilter(req *notifierpb.ReplayDeadLettersRequest) (ledger.Filter, error) {
	switch {
	case len(req.GetIds()) == 0 && req.GetFilter() == nil:
		return ledger.Filter{}, errReplayNothing
	case len(req.GetIds()) > 0 && req.GetFilter() != nil:
		return ledger.Filter{}, errReplayBoth
	}
	filter := narrow(req.GetFilter().GetKind(), req.GetFilter().GetChannel())
	filter.Reason, filter.Provider = req.GetFilter().GetReason(), req.GetFilter().GetProvider()
	if from := req.GetFilter().GetEndedFrom(); from != nil {
		at := from.AsTime()
		filter.From = &at
	}
	if before := req.GetFilter().GetEndedBefore(); before != nil {
		at := before.AsTime()
		filter.Before = &at
	}
	for _, name := range req.GetIds() {
		id, channel, err := parseLetterID(name)
		if err != nil {
			return filter, rpc.Invalid("ids", errBadLetter.Reason, errBadLetter.Violations[0].Description)
		}
		filter.IDs, filter.Channels = append(filter.IDs, id), append(filter.Channels, channel)
	}
	return filter, nil
}

// replayEvents reads events again that could not be read. Those that still cannot
// stay where they are.
func (s *operatorServer) replayEvents(ctx context.Context, operator string, filter ledger.Filter) (n int32, err error) {
	rows, err := s.ledger.AsideEvents(ctx, filter)
	if err != nil {
		return 0, err
	}
	for _, row := range rows {
		msg := bus.Msg{ID: row.MessageID, Type: row.Type, Data: row.Payload, TraceParent: row.TraceContext}
		if row.OccurredAt != nil {
			msg.Time = *row.OccurredAt
		}
		plans, err := plansOf(msg)
		if err != nil {
			continue
		}
		if _, err := s.ledger.Plan(ctx, plans); err != nil {
			return n, err
		}
		if err := s.ledger.EndAside(ctx, operator, row.ID); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// DropDeadLetter takes a dead letter off the list for good.
func (s *operatorServer) DropDeadLetter(ctx context.Context, req *notifierpb.DropDeadLetterRequest) (*notifierpb.DropDeadLetterResponse, error) {
	id, channel, err := parseLetterID(req.GetId())
	if err != nil {
		return nil, err
	}
	operator := auth.FromContext(ctx).Subject
	dropped, err := s.ledger.Drop(ctx, operator, id, channel, req.GetNote())
	if err != nil {
		return nil, ledger.StatusOf(err)
	}
	if !dropped {
		return nil, errNoLetter
	}
	slog.InfoContext(ctx, "dead letter dropped", "operator", operator, "letter", req.GetId())
	return &notifierpb.DropDeadLetterResponse{}, nil
}
