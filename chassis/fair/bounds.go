package fair

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Bounds are the settings of a process that people from outside call. Embed it. In
// each, 0 sets no limit.
type Bounds struct {
	// RatePerCaller is how many calls a second somebody who has signed in may make on
	// average, BurstPerCaller how many at once, calls of public methods included.
	RatePerCaller  float64 `env:"RATE_PER_CALLER" envDefault:"20"`
	BurstPerCaller int     `env:"BURST_PER_CALLER" envDefault:"60"`
	// RatePerAddress and BurstPerAddress are the same for requests from people who have
	// not signed in, whatever they ask for, by IP address (IPv6: by /64). An address may
	// be a whole company.
	RatePerAddress  float64 `env:"RATE_PER_ADDRESS" envDefault:"200"`
	BurstPerAddress int     `env:"BURST_PER_ADDRESS" envDefault:"100"`
	// StreamsPerCaller is how many streams one caller may have open, MaxStreams how
	// many all together may.
	StreamsPerCaller int `env:"STREAMS_PER_CALLER" envDefault:"16"`
	MaxStreams       int `env:"MAX_STREAMS" envDefault:"900"`
	// MaxConnections bounds the connections of each port on which a request has come, and
	// separately those on which none has. ConnectionsPerAddress is how many an address may
	// have on which nobody has signed in (32 times as many without a request),
	// ConnectionsPerCaller how many somebody who has signed in may have, SharedPerAddress
	// how many an address may have on which several people call, such as a front end's or a
	// load balancer's. One too many closes the oldest of the same caller; of many too many,
	// the oldest are closed one after the other (see [Listener]).
	MaxConnections        int `env:"MAX_CONNECTIONS" envDefault:"2048"`
	ConnectionsPerAddress int `env:"CONNECTIONS_PER_ADDRESS" envDefault:"64"`
	ConnectionsPerCaller  int `env:"CONNECTIONS_PER_CALLER" envDefault:"32"`
	SharedPerAddress      int `env:"SHARED_PER_ADDRESS" envDefault:"256"`
	// TrustedProxies are the networks (CIDR, comma-separated) of the load balancers
	// whose X-Forwarded-For is believed. Their connections count for MaxConnections
	// alone.
	TrustedProxies []netip.Prefix `env:"TRUSTED_PROXIES"`
}

// Validate reports all faults at once.
func (b Bounds) Validate() error {
	var faults []error
	for name, n := range map[string]int{
		"STREAMS_PER_CALLER": b.StreamsPerCaller, "MAX_STREAMS": b.MaxStreams, "MAX_CONNECTIONS": b.MaxConnections,
		"CONNECTIONS_PER_ADDRESS": b.ConnectionsPerAddress, "CONNECTIONS_PER_CALLER": b.ConnectionsPerCaller, "SHARED_PER_ADDRESS": b.SharedPerAddress,
	} {
		if n < 0 {
			faults = append(faults, fmt.Errorf("%s must not be negative", name))
		}
	}
	for of, rate := range map[string]float64{"PER_CALLER": b.RatePerCaller, "PER_ADDRESS": b.RatePerAddress} {
		if rate < 0 {
			faults = append(faults, fmt.Errorf("RATE_%s must not be negative", of))
		}
	}
	for of, burst := range map[string]struct {
		rate float64
		n    int
	}{"PER_CALLER": {b.RatePerCaller, b.BurstPerCaller}, "PER_ADDRESS": {b.RatePerAddress, b.BurstPerAddress}} {
		if burst.rate > 0 && burst.n < 1 {
			faults = append(faults, fmt.Errorf("BURST_%s must be at least 1", of))
		}
	}
	return errors.Join(faults...)
}

// Callers returns the rates of those who have signed in, and of addresses.
func (b Bounds) Callers() (callers, addresses *Rates) {
	return NewRates(b.RatePerCaller, b.BurstPerCaller), NewRates(b.RatePerAddress, b.BurstPerAddress)
}

// Listen bounds the connections that a listener accepts; closed is called for each that
// is closed to make room, and may be nil.
func (b Bounds) Listen(lis net.Listener, closed func()) *Listener {
	return Listen(lis, Limits{
		Unproven: b.ConnectionsPerAddress, PerCaller: b.ConnectionsPerCaller, Shared: b.SharedPerAddress, Most: b.MaxConnections,
		Trusted: b.TrustedProxies, Closed: closed,
	})
}

// Slots returns a semaphore of this many slots; nil, for any number, if most is 0.
func Slots(most int) chan struct{} {
	if most == 0 {
		return nil
	}
	return make(chan struct{}, most)
}

// Client is the address that a request counts against, see [Address]: the other end of
// its connection, given as "ip:port". Only a trusted proxy is believed about whom it
// forwards, and only about the last hop before it.
func (b Bounds) Client(peer string, forwardedFor []string) string {
	addr, err := netip.ParseAddrPort(peer)
	if err != nil {
		return peer
	}
	ip := addr.Addr().Unmap()
	hops := strings.Split(strings.Join(forwardedFor, ","), ",")
	for len(hops) > 0 && contains(b.TrustedProxies, ip) {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1]))
		if err != nil {
			break
		}
		ip, hops = hop.Unmap(), hops[:len(hops)-1]
	}
	return Address(ip)
}

func contains(networks []netip.Prefix, ip netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}
