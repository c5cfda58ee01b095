package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
)

// ticketParam is how REST gives a ticket to a method that takes one.
const ticketParam = "ticket"

// takeTicket takes a ticket out of the query, so that nothing behind reads, quotes or logs
// it. The request is the same where its method takes none, or the query cannot be read:
// checkQuery tells.
func takeTicket(rt *route, r *http.Request) (ticket string, without *http.Request) {
	if !rt.Ticket || !strings.Contains(r.URL.RawQuery, ticketParam) {
		return "", r
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(values[ticketParam]) != 1 {
		return "", r
	}
	ticket = values.Get(ticketParam)
	values.Del(ticketParam)
	without = r.WithContext(r.Context())
	copied := *r.URL
	copied.RawQuery = values.Encode()
	without.URL = &copied
	return ticket, without
}

// withTicket gives a request's headers, among which a ticket comes from nowhere else.
func withTicket(ticket string, header http.Header) func(string) []string {
	return func(name string) []string {
		switch {
		case name != rpc.TicketName:
			return header.Values(name)
		case ticket != "":
			return []string{ticket}
		}
		return nil
	}
}

// ticketMost is above the length of a ticket.
const ticketMost = 128

// ticketed reports whether a call is admitted by a ticket, which the service redeems. Until
// then it is a stranger's, and counts against their address.
func (d *door) ticketed(method string, header func(string) []string) (ticket string, ok bool) {
	if ticket = first(header(rpc.TicketName)); len(ticket) > ticketMost || !printable(ticket) {
		ticket = "-" // which is none, as the service will say
	}
	return ticket, d.guard.Ticketed(method, first(header("authorization")), ticket)
}

// redeemed is a stream that a ticket admits. It holds a share of its address for as long as
// the service has said nothing: from then on it is somebody's whom the service knows, and
// who has only so many watches there. Many who sit behind one address are not one caller.
type redeemed struct {
	grpc.ClientStream
	give func()
}

// RecvMsg implements grpc.ClientStream.
func (s *redeemed) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.give()
	}
	return err //nolint:wrapcheck // gRPC's own, for told
}
