package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
)

// takeTicket removes the tickets from the query, so that nothing downstream reads, quotes or
// logs them; more than one is for the door to refuse. The request is unchanged if its method
// takes none.
func takeTicket(rt *route.Route, r *http.Request) (tickets []string, without *http.Request, err error) {
	if !rt.Ticket || !strings.Contains(r.URL.RawQuery, door.TicketParam) {
		return nil, r, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, r, errBadQuery
	}
	tickets = values[door.TicketParam]
	values.Del(door.TicketParam)
	without = r.WithContext(r.Context())
	copied := *r.URL
	copied.RawQuery = values.Encode()
	without.URL = &copied
	return tickets, without, nil
}

// withTickets returns a lookup in a request's headers that has the tickets of the query, and
// none from a header.
func withTickets(tickets []string, header http.Header) func(string) []string {
	return func(name string) []string {
		if name == rpc.TicketName {
			return tickets
		}
		return header.Values(name)
	}
}
