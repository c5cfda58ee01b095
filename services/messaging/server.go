package messaging

import (
	"errors"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reference"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// Refusals without a faulty field.
var (
	errConversationUnknown = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_CONVERSATION_NOT_FOUND, "no such conversation")
	errDraftUnknown        = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_DRAFT_NOT_FOUND, "no such draft; it may have been sent, or be older than seven days")
	errConversationClosed  = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CONVERSATION_CLOSED, "the conversation is closed")
	errNotClaimed          = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CLAIM_NOT_HELD, "nobody holds a claim on the conversation")
	errKeyReused           = rpc.Refuse(codes.AlreadyExists, errorpb.ErrorReason_IDEMPOTENCY_KEY_REUSED, "the caller has used this idempotency key before, with other content or for another conversation")
	errProfile             = rpc.Refuse(codes.PermissionDenied, errorpb.ErrorReason_AUDIENCE_NOT_YOURS, "the caller has no profile for this audience")
	errNoCaisse            = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CAISSE_UNKNOWN, "the caller's token names no caisse, or none that can be one")
	errUnavailable         = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_STORE_UNAVAILABLE, "the store cannot be used now; try again with the same idempotency key")
)

// server is the services of members and of the notifier. The agents' is [agentServer].
type server struct {
	messagingpb.UnimplementedMessagingServiceServer
	messagingpb.UnimplementedRecipientServiceServer

	store      *store
	reports    *reports
	vault      *vault.Vault
	members    *members
	catalogue  *taxonomy.Versions
	committer  *committer
	changes    *change.Changes
	references *reference.Source
	counts     *instruments
	hub        *watch.Hub
	hints      *watch.Hints

	// wake has the relay look at what was committed.
	wake          func()
	claimLease    time.Duration
	defaultCaisse string
}

// errNotFound is the error of a query for a row that is not there or not within what the
// caller may see; the two are told apart nowhere.
var errNotFound = pgx.ErrNoRows

// store is the database. Each noun's file has its statements; a function that takes a pgx.Tx
// shares its caller's transaction, and a queue… one its caller's batch. Times are the
// database's.
type store struct {
	pool *pgxpool.Pool
}

// statusOf turns what the rest of the package returns into what a caller gets.
func statusOf(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNotFound):
		return errConversationUnknown
	case errors.Is(err, batch.ErrStopped), errors.Is(err, batch.ErrCrowded), postgres.IsUnreachable(err):
		return errUnavailable.Because(err)
	}
	return err
}

// domainName is one or more labels of lower case (RFC 1123, 2.1).
var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

func validDomain(name string) bool { return len(name) <= 253 && domainName.MatchString(name) }
