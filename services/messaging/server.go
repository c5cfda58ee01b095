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
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/draft"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/member"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reference"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

var (
	errProfile     = rpc.Refuse(codes.PermissionDenied, errorpb.ErrorReason_AUDIENCE_NOT_YOURS, "the caller has no profile for this audience")
	errUnavailable = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_STORE_UNAVAILABLE, "the store cannot be used now; try again with the same idempotency key")
)

// server is the services of members and of the notifier; what is not here is in the packages
// whose types it embeds. The agents' is [agent.Server].
type server struct {
	unimplemented
	*draft.Drafts
	*member.Members

	store      *store
	reports    *reports.Reports
	vault      *vault.Vault
	taxonomy   *taxonomy.Versions
	committer  *committer
	changes    *change.Changes
	references *reference.Source
	counts     *instruments
	hub        *watch.Hub
	hints      *watch.Hints

	defaultCaisse string
	view          conversation.View
}

// unimplemented is embedded one level deeper than the methods that implement calls, which
// therefore take precedence.
type unimplemented struct {
	messagingpb.UnimplementedMessagingServiceServer
	messagingpb.UnimplementedRecipientServiceServer
}

// store is the database. Each noun's file has its statements; times are the database's.
type store struct {
	pool  *pgxpool.Pool
	kinds seenKinds
}

func newStore(pool *pgxpool.Pool) *store {
	return &store{pool: pool, kinds: seenKinds{seen: make(map[kind]time.Time)}}
}

// refusalOf turns what the calls return into what a caller gets.
func refusalOf(err error) error {
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return conversation.ErrUnknown
	case errors.Is(err, vault.ErrErased):
		return conversation.ErrErased
	case errors.Is(err, batch.ErrStopped), errors.Is(err, batch.ErrCrowded), errors.Is(err, vault.ErrStale), errors.Is(err, vault.ErrRetiring), postgres.IsUnreachable(err):
		return errUnavailable.Because(err)
	}
	var needed *vault.NeededError
	if errors.As(err, &needed) { // twice
		return errUnavailable.Because(err)
	}
	return err
}

// domainName is one or more labels of lower case (RFC 1123, 2.1).
var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

func validDomain(name string) bool { return len(name) <= 253 && domainName.MatchString(name) }
