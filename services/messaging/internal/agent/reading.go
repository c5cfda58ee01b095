package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// errUnread is the refusal of what was decided before somebody wrote. ABORTED, as it is to be
// decided anew, and not FAILED_PRECONDITION, which is a stale If-Match.
var errUnread = rpc.Refuse(codes.Aborted, errorpb.ErrorReason_CONVERSATION_CHANGED, "somebody has written since; read what is new")

// lastMessage is the message that a caller has read last.
func lastMessage(given string) (uuid.UUID, error) {
	if given == "" {
		return uuid.Nil, rpc.Invalid("lastMessageId", errorpb.ErrorReason_LAST_MESSAGE_REQUIRED, "give the lastMessageId of the conversation that was read")
	}
	id, err := uuid.Parse(given)
	if err != nil {
		return uuid.Nil, rpc.Invalid("lastMessageId", errorpb.ErrorReason_UUID_INVALID, "this is not a UUID")
	}
	return id, nil
}

// unreadFaults are those of a request that says what was read.
func unreadFaults(given string) []rpc.Violation {
	if given != "" {
		return nil // its rule is in the .proto
	}
	_, err := lastMessage(given)
	return rpc.FaultsOf(err)
}

// seen refuses what was decided before the last message was written.
func seen(row *change.Current, last uuid.UUID) error {
	if row.Standing.LastMessageID != last {
		return errUnread
	}
	return nil
}

const (
	// mostUnread is how many messages a refusal tells of, and unreadBytes how long their texts
	// are together: it has to pass as a header of HTTP/2.
	mostUnread  = 20
	unreadBytes = 6000
)

// withUnread gives errUnread what was written since a message: the caller has then read it,
// which goes into the audit. Any other error stays as it is.
func (s *Server) withUnread(ctx context.Context, err error, id string, since uuid.UUID) error {
	if !errors.Is(err, errUnread) {
		return err
	}
	found, reading := s.readForAgent(ctx, auth.FromContext(ctx), uuid.MustParse(id))
	if reading != nil {
		return fmt.Errorf("reading what is new: %w", reading)
	}
	full, reading := conversation.WithMessages(ctx, s.Vault, s.View, &found.Row, found.Messages)
	if errors.Is(reading, vault.ErrErased) || reading == nil && full.GetErased() {
		return conversation.ErrErased
	}
	if reading != nil {
		return reading
	}
	refusal := *errUnread
	refusal.Details = []proto.Message{unread(full.GetMessages(), since)}
	return &refusal
}

// unread are the messages since one of them, as far as a refusal can hold them.
func unread(messages []*messagingpb.Message, since uuid.UUID) *messagingpb.ConversationChanged {
	told := &messagingpb.ConversationChanged{}
	if len(messages) > 0 {
		told.LastMessageId = messages[len(messages)-1].GetId()
	}
	for i, message := range messages {
		if message.GetId() == since.String() {
			messages = messages[i+1:]
			break
		}
	}
	if more := len(messages) - mostUnread; more > 0 {
		messages, told.Incomplete = messages[more:], true
	}
	told.Messages = messages
	// The last ones first.
	left := unreadBytes
	for i := len(messages) - 1; i >= 0; i-- {
		if left -= len(messages[i].GetText()); left < 0 {
			messages[i].Text, told.Incomplete = "", true
		}
	}
	return told
}
