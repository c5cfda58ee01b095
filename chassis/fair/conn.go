package fair

import (
	"container/list"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is a connection of a [Listener].
type Conn struct {
	net.Conn
	listener *Listener
	address  string
	trusted  bool
	closed   chan struct{}
	once     sync.Once

	// first is the first byte that came, unread whether it is still to be read.
	first  [1]byte
	unread bool
	// asked: a request has come. known: it is from somebody who has signed in, or comes
	// through a trusted proxy. holding: an answer is being held back.
	asked, known, holding atomic.Bool

	// These are the listener's, under its lock. Without an entry, the listener no longer
	// counts the connection.
	place           place
	among           *owned
	entry, stranger *list.Element

	// reports: what comes are a provider's reports.
	reports atomic.Bool

	mu sync.Mutex
	// caller is who has signed in on it, several that another has as well.
	caller  string
	several bool
	// waste is what those several have sent besides their calls.
	waste waste
	// pause is until when nothing is read, pieces until when it is read in small pieces.
	pause, pieces time.Time
}

// Asked notes that a request, at least its head, has come on the connection from somebody
// who has not signed in. It is cheap when that is known already. From then on the connection
// counts among those of its address. It is closed if there is no room and no other to close.
//
// Call neither Asked nor Prove before a request's token has been verified: many callers that
// come at once would push out each other's connections.
func (c *Conn) Asked() {
	if c != nil && !c.asked.Load() {
		c.take(place{unproven, c.address})
	}
}

// Prove notes that a request from somebody who has signed in has come. It is cheap when
// that is known already.
func (c *Conn) Prove(caller string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	known := c.several || c.caller == caller
	next := place{proven, caller}
	switch {
	case known:
	case c.caller == "":
		c.caller = caller
	default:
		c.several, next = true, place{shared, c.address}
	}
	c.mu.Unlock()
	if !known {
		c.known.Store(true)
		c.take(next)
	}
}

// take gives the connection a place, unless it was closed to make room or has a more
// specific one: two people's first calls may come here in any order.
func (c *Conn) take(at place) {
	if c.trusted {
		at = place{excepted, c.address}
	}
	l := c.listener
	l.mu.Lock()
	var leaving []*Conn
	switch {
	case c.entry == nil:
	case c.place.kind == silent:
		leaving = l.enter(c, at)
	case c.place.kind == unproven && at.kind != unproven, c.place.kind == proven && at.kind == shared:
		l.leave(c)
		leaving = l.settle(c, at)
	}
	c.asked.Store(true)
	l.mu.Unlock()
	l.closeAll(leaving)
}

// Shared reports whether several people call on this connection, or a trusted proxy
// for them.
func (c *Conn) Shared() bool {
	switch c.kind() {
	case shared, excepted:
		return true
	default:
		return false
	}
}

// Proxied reports whether it is a trusted proxy's, or not a [Listener]'s.
func (c *Conn) Proxied() bool { return c == nil || c.trusted }

// Proven reports whether anybody who calls on this connection has signed in, or it is
// a trusted proxy's.
func (c *Conn) Proven() bool {
	switch c.kind() {
	case proven, shared, excepted:
		return true
	default:
		return false
	}
}

func (c *Conn) kind() kind {
	if c == nil {
		return excepted
	}
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	return c.place.kind
}

const (
	// leastPause follows a first refusal; each further one doubles it, up to maxPause,
	// which is short enough for a connection to notice when its other end closes it.
	leastPause = 10 * time.Millisecond
	maxPause   = time.Second
	// oftenPause is reached by the fourth refusal in a row.
	oftenPause = 8 * leastPause
	// calm is how long after a refusal it is forgotten.
	calm = 5 * time.Second
	// pieceBytes is how much is read at once after frequent refusals, and from strangers:
	// with more, a hundred calls would come before the first is refused, and after each pause.
	pieceBytes = 512
)

// Refused notes that a call on the connection was refused for being one too many, and may
// be repeated after wait. Nothing is read from the connection for that long, and for longer
// the more often its owner is refused, on any of their connections, up to a second: what
// they send too fast stays at their end, and costs nothing here. After frequent refusals the
// connection is read in small pieces for some seconds, as strangers' are anyway, and Refused
// returns for how long to hold back the answer ([Conn.Hold]): a caller that is answered at
// once asks again at once, on a new connection if need be. Shared connections are not
// slowed.
func (c *Conn) Refused(wait time.Duration) (hold time.Duration) {
	if c == nil || c.Shared() {
		return 0
	}
	now := time.Now()
	least := c.listener.refuse(c, now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := now.Add(min(max(wait, least), maxPause)); until.After(c.pause) {
		c.pause = until
	}
	if least < oftenPause {
		return 0
	}
	c.pieces = now.Add(calm)
	return least
}

// Hold waits for d before a refusal is answered, or until ctx is done or the connection is
// closed. It does not wait if another answer on the connection is held back already: there
// are few others, as nothing is read meanwhile.
func (c *Conn) Hold(ctx context.Context, d time.Duration) {
	if c == nil || d == 0 || c.holding.Swap(true) {
		return
	}
	defer c.holding.Store(false)
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-ctx.Done():
	case <-c.closed:
	}
}

// rest waits, and reports whether the connection is still open.
func (c *Conn) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.closed:
		return false
	}
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if c.unread && len(p) > 0 {
		p[0], c.unread = c.first[0], false
		return 1, nil
	}
	n, err := c.Conn.Read(p[:c.piece(len(p))])
	if c.budgeted() && n > 0 {
		c.spend(n, false)
	}
	c.mu.Lock()
	rest := time.Until(c.pause)
	paused := !c.pause.IsZero()
	if paused && rest <= 0 {
		c.pause = time.Time{}
	}
	c.mu.Unlock()
	if rest > 0 && err == nil {
		c.rest(rest)
	}
	return n, err
}

// piece returns how much to read at once into a buffer of this size.
func (c *Conn) piece(room int) int {
	if !c.known.Load() {
		return min(room, pieceBytes)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.pieces.IsZero():
		return room
	case time.Now().After(c.pieces):
		c.pieces = time.Time{}
		return room
	default:
		return min(room, pieceBytes)
	}
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.listener.mu.Lock()
		defer c.listener.mu.Unlock()
		c.listener.drop(c)
	})
	return c.Conn.Close()
}

// RemoteAddr implements net.Conn. Servers that do not pass on the connection pass on its
// address, by which [ConnOf] finds it.
func (c *Conn) RemoteAddr() net.Addr { return addr{c.Conn.RemoteAddr(), c} }

type addr struct {
	net.Addr
	conn *Conn
}

// ConnOf returns the connection whose other end an address is, or nil if it is not a
// [Listener]'s.
func ConnOf(at net.Addr) *Conn {
	if a, ok := at.(addr); ok {
		return a.conn
	}
	return nil
}
