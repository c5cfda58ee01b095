package door

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// ticketMost is above the length of a ticket.
const ticketMost = 128

// errAmbiguous: whichever of two credentials were used, the caller may have meant the other,
// and a proxy on the way may use another one than the gateway (RFC 6750, 3.1).
var errAmbiguous = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_CREDENTIALS_AMBIGUOUS, "the call has more than one token, or a token and a ticket; send one of them")

// ticketed reports whether a call is admitted by a ticket, which the service redeems. Until
// then the call is anonymous, and counts against its address. An error refuses the call: it
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
		ticket = "-" // which the service refuses
	}
	return ticket, d.Guard.Ticketed(method, first(tokens), ticket), nil
}

// ticketStream is a stream that a ticket admits. It takes a share of its address's until the
// service's first answer: from then on the service knows whose it is, and bounds their
// watches. Many people behind one address are then not one caller.
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
