package fair

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// Limits are the bounds of a [Listener]. A zero sets none.
type Limits struct {
	// Unproven is how many connections an address may have on which nobody has
	// proved who they are; PerCaller how many a person may have who has; Shared how
	// many an address may have on which several people call.
	Unproven, PerCaller, Shared int
	// Most is how many there may be in all, and again so many on which no request has
	// come yet.
	Most int
	// Trusted are networks of proxies whose connections are the callers of many.
	Trusted []netip.Prefix
	// Closed is told of each connection that is closed to make room, by several at
	// once; may be nil.
	Closed func()
}

const (
	// firstByteTimeout is how long a connection may say nothing at its beginning.
	firstByteTimeout = 10 * time.Second
	// silentShare is how many connections on which no request has come an address may
	// have for each on which one has. They cost little, and who is cut comes again, which
	// costs more.
	silentShare = 32
	// crowdSample is how many connections are looked at for one to give way. Whoever has
	// most of all has most of the oldest, too.
	crowdSample = 64
	// paceShare is how many times its bound an owner may have, for as long as those that
	// are too many have not given way. They do so at the rate of the bound: whoever comes
	// again as soon as they are cut, comes no more often than that.
	paceShare = 8
	// beginShare is how many connections a second are handed over for each that an
	// address may have: a thousand at once would have a server do nothing else.
	beginShare = 16
	// trimPause is between two looks at those that are too many.
	trimPause = 50 * time.Millisecond
	// maxTurn is the longest that a connection waits for its turn: what an address may
	// have without a request comes to its turn in that time.
	maxTurn = 2 * time.Second
	// keepalive is when a connection without traffic is asked whether its other end is
	// still there, and how often again.
	keepalive = 15 * time.Second
)

// Listener bounds the connections of callers. One too many closes the oldest that
// the same caller has, rather than the new one.
//
// A connection is handed over only when something has come on it, as all protocols
// here begin with the caller: one that says nothing, or is closed at once, costs what
// a socket costs, and not what a server makes for it. It counts apart until a request
// has come ([Conn.Asked]), so that silent and slow ones take nobody's place.
//
// Opening and closing connections costs the server nearly as much as who does it. So
// those of an address wait for their turn where many come at once, for two seconds at
// most. And where many are too many, the oldest give way one after the other: of one
// owner, as many in a second as it may have at all. What it has meanwhile is bounded too.
type Listener struct {
	net.Listener
	limits Limits
	// begins are the rates at which connections of addresses are handed over.
	begins *Rates

	begin sync.Once
	// heard are connections on which something has come; done is closed when no more
	// will be, because of fault.
	heard chan *Conn
	done  chan struct{}
	fault error

	mu sync.Mutex
	// open counts all on which a request has come; places has all by owner.
	open   int
	places map[place]*owned
	// strangers are the unproven ones of these, silent all others, both oldest first.
	strangers, silent *list.List
}

// place is who connections belong to.
type place struct {
	kind kind
	who  string
}

// owned is what an owner has.
type owned struct {
	// conns are oldest first.
	conns list.List
	// nextPause is how long the next pause is at least, refusedAt when the last began.
	nextPause time.Duration
	refusedAt time.Time
	// pace is at what rate those that are too many give way, nil while none is;
	// trimming whether some will later.
	pace     *rate.Limiter
	trimming bool
}

type kind byte

const (
	unproven kind = iota // an address
	silent               // an address, until a request comes
	proven               // a caller
	shared               // an address again
	excepted             // a trusted proxy
)

// Listen bounds the connections that a listener accepts.
func Listen(lis net.Listener, limits Limits) *Listener {
	return &Listener{
		Listener: lis, limits: limits,
		begins: NewRates(beginShare*float64(limits.Unproven), 2*limits.Unproven),
		heard:  make(chan *Conn), done: make(chan struct{}),
		places: make(map[place]*owned), strangers: list.New(), silent: list.New(),
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	l.begin.Do(func() { go l.run() })
	select {
	case c := <-l.heard:
		return c, nil
	case <-l.done:
		return nil, l.fault
	}
}

// run accepts until the listener is closed.
func (l *Listener) run() {
	defer l.end()
	for {
		raw, err := l.Listener.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			// Others will be closed.
			<-time.After(acceptPause)
			continue
		}
		if err != nil {
			l.fault = err
			return
		}
		go l.hear(l.arrive(raw))
	}
}

// acceptPause is how long to wait when the process has no room for a socket.
const acceptPause = 50 * time.Millisecond

// end tells Accept that nothing comes any more, and closes what nobody will take.
func (l *Listener) end() {
	close(l.done)
	l.mu.Lock()
	var leaving []*Conn
	for e := l.silent.Front(); e != nil; e = e.Next() {
		leaving = append(leaving, e.Value.(*Conn)) //nolint:forcetypeassert // put there below
	}
	l.mu.Unlock()
	for _, c := range leaving {
		_ = c.Close() // nobody waits for it
	}
}

// arrive takes a connection in that has said nothing yet.
func (l *Listener) arrive(raw net.Conn) *Conn {
	address, ip := addressOf(raw.RemoteAddr())
	c := &Conn{Conn: raw, listener: l, address: address, closed: make(chan struct{}), trusted: contains(l.limits.Trusted, ip)}
	l.mu.Lock()
	leaving := l.settle(c, place{silent, address})
	if most := l.limits.Most; most > 0 && l.silent.Len() > most {
		leaving = append(leaving, l.drop(crowding(l.silent)))
	}
	l.mu.Unlock()
	l.closeAll(leaving)
	return c
}

// hear waits for the first byte of a connection and hands it over.
func (l *Listener) hear(c *Conn) {
	_ = c.SetReadDeadline(time.Now().Add(firstByteTimeout))
	n, err := c.Conn.Read(c.first[:])
	if err != nil || n == 0 || !l.turn(c) {
		_ = c.Close() // it said nothing, or has had to give way
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		// Not for those that say nothing: each is a call of the kernel's. An error shows
		// in the next read.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepalive, Interval: keepalive})
	}
	c.unread = true
	select {
	case l.heard <- c:
	case <-l.done:
		_ = c.Close() // as in end
	}
}

// turn waits for a connection's turn. It reports false where the connection has been
// closed.
func (l *Listener) turn(c *Conn) bool {
	l.mu.Lock()
	open := c.entry != nil
	l.mu.Unlock()
	if !open || c.trusted {
		return open
	}
	wait := l.begins.Turn(c.address, time.Now(), maxTurn)
	return wait == 0 || c.wait(context.Background(), wait)
}

// settle gives a connection its place and returns those that must leave for it. The
// lock is held.
func (l *Listener) settle(c *Conn, at place) (leaving []*Conn) {
	all := l.places[at]
	if all == nil {
		all = &owned{}
		l.places[at] = all
	}
	c.place, c.among, c.entry = at, all, all.conns.PushBack(c)
	limit, share := 0, paceShare
	switch at.kind {
	case unproven:
		c.stranger, limit = l.strangers.PushBack(c), l.limits.Unproven
	case silent:
		c.stranger, share = l.silent.PushBack(c), 1
		if !c.trusted {
			limit = silentShare * l.limits.Unproven
		}
	case proven:
		limit = l.limits.PerCaller
	case shared:
		limit = l.limits.Shared
	case excepted:
	}
	if limit == 0 {
		return nil
	}
	for all.conns.Len() > share*limit {
		leaving = append(leaving, l.drop(all.oldest()))
	}
	return append(leaving, l.trim(all, limit)...)
}

// trim returns of an owner's connections those that give way now, and sees to it that
// the others that are too many do so later. The lock is held.
func (l *Listener) trim(all *owned, limit int) (leaving []*Conn) {
	if all.pace == nil && all.conns.Len() > limit {
		all.pace = rate.NewLimiter(rate.Limit(limit), limit)
	}
	for all.conns.Len() > limit && all.pace.Allow() {
		leaving = append(leaving, l.drop(all.oldest()))
	}
	if all.conns.Len() > limit && !all.trimming {
		all.trimming = true
		time.AfterFunc(trimPause, func() {
			l.mu.Lock()
			all.trimming = false
			leaving := l.trim(all, limit)
			l.mu.Unlock()
			l.closeAll(leaving)
		})
	}
	return leaving
}

func (o *owned) oldest() *Conn {
	return o.conns.Front().Value.(*Conn) //nolint:forcetypeassert // put there by settle
}

// crowding returns the connection of a list that makes room when there are too many in
// all: of the oldest, the one whose address has most of them. The lock is held.
func crowding(all *list.List) (found *Conn) {
	most, looked := 0, 0
	for e := all.Front(); e != nil && looked < crowdSample; e = e.Next() {
		c := e.Value.(*Conn) //nolint:forcetypeassert // put there by settle
		if n := c.among.conns.Len(); n > most {
			found, most = c, n
		}
		looked++
	}
	return found
}

// drop takes a connection out of the books. The lock is held.
func (l *Listener) drop(c *Conn) *Conn {
	if c.entry == nil {
		return c
	}
	if c.place.kind != silent {
		l.open--
	}
	l.leave(c)
	return c
}

// leave takes a connection out of its place. The lock is held.
func (l *Listener) leave(c *Conn) {
	all := c.among
	all.conns.Remove(c.entry)
	if all.conns.Len() == 0 {
		delete(l.places, c.place)
	}
	if c.stranger != nil { // it is in one of the two
		l.strangers.Remove(c.stranger)
		l.silent.Remove(c.stranger)
	}
	c.entry, c.stranger = nil, nil
}

func (l *Listener) closeAll(leaving []*Conn) {
	for _, c := range leaving {
		_ = c.Close() // its caller has too many
		if l.limits.Closed != nil {
			l.limits.Closed()
		}
	}
}

// Open returns how many connections are open, silent ones included.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open + l.silent.Len()
}

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
	// asked: a request has come. holding: an answer is being held back.
	asked, holding atomic.Bool

	// These are the listener's, under its lock. Without an entry, the connection is
	// no longer in its books.
	place           place
	among           *owned
	entry, stranger *list.Element

	mu sync.Mutex
	// caller is who has proved themselves, several that another has as well.
	caller  string
	several bool
	// pause is until when nothing is read, pieces until when little is at once.
	pause, pieces time.Time
}

// Asked notes that a request, its head at least, has come on the connection. It is cheap
// when that is known. From then on it has a place among those of its owner. It is closed
// where there is no room and nobody to give way.
func (c *Conn) Asked() {
	if c == nil || c.asked.Swap(true) {
		return
	}
	at := place{unproven, c.address}
	if c.trusted {
		at.kind = excepted
	}
	l := c.listener
	l.mu.Lock()
	var leaving []*Conn
	most := l.limits.Most
	full := most > 0 && l.open >= most
	switch {
	case c.entry == nil: // it has had to give way itself
	case full && l.strangers.Len() == 0:
		leaving = append(leaving, l.drop(c))
	default:
		if full {
			leaving = append(leaving, l.drop(crowding(l.strangers)))
		}
		l.leave(c)
		l.open++
		leaving = append(leaving, l.settle(c, at)...)
	}
	l.mu.Unlock()
	l.closeAll(leaving)
}

// Prove notes that a caller who has signed in calls on this connection. It is cheap
// when that is known. It follows [Conn.Asked].
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
		c.move(next)
	}
}

func (c *Conn) move(next place) {
	l := c.listener
	l.mu.Lock()
	var leaving []*Conn
	// Two people's first calls may come here in any order.
	if c.entry != nil && c.place.kind != silent && c.place.kind != excepted && (c.place.kind != shared || next.kind == shared) {
		l.leave(c)
		leaving = l.settle(c, next)
	}
	l.mu.Unlock()
	l.closeAll(leaving)
}

// Shared reports whether several people call on this connection, or a trusted proxy
// for them.
func (c *Conn) Shared() bool {
	switch c.standing() {
	case shared, excepted:
		return true
	default:
		return false
	}
}

// Proven reports whether anybody who calls on this connection has signed in, or it is
// a trusted proxy's.
func (c *Conn) Proven() bool {
	switch c.standing() {
	case proven, shared, excepted:
		return true
	default:
		return false
	}
}

func (c *Conn) standing() kind {
	if c == nil {
		return excepted
	}
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	return c.place.kind
}

const (
	// leastPause follows a first refusal; each further one doubles it, up to maxPause,
	// which is so short that a connection still notices its end.
	leastPause = 10 * time.Millisecond
	maxPause   = time.Second
	// oftenPause is reached by the fourth refusal in a row.
	oftenPause = 8 * leastPause
	// calm is how long after a refusal it is forgotten.
	calm = 5 * time.Second
	// pieceBytes is how much is read at once after often: with more, a hundred calls
	// would come after each pause.
	pieceBytes = 512
)

// Refused notes that a call on the connection was refused for being one too many, and
// may be made again after a while. The connection then reads nothing for that long, and
// for longer the more often its owner is refused, on whichever of their connections while
// there are any, at most a second: what they send too fast stays at their end, and costs
// nothing here. Where that happens often, little is read at once for some seconds, and
// it returns how long the answer is best held back ([Conn.Hold]): who gets answers
// without pause asks without pause, on a new connection if need be. A shared one goes on.
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

// Hold waits before a refusal is answered, until ctx is done or the connection closed.
// Where one answer on the connection is held back already it does not wait: the others
// are few, as nothing is read meanwhile.
func (c *Conn) Hold(ctx context.Context, d time.Duration) {
	if c == nil || d == 0 || c.holding.Swap(true) {
		return
	}
	defer c.holding.Store(false)
	c.wait(ctx, d)
}

// wait reports false where the connection has been closed before its time is over.
func (c *Conn) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return true
	case <-c.closed:
		return false
	}
}

// refuse returns how long a connection must pause at least, and makes its owner's next
// pause longer.
func (l *Listener) refuse(c *Conn, now time.Time) (least time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.places[c.place]
	if all == nil {
		return maxPause // it is closed
	}
	if now.Sub(all.refusedAt) > calm {
		all.nextPause = leastPause
	}
	least = all.nextPause
	all.refusedAt, all.nextPause = now, min(2*least, maxPause)
	return least
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if c.unread && len(p) > 0 {
		p[0], c.unread = c.first[0], false
		return 1, nil
	}
	n, err := c.Conn.Read(p[:c.piece(len(p))])
	c.mu.Lock()
	rest := time.Until(c.pause)
	paused := !c.pause.IsZero()
	if paused && rest <= 0 {
		c.pause = time.Time{}
	}
	c.mu.Unlock()
	if rest > 0 && err == nil {
		c.wait(context.Background(), rest)
	}
	return n, err
}

// piece is how much is read at once where there is room for so much.
func (c *Conn) piece(room int) int {
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

// RemoteAddr implements net.Conn. Servers hand on the address where they do not hand
// on the connection: [ConnOf] finds the one by the other.
func (c *Conn) RemoteAddr() net.Addr { return addr{c.Conn.RemoteAddr(), c} }

type addr struct {
	net.Addr
	conn *Conn
}

// ConnOf returns the connection of which an address is the other end, or nil where
// it is none of a [Listener]'s.
func ConnOf(at net.Addr) *Conn {
	if a, ok := at.(addr); ok {
		return a.conn
	}
	return nil
}
