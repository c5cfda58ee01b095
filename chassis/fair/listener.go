package fair

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync"
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
	// Most is how many there may be in all, and as many again on which no request has
	// come yet.
	Most int
	// Trusted are networks of proxies whose connections are the callers of many.
	Trusted []netip.Prefix
	// Closed is called for each connection that is closed to make room, concurrently;
	// may be nil.
	Closed func()
}

const (
	// firstByteTimeout is how long a new connection may be silent.
	firstByteTimeout = 10 * time.Second
	// silentShare is how many connections on which no request has come an address may
	// have for each on which one has. They cost little, and a client that is cut comes
	// again, which costs more.
	silentShare = 32
	// crowdSample is how many of the oldest connections are considered for closing. Whoever
	// has most of all has most of the oldest, too.
	crowdSample = 64
	// paceShare is how many times its bound an owner may have until the excess has been
	// closed. That happens at the rate of the bound, so that a client that comes again as
	// soon as it is cut comes no more often than that.
	paceShare = 8
	// beginShare is how many connections a second are handed over for each that an
	// address may have: with a thousand in a second a server would do little else.
	beginShare = 6
	// trimPause is the pause between two rounds of closing an owner's excess.
	trimPause = 50 * time.Millisecond
	// maxTurn is the longest that a connection waits for its turn: within that time all
	// get theirs that an address may have without a request.
	maxTurn = 5 * time.Second
	// keepalive is when a connection without traffic is asked whether its other end is
	// still there, and how often again.
	keepalive = 15 * time.Second
)

// Listener bounds the connections of callers, and what comes on them. One too many
// closes the oldest that the same caller has, rather than the new one.
//
// A connection is handed over only when something has been received on it, as in all
// protocols here the client speaks first: one that is silent, or closed at once, costs a
// socket, and not what a server allocates for it. It is counted separately until a request
// has come ([Conn.Asked]), so that silent and slow ones take nobody's place.
//
// Opening and closing connections costs the server nearly as much as the client. So those
// of an address wait for their turn when many come at once, for five seconds at most. And
// when there are many too many, the oldest are closed one after the other: each second, as
// many of one owner as it may have at all. What it has meanwhile is bounded, too.
//
// The connections of one caller are read at a bounded rate ([Conn.Spend]): what never becomes
// a request is not counted anywhere else.
type Listener struct {
	net.Listener
	limits Limits
	// begins are the rates at which connections of addresses are handed over.
	begins  *Rates
	budgets budgets

	begin sync.Once
	// heard passes on connections on which something has come; done is closed when there
	// will be no more, because of fault.
	heard chan *Conn
	done  chan struct{}
	fault error

	mu sync.Mutex
	// open counts those on which a request has come; places has all by owner.
	open   int
	places map[place]*owned
	// strangers are the unproven ones of these, silent all others, both oldest first.
	strangers, silent *list.List
}

// place is whom connections belong to.
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
	// pace is the rate at which the excess is closed, nil while there is none; trimming is
	// whether a later round is scheduled.
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
		begins:  NewRates(beginShare*float64(limits.Unproven), 2*limits.Unproven),
		budgets: newBudgets(),
		heard:   make(chan *Conn), done: make(chan struct{}),
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
			// Until others have been closed.
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

// end lets Accept return fault, and closes connections that will not be accepted any more.
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

// arrive registers a connection on which nothing has come yet.
func (l *Listener) arrive(raw net.Conn) *Conn {
	address, ip := addressOf(raw.RemoteAddr())
	c := &Conn{Conn: raw, listener: l, address: address, closed: make(chan struct{}), trusted: contains(l.limits.Trusted, ip)}
	c.known.Store(c.trusted)
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
		// Not for silent ones: each setting is a system call. An error shows in the next
		// read.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepalive, Interval: keepalive})
	}
	c.unread = true
	select {
	case l.heard <- c:
	case <-l.done:
		_ = c.Close() // as in end
	}
}

// turn waits for a connection's turn, and reports whether the connection is still open.
func (l *Listener) turn(c *Conn) bool {
	l.mu.Lock()
	open := c.entry != nil
	l.mu.Unlock()
	if !open || c.trusted {
		return open
	}
	wait := l.begins.Turn(c.address, time.Now(), maxTurn)
	return wait == 0 || c.rest(wait)
}

// enter gives a connection on which the first request has come its place among all that
// have one. The lock is held.
func (l *Listener) enter(c *Conn, at place) (leaving []*Conn) {
	if most := l.limits.Most; most > 0 && l.open >= most {
		if l.strangers.Len() == 0 {
			return append(leaving, l.drop(c))
		}
		leaving = append(leaving, l.drop(crowding(l.strangers)))
	}
	l.leave(c)
	l.open++
	return append(leaving, l.settle(c, at)...)
}

// settle gives a connection its place and returns those to close for it. The lock is held.
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

// trim returns which of an owner's connections to close now, and schedules the rest of the
// excess for later. The lock is held.
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

// crowding returns the connection of a list to close when there are too many in all: of the
// oldest, the one whose owner has most. The lock is held.
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

// drop stops counting a connection. The lock is held.
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

// leave removes a connection from its place. The lock is held.
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
