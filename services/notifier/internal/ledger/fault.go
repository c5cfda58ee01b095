package ledger

import (
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// ErrUnavailable is what callers are told while the database cannot be reached.
var ErrUnavailable = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_STORE_UNAVAILABLE, "the database cannot be reached; try again")

// StatusOf turns an error of the ledger into what the caller is told.
func StatusOf(err error) error {
	if postgres.IsUnreachable(err) {
		return ErrUnavailable.Because(err)
	}
	return err
}
