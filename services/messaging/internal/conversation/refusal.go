package conversation

import (
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// Refusals of calls about a conversation.
var (
	// ErrUnknown: there is none, or it is another's: no answer distinguishes the two.
	ErrUnknown = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_CONVERSATION_NOT_FOUND, "no such conversation")
	ErrClosed  = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CONVERSATION_CLOSED, "the conversation is closed")
	// ErrErased: its key is gone, so nothing can be written any more.
	ErrErased    = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CONVERSATION_ERASED, "the member has had the conversation erased")
	ErrChanged   = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CONVERSATION_CHANGED, "the conversation is not what If-Match says; read it again")
	ErrKeyReused = rpc.Refuse(codes.AlreadyExists, errorpb.ErrorReason_IDEMPOTENCY_KEY_REUSED, "the caller has used this idempotency key before, with other content or for another conversation")
	ErrNoCaisse  = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CAISSE_UNKNOWN, "the caller's token names no caisse, or none that can be one")
)
