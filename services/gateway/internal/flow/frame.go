package flow

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/http2"

	"github.com/ma-messagerie/messagerie/chassis/fair"
)

// measured is a connection whose frames are counted: written ones by the bytes of answers in
// them, read ones by the work that they cause. gRPC writes from one goroutine, and reads from
// one.
type measured struct {
	net.Conn
	ledger *Ledger
	// caller is the connection itself, nil in tests.
	caller *fair.Conn
	// preface is how many bytes of the client's preface are still to come (RFC 9113, 3.4).
	preface   int
	out, into frames
	// end is called when it is closed.
	end func()
}

// Close implements net.Conn.
func (c *measured) Close() error {
	c.end()
	return c.Conn.Close()
}

// Write implements net.Conn.
func (c *measured) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.see(p[:n], func(f frameInfo) {
		if f.kind == http2.FrameData {
			c.ledger.sent.Add(int64(f.length))
		}
	})
	return n, err
}

// Read implements net.Conn.
func (c *measured) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	got := p[:n]
	skip := min(c.preface, n)
	c.preface -= skip
	work := 0
	c.into.see(got[skip:], func(f frameInfo) { work += f.work() })
	c.caller.Spend(work)
	return n, err
}

// frameInfo is the head of a frame (RFC 9113, 4.1).
type frameInfo struct {
	length int
	kind   http2.FrameType
	flags  http2.Flags
}

// The work that frames cause, in bytes of their caller's budget (see fair.Conn.Spend). Each
// costs as much as a few hundred bytes, whatever is in it. A head that gRPC itself refuses is
// answered before it is counted. And the tiny frames of a message are each kept in a buffer
// of their own until it is complete.
const (
	frameWork = 512
	headWork  = 2 << 10
	tinyWork  = 4 << 10
	tinyFrame = 128

	// CallWork is what a call accounts for on a connection of several people: its head,
	// the tiny frames that some clients make of a message's own head and of its end, and what
	// they say about its answer.
	CallWork = headWork + 2*tinyWork + 8*frameWork
)

func (f frameInfo) work() int {
	switch {
	case f.kind == http2.FrameHeaders:
		return headWork
	case f.kind == http2.FrameData && f.length < tinyFrame && !f.flags.Has(http2.FlagDataEndStream):
		return tinyWork
	default:
		return frameWork
	}
}

// frames finds the heads of frames in a stream of bytes.
type frames struct {
	// head is the part of a frame's head that has come, left what is to come of the
	// frame after it.
	head []byte
	left int
}

// frameHead is how long a frame's head is: its length in three bytes, its type and its
// flags in one each, and the stream in four.
const frameHead = 9

// see goes through received bytes and calls found for each complete head.
func (s *frames) see(p []byte, found func(frameInfo)) {
	for len(p) > 0 {
		if s.left > 0 {
			n := min(s.left, len(p))
			s.left, p = s.left-n, p[n:]
			continue
		}
		n := min(frameHead-len(s.head), len(p))
		s.head, p = append(s.head, p[:n]...), p[n:]
		if len(s.head) < frameHead {
			return
		}
		s.left = int(binary.BigEndian.Uint32(s.head) >> 8)
		found(frameInfo{s.left, http2.FrameType(s.head[3]), http2.Flags(s.head[4])})
		s.head = s.head[:0]
	}
}
