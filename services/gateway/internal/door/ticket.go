package door

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// ticketMost is above the length of a ticket.
const ticketMost = 128

// errAmbiguous: whichever of two credentials were taken, the caller may have meant the other,
// and who looks at the request on its way may take another than the gateway (RFC 6750, 3.1).
var errAmbiguous = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_CREDENTIALS_AMBIGUOUS, "the call has more than one token, or a token and a ticket; send one of them")

// ticketed reports whether a call is admitted by a ticket, which the service redeems. Until
// then it is a stranger's, and counts against their address. An error refuses the call: it
// has more than one credential.
func (d *Door) ticketed(method string, header func(string) []string) (ticket string, ok bool, err error) {
	tokens, tickets := header("authorization"), header(rpc.TicketName)
	if !d.Guard.Policy[method].Ticket {
		tickets = nil
	}
	ticket = first(tickets)
	switch {
	case len(tickets) > 1:
		return "", false, rpc.Invalid(TicketParam, errorpb.ErrorReason_PARAMETER_DUPLICATE, "is given twice")
	case len(tokens) > 1 || len(tokens) > 0 && ticket != "":
		return "", false, errAmbiguous
	case len(ticket) > ticketMost || !printable(ticket):
		ticket = "-" // which is none, as the service will say
	}
	return ticket, d.Guard.Ticketed(method, first(tokens), ticket), nil
}

// ticketStream is a stream that a ticket admits. It holds a share of its address for as long as
// the service has said nothing: from then on it is somebody's whom the service knows, and
// who has only so many watches there. Many who sit behind one address are not one caller.
type ticketStream struct {
	grpc.ClientStream
	freeShare func()
}

// RecvMsg implements grpc.ClientStream.
func (s *ticketStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.freeShare()
	}
	return err //nolint:wrapcheck // gRPC's own, for PublicError
}
