package flow

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/ma-messagerie/messagerie/chassis/fair"
)

// The bounds of what was answered and not sent yet, in bytes.
const (
	unreadUnproven = 256 << 10
	unreadProven   = 1 << 20
	// unreadShared is for the answers to many people. An answer whose call is given up
	// after it was queued is never sent and counts here until the connection ends, so it
	// is far above what one person can cause that way.
	unreadShared = 32 << 20
	// unreadAddress is for all connections of an address together: whoever makes theirs
	// shared by a second person would have unreadShared of each. Beyond it, those of its
	// connections are full that have more than unreadLittle.
	unreadAddress = 32 << 20
	unreadLittle  = 64 << 10
)

// Ledger counts the bytes of a gRPC connection's answers. A nil Ledger counts nothing and
// is never full.
type Ledger struct {
	credentials.AuthInfo

	answered, sent atomic.Int64
	// all are those of the same address; nil in tests.
	all *addressLedgers
}

// addressLedgers are those of the connections that an address has.
type addressLedgers struct {
	mu  sync.Mutex
	all map[*Ledger]bool
}

// waiting is how many bytes of answers wait to be read on all of them.
func (a *addressLedgers) waiting() (sum int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for l := range a.all {
		sum += l.waiting()
	}
	return sum
}

func (l *Ledger) waiting() int64 { return l.answered.Load() - l.sent.Load() }

// Answered notes that an answer of this many bytes was given to the connection.
func (l *Ledger) Answered(bytes int) {
	if l != nil {
		l.answered.Add(int64(bytes) + messageHead)
	}
}

// Full reports whether too much of what was answered has not been sent. conn is the
// connection itself, which knows who calls on it.
func (l *Ledger) Full(conn *fair.Conn) bool {
	if l == nil {
		return false
	}
	waiting := l.waiting()
	if waiting > unreadLittle && l.all != nil && !conn.Proxied() && l.all.waiting() > unreadAddress {
		return true
	}
	if waiting <= unreadUnproven {
		return false
	}
	switch {
	case conn.Shared():
		return waiting > unreadShared
	case conn.Proven():
		return waiting > unreadProven
	default:
		return true
	}
}

// Of returns the ledger of the connection that a call came by, or nil.
func Of(ctx context.Context) *Ledger {
	if p, ok := peer.FromContext(ctx); ok {
		l, _ := p.AuthInfo.(*Ledger)
		return l
	}
	return nil
}

// ledgers are credentials that keep a ledger of each connection.
type ledgers struct {
	credentials.TransportCredentials

	mu        *sync.Mutex
	addresses map[string]*addressLedgers
}

// Credentials returns creds whose connections are measured.
func Credentials(creds credentials.TransportCredentials) credentials.TransportCredentials {
	return newLedgers(creds)
}

func newLedgers(creds credentials.TransportCredentials) ledgers {
	return ledgers{creds, &sync.Mutex{}, make(map[string]*addressLedgers)}
}

// open puts a ledger among those of its address. end must be called when its connection
// is closed.
func (c ledgers) open(l *Ledger, remote net.Addr) (end func()) {
	address := remote.String()
	if at, err := netip.ParseAddrPort(address); err == nil {
		address = fair.Address(at.Addr())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.addresses[address]
	if list == nil {
		list = &addressLedgers{all: make(map[*Ledger]bool)}
		c.addresses[address] = list
	}
	list.mu.Lock()
	defer list.mu.Unlock()
	list.all[l] = true
	l.all = list
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		list.mu.Lock()
		defer list.mu.Unlock()
		delete(list.all, l)
		if len(list.all) == 0 && c.addresses[address] == list {
			delete(c.addresses, address)
		}
	}
}

// ServerHandshake implements credentials.TransportCredentials.
func (c ledgers) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	l := &Ledger{AuthInfo: info}
	caller, _ := raw.(*fair.Conn)
	return &measured{Conn: conn, ledger: l, caller: caller, preface: len(http2.ClientPreface), end: c.open(l, raw.RemoteAddr())}, l, nil
}

// Clone implements credentials.TransportCredentials.
func (c ledgers) Clone() credentials.TransportCredentials {
	return ledgers{c.TransportCredentials.Clone(), c.mu, c.addresses}
}

// messageHead is what gRPC puts before a message.
const messageHead = 5
