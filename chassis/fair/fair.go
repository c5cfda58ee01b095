// Package fair bounds what one caller can hold of a server, so that whatever one
// does, the others' calls succeed.
//
// # What is promised
//
// Whoever has signed in is a caller, whatever address they come from; all who have not,
// behind one address (IPv6: its /64), are one caller. A caller has a bounded number of
// connections ([Listener]), of calls whose request is still being read ([Queue]), of calls
// under way ([Shares]), and a bounded rate of calls ([Rates]) and of bytes, those that never
// become a call included ([Conn.Spend]). Whatever exceeds a bound is taken from the caller
// that exceeds it and from nobody else. Nothing here does I/O, and the memory of each part
// is bounded whatever callers do.
//
// # How
//
// What costs nothing yet, a connection or a request that is not complete, is never refused
// for being one too many: the oldest of the same caller is ended instead. An honest request
// is complete within milliseconds and is not the oldest; a silent one is. What has begun to
// cost something is refused instead, because its caller is known by then.
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
// paused for all of them when it carries much that does not become a call ([Conn.Spend]): a
// proxy that relays frames as they come lets one client hold up the others. Its bytes as
// such are not bounded. Trusted proxies ([Limits.Trusted]) are exempt; a proxy that is not
// among them is a caller like any other. Many addresses at once are many callers, whom only
// the total bounds ([Limits.Most]). Opening and closing a connection costs the server nearly
// as much as the client: an address that has more connections than it may (2,048 without a
// request, by default) and reopens each as soon as it is cut takes processor time from the
// others, though none of their calls fails. Bounding that is for what is in front of the
// process: a load balancer or a packet filter that limits new connections by address.
package fair

import (
	"net"
	"net/netip"
)

// Address identifies somebody who has not signed in: their IP address, or the /64 network of
// an IPv6 one, as a household or an office has a whole one.
func Address(ip netip.Addr) string {
	ip = ip.Unmap()
	if ip.Is6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// addressOf returns the [Address] of the other end of a connection, and its IP address.
func addressOf(addr net.Addr) (string, netip.Addr) {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		// A unix socket, or a listener of a test.
		return addr.String(), netip.Addr{}
	}
	return Address(at.Addr()), at.Addr().Unmap()
}
