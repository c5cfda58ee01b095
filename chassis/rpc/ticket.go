package rpc

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// TicketName is the metadata that holds a ticket.
const TicketName = "watch-ticket"

// ErrTicket is the refusal of a ticket, for whatever reason: it does not reveal whose it may
// have been.
var ErrTicket = Refuse(codes.Unauthenticated, errorpb.ErrorReason_WATCH_TICKET_INVALID, "the ticket is not good here: it was used, has lapsed, or is for another watch; ask for a new one")

// Ticketed reports whether a call comes with a ticket, and without a token, to a method
// that takes tickets. The server that answers it must redeem the ticket (see
// [Server.Redeem]); the gateway, which cannot, forwards it as an anonymous call.
func (g *Guard) Ticketed(fullMethod, authorization, ticket string) bool {
	return ticket != "" && authorization == "" && g.Policy[fullMethod].Ticket
}

// Redeem makes the server take tickets: redeem returns the caller that a ticket was given to,
// or [ErrTicket], and must accept each ticket once. What they may call is then decided as
// with a token. Without Redeem, a server takes none. Call it before Serve.
func (s *Server) Redeem(redeem func(ctx context.Context, ticket string) (*auth.Identity, error)) {
	s.redeem = redeem
}

// admitTicket returns the context with the caller whose ticket it is.
func (s *Server) admitTicket(ctx context.Context, fullMethod, ticket string) (context.Context, error) {
	id, err := s.redeem(ctx, ticket)
	if err != nil {
		return ctx, err
	}
	if err := s.guard.Policy[fullMethod].permit(id); err != nil {
		return ctx, ErrTicket
	}
	return auth.NewContext(ctx, id), nil
}

// ticketOf returns the ticket of an incoming call.
func ticketOf(ctx context.Context) string {
	if values := metadata.ValueFromIncomingContext(ctx, TicketName); len(values) == 1 {
		return values[0]
	}
	return ""
}
