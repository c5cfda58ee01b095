package gateway

import (
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/ma-messagerie/messagerie/chassis/fair"
)

// Answers that a caller does not read stay in memory until it does: HTTP/2 lets the
// reader say how much may be sent, which may be nothing. So of each connection is
// known how much was answered and how much of that has left, and a call on one with
// too much left is refused. These are the bounds, in bytes.
const (
	unreadUnproven = 256 << 10
	unreadProven   = 1 << 20
	// unreadShared is for the answers to many people. An answer whose call is given up
	// after it was queued is never sent and counts here to the connection's end, so it
	// is far above what one person can make of that.
	unreadShared = 32 << 20
)

// ledger counts the bytes of a gRPC connection's answers.
type ledger struct {
	credentials.AuthInfo

	answered, sent atomic.Int64
}

// answer notes that an answer of so many bytes was given to the connection.
func (l *ledger) answer(bytes int) {
	if l != nil {
		l.answered.Add(int64(bytes) + messageHead)
	}
}

// full reports whether too much of what was answered has not left.
func (l *ledger) full(conn *fair.Conn) bool {
	if l == nil {
		return false
	}
	waiting := l.answered.Load() - l.sent.Load()
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

// ledgerOf returns that of the connection a call came by, or nil.
func ledgerOf(ctx context.Context) *ledger {
	if p, ok := peer.FromContext(ctx); ok {
		l, _ := p.AuthInfo.(*ledger)
		return l
	}
	return nil
}

// ledgers are credentials that keep a ledger of each connection.
type ledgers struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials.
func (c ledgers) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	l := &ledger{AuthInfo: info}
	return &measured{Conn: conn, ledger: l}, l, nil
}

// Clone implements credentials.TransportCredentials.
func (c ledgers) Clone() credentials.TransportCredentials {
	return ledgers{c.TransportCredentials.Clone()}
}

const (
	// messageHead is what gRPC puts before a message.
	messageHead = 5
	// frameHead is what HTTP/2 puts before a frame (RFC 9113, 4.1): its length in
	// three bytes, its type in one, and five more.
	frameHead = 9
	dataFrame = 0
)

// measured is a connection whose frames are counted as they are written. gRPC writes
// from one goroutine.
type measured struct {
	net.Conn
	ledger *ledger
	// head is the part of a frame's head that has been written, left what is to come
	// of the frame after it.
	head []byte
	left int
}

// Write implements net.Conn.
func (c *measured) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.count(p[:n])
	return n, err
}

func (c *measured) count(p []byte) {
	for len(p) > 0 {
		if c.left > 0 {
			n := min(c.left, len(p))
			c.left, p = c.left-n, p[n:]
			continue
		}
		n := min(frameHead-len(c.head), len(p))
		c.head, p = append(c.head, p[:n]...), p[n:]
		if len(c.head) < frameHead {
			return
		}
		c.left = int(binary.BigEndian.Uint32(c.head) >> 8)
		if c.head[3] == dataFrame {
			c.ledger.sent.Add(int64(c.left))
		}
		c.head = c.head[:0]
	}
}
