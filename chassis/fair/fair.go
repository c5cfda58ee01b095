// Package fair bounds what one caller can hold of a server, so that whatever one
// does, the others' calls succeed.
//
// # What is promised
//
// A caller is who has signed in, whatever address they come from; who has not is
// their address (IPv6: its /64). One caller has a bounded number of connections
// ([Listener]), calls whose request is still being read ([Queue]), calls under way
// ([Shares]), calls in a time ([Rates]) and bytes in a time, of what never becomes a call
// too ([Conn.Spend]). What is over the bound is taken from the caller that is over it and
// from nobody else. Nothing here does I/O, and the memory of each part is bounded whatever
// callers do.
//
// # How
//
// What costs nothing yet, a connection or a request that has not come, is never
// refused for being one too many: the oldest of the same caller gives way. An honest
// request is whole within milliseconds and is not the oldest; a silent one is. What
// has begun to cost is refused instead, because its caller is known by then.
//
// A connection belongs to its address until a call on it has proved who is calling
// ([Conn.Prove]); from then on to that person. One on which several people call is a
// front end's or a load balancer's: it is shared, belongs to nobody, and no call that one
// of them makes slows or ends it.
//
// # When it breaks
//
// People who have not signed in behind one address are one caller: they share its
// bounds, and one of them can use them up. A connection on which several people call is
// read late for all of them when it brings much of which no call comes ([Conn.Spend]):
// who relays frames as they come lets one hold up the others. Its bytes as such have no
// bound. Trusted proxies ([Limits.Trusted]) are excepted, so a proxy that is not named
// is a caller like others. Many addresses at once are many callers: against those only the
// whole's bound stands ([Limits.Most]). Opening and closing a connection costs the server
// nearly as much as who does it: an address that has more connections than it may (2,048
// without a request, by default) and opens each again as soon as it is cut takes processor
// time from the others, though none of their calls fails. What bounds that is in front of
// the process: a load balancer or a packet filter that limits new connections by address.
package fair

import (
	"net"
	"net/netip"
)

// Address is what somebody who has not signed in is known by: their IP address, or
// the /64 network of an IPv6 one, as a household or an office has one whole.
func Address(ip netip.Addr) string {
	ip = ip.Unmap()
	if ip.Is6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// addressOf is that of the other end of a connection, and its IP address.
func addressOf(addr net.Addr) (string, netip.Addr) {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		// A unix socket, or a listener of a test.
		return addr.String(), netip.Addr{}
	}
	return Address(at.Addr()), at.Addr().Unmap()
}
