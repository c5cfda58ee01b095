package fair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// port is a listener whose connections come from where the test says.
type port struct{ arrivals chan net.Conn }

func (p *port) Accept() (net.Conn, error) {
	conn, ok := <-p.arrivals
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p *port) Close() error   { close(p.arrivals); return nil }
func (p *port) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection from an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// site is a listener under test.
type site struct {
	t *testing.T
	*Listener
	arrivals chan net.Conn
	closed   atomic.Int64
	close    func()
}

func newSite(t *testing.T, limits Limits) *site {
	t.Helper()
	s := &site{t: t, arrivals: make(chan net.Conn, 1)}
	s.close = sync.OnceFunc(func() { close(s.arrivals) })
	t.Cleanup(s.close)
	limits.Closed = func() { s.closed.Add(1) }
	s.Listener = Listen(&port{s.arrivals}, limits)
	return s
}

// comes connects from an address, says nothing, and returns its end.
func (s *site) comes(address string) net.Conn {
	here, there := net.Pipe()
	s.t.Cleanup(func() { here.Close(); there.Close() })
	s.arrivals <- from{here, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))}
	return there
}

// cut reports whether a connection has been closed at the other end.
func cut(end net.Conn) bool {
	_ = end.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := end.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// arrive connects from an address, asks something, and returns both ends.
func (s *site) arrive(address string) (*Conn, net.Conn) {
	s.t.Helper()
	conn, there := s.begin(address)
	conn.Asked()
	return conn, there
}

// begin connects from an address, says something, and returns both ends.
func (s *site) begin(address string) (*Conn, net.Conn) {
	s.t.Helper()
	there := s.comes(address)
	go func() { _, _ = there.Write([]byte("x")) }()
	conn, err := s.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 10)); n != 1 || err != nil {
		s.t.Fatalf("the first byte: %d, %v", n, err)
	}
	return conn.(*Conn), there
}

// isOpen reports whether the other end of a connection can still write to it.
func isOpen(c *Conn, there net.Conn) bool {
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = c.Read(make([]byte, 1))
	}()
	_ = there.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := there.Write([]byte("x"))
	<-read
	return err == nil
}

func TestTheOldestGivesWay(t *testing.T) {
	t.Parallel()
	s := newSite(t, Limits{Unproven: 2, PerCaller: 2, Shared: 1})
	known, knownEnd := s.arrive("192.0.2.1:1")
	known.Prove("jeanne")
	first, firstEnd := s.arrive("192.0.2.1:2")
	second, secondEnd := s.arrive("192.0.2.1:3")
	other, otherEnd := s.arrive("192.0.2.2:1")
	s.arrive("192.0.2.1:4")
	for name, row := range map[string]struct {
		conn *Conn
		end  net.Conn
		open bool
	}{
		"somebody who has signed in": {known, knownEnd, true}, "the oldest": {first, firstEnd, false},
		"the next": {second, secondEnd, true}, "another address": {other, otherEnd, true},
	} {
		if got := isOpen(row.conn, row.end); got != row.open {
			t.Errorf("%s: open is %t", name, got)
		}
	}
	if s.Open() != 4 || s.closed.Load() != 1 {
		t.Errorf("%d are open and %d were closed, want 4 and 1", s.Open(), s.closed.Load())
	}
	// The same person from elsewhere: three are one too many.
	for _, address := range []string{"192.0.2.8:1", "192.0.2.9:1"} {
		conn, _ := s.arrive(address)
		conn.Prove("jeanne")
	}
	if isOpen(known, knownEnd) {
		t.Error("the oldest of a person who has one too many is open")
	}
}

func TestSharedConnectionsAreNobodys(t *testing.T) {
	t.Parallel()
	s := newSite(t, Limits{Unproven: 1, PerCaller: 2, Shared: 2, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	web, webEnd := s.arrive("192.0.2.1:1")
	if web.Proven() || web.Shared() {
		t.Error("a new connection is taken for somebody's")
	}
	web.Prove("jeanne")
	if !web.Proven() || web.Shared() {
		t.Error("a connection on which one person calls is not theirs")
	}
	web.Prove("paul")
	if !web.Shared() {
		t.Error("a connection on which two people call is not shared")
	}
	// Whatever else jeanne has, it is not hers.
	for i := range 3 {
		conn, _ := s.arrive(fmt.Sprintf("192.0.2.2:%d", i+1))
		conn.Prove("jeanne")
	}
	web.Refused(time.Hour)
	if !isOpen(web, webEnd) {
		t.Error("the shared connection was closed")
	}
	for i := range 2 {
		conn, _ := s.arrive(fmt.Sprintf("192.0.2.1:%d", i+10))
		conn.Prove("a")
		conn.Prove("b")
	}
	if isOpen(web, webEnd) {
		t.Error("the oldest of too many shared ones is open")
	}
	for i := range 5 {
		if conn, _ := s.arrive(fmt.Sprintf("10.1.2.3:%d", i+1)); !conn.Shared() {
			t.Error("a trusted proxy's connection is not shared")
		}
	}
	if s.Open() != 9 {
		t.Errorf("%d are open, want 9", s.Open())
	}
}

func TestThereIsRoomForSoMany(t *testing.T) {
	t.Parallel()
	s := newSite(t, Limits{Most: 2})
	first, firstEnd := s.arrive("192.0.2.1:1")
	second, secondEnd := s.arrive("192.0.2.2:1")
	first.Prove("jeanne")
	third, _ := s.arrive("192.0.2.3:1")
	if isOpen(second, secondEnd) || !isOpen(first, firstEnd) {
		t.Error("of too many, not the oldest stranger was closed")
	}
	// Where there are no strangers, the new one is not taken.
	third.Prove("paul")
	fourth, fourthEnd := s.arrive("192.0.2.4:1")
	if isOpen(fourth, fourthEnd) {
		t.Error("one was taken for which there is no room")
	}
	fourth.Prove("anne") // its request is still being looked at
	// A place is free again when one is closed, once.
	for range 2 {
		_ = first.Close()
	}
	if s.Open() != 1 {
		t.Errorf("%d are open, want 1", s.Open())
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{Unproven: 1})
		conn, end := s.arrive("192.0.2.1:1")
		took := func() time.Duration {
			begun := time.Now()
			go func() { _, _ = end.Write([]byte("x")) }()
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
			return time.Since(begun)
		}
		conn.Refused(300 * time.Millisecond)
		conn.Refused(100 * time.Millisecond)
		if got := took(); got != 300*time.Millisecond {
			t.Errorf("paused for %s, want 300 ms", got)
		}
		if got := took(); got != 0 {
			t.Errorf("then for %s more", got)
		}
		conn.Refused(time.Hour)
		if got := took(); got != maxPause {
			t.Errorf("an hour is %s", got)
		}
		// The more often, the longer; and forgotten when it stops.
		<-time.After(calm + 1)
		for _, want := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 1000, 1000} {
			hold := want * time.Millisecond
			if want < 80 {
				hold = 0
			}
			if got := conn.Refused(time.Millisecond); got != hold {
				t.Errorf("before a pause of %d ms the answer is held for %s", want, got)
			}
			if got := took(); got != want*time.Millisecond {
				t.Errorf("refused again: paused for %s, want %d ms", got, want)
			}
		}
		<-time.After(calm + 1)
		conn.Refused(time.Millisecond)
		if got := took(); got != leastPause {
			t.Errorf("after a calm: paused for %s", got)
		}
		// A pause does not outlive its connection.
		conn.Refused(time.Second)
		time.AfterFunc(time.Millisecond, func() { conn.Close() })
		if got := took(); got != time.Millisecond {
			t.Errorf("of a closed connection: %s", got)
		}
	})
}

// What was sent ahead by who is refused often comes in pieces, for a while; what a
// stranger sends always does.
func TestPieces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		conn, end := s.arrive("192.0.2.1:1")
		proxy, proxyEnd := s.arrive("10.0.0.1:1")
		read := func(conn net.Conn, end net.Conn) int {
			go func() { _, _ = end.Write(make([]byte, 2000)) }()
			n, err := conn.Read(make([]byte, 4096))
			if err != nil {
				t.Fatal(err)
			}
			for got := n; got < 2000; {
				more, err := conn.Read(make([]byte, 4096))
				if err != nil {
					t.Fatal(err)
				}
				got += more
			}
			return n
		}
		if got := read(conn, end); got != pieceBytes {
			t.Errorf("of a stranger %d bytes are read at once, want %d", got, pieceBytes)
		}
		if got := read(proxy, proxyEnd); got != 2000 {
			t.Errorf("of a proxy %d bytes are read at once", got)
		}
		conn.Prove("jeanne")
		if got := read(conn, end); got != 2000 {
			t.Errorf("of who has signed in %d bytes are read at once", got)
		}
		for range 3 {
			conn.Refused(0)
		}
		if got := read(conn, end); got != 2000 {
			t.Errorf("after three refusals %d bytes are read at once", got)
		}
		conn.Refused(0)
		if got := read(conn, end); got != pieceBytes {
			t.Errorf("after the fourth %d bytes are read at once, want %d", got, pieceBytes)
		}
		<-time.After(calm + 1)
		if got := read(conn, end); got != 2000 {
			t.Errorf("after a calm %d bytes are read at once", got)
		}
	})
}

// What says nothing is not handed over, and does not stay.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		s.arrive("192.0.2.1:1")
		silent, silentEnd := net.Pipe()
		s.arrivals <- from{silent, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:2"))}
		s.arrive("192.0.2.1:3") // is the next that is handed over
		begun := time.Now()
		if _, err := silentEnd.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(begun) != firstByteTimeout {
			t.Errorf("the silent one: %v after %s", err, time.Since(begun))
		}
		late, lateEnd := net.Pipe()
		s.arrivals <- from{late, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:4"))}
		synctest.Wait()
		if s.Open() != 3 {
			t.Errorf("%d are open, want 3", s.Open())
		}
		// The end of the listener is that of those who have not been handed over.
		s.close()
		if _, err := lateEnd.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("one that waits when the listener is closed: %v", err)
		}
	})
}

// However many say nothing, those that have said something stay, and there is room for
// who does.
func TestSilentOnesTakeNobodysPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{Unproven: 2, Most: silentShare*2 + 3})
		first, firstEnd := s.arrive("192.0.2.1:1")
		second, secondEnd := s.arrive("192.0.2.1:2")
		var quiet []net.Conn
		for i := range silentShare*2 + 1 {
			quiet = append(quiet, s.comes(fmt.Sprintf("192.0.2.1:%d", 100+i)))
		}
		elsewhere := s.comes("192.0.2.2:1")
		synctest.Wait()
		if !cut(quiet[0]) || cut(quiet[1]) || s.closed.Load() != 1 {
			t.Errorf("of one silent connection too many: %d are cut, the oldest %t", s.closed.Load(), cut(quiet[0]))
		}
		if !isOpen(first, firstEnd) || !isOpen(second, secondEnd) || cut(elsewhere) {
			t.Error("silent connections cut others")
		}
		// In all, there may be so many.
		for i := range 3 {
			s.comes(fmt.Sprintf("192.0.2.3:%d", i+1))
		}
		synctest.Wait()
		if !cut(quiet[1]) || cut(quiet[2]) {
			t.Error("of too many silent ones in all, not the oldest is cut")
		}
		if want := 2 + silentShare*2 + 3; s.Open() != want {
			t.Errorf("%d are open, want %d", s.Open(), want)
		}
		// One that speaks is still none on which somebody asks.
		go func() { _, _ = quiet[5].Write([]byte("x")) }()
		slow, err := s.Accept()
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !isOpen(first, firstEnd) || !isOpen(second, secondEnd) || slow.(*Conn).Proven() {
			t.Error("one that has begun to ask has taken a place")
		}
		// When it asks, it is one of its address, of which the oldest gives way.
		slow.(*Conn).Asked()
		slow.(*Conn).Asked()
		if isOpen(first, firstEnd) || !isOpen(second, secondEnd) {
			t.Error("one more that asks: not the oldest gave way")
		}
	})
}

// Of too many in all, it is the address with most that makes room, even where another's
// are older.
func TestWhoCrowdsMakesRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{Unproven: 5, Most: 5})
		s.arrive("192.0.2.9:1")
		old := s.comes("192.0.2.1:1")
		synctest.Wait()
		var crowd []net.Conn
		for i := range 6 {
			crowd = append(crowd, s.comes(fmt.Sprintf("192.0.2.2:%d", i+1)))
			synctest.Wait()
		}
		if cut(old) || !cut(crowd[0]) || !cut(crowd[1]) || cut(crowd[2]) {
			t.Error("of silent ones, not the oldest of the crowd gave way")
		}
		first, firstEnd := s.arrive("192.0.2.1:2")
		var second *Conn
		var secondEnd net.Conn
		for i := range 5 {
			conn, end := s.arrive(fmt.Sprintf("192.0.2.3:%d", i+1))
			if i == 0 {
				second, secondEnd = conn, end
			}
		}
		if !isOpen(first, firstEnd) || isOpen(second, secondEnd) {
			t.Error("of those that ask, not the oldest of the crowd gave way")
		}
	})
}

// Those that are too many give way one after the other, and are never very many.
func TestPace(t *testing.T) {
	t.Parallel()
	for name, prove := range map[string]func(*Conn){
		"strangers": func(*Conn) {}, "a caller": func(c *Conn) { c.Prove("jeanne") }, "a front end": func(c *Conn) { c.Prove("jeanne"); c.Prove("paul") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const limit = 4
				s := newSite(t, Limits{Unproven: 100, PerCaller: 100, Shared: 100})
				switch name {
				case "strangers":
					s.limits.Unproven = limit
				case "a caller":
					s.limits.PerCaller = limit
				default:
					s.limits.Shared = limit
				}
				come := func(n int) {
					for i := range n {
						conn, _ := s.arrive(fmt.Sprintf("192.0.2.1:%d", i+1))
						prove(conn)
					}
				}
				expect := func(when string, want int) {
					t.Helper()
					synctest.Wait()
					if s.Open() != want {
						t.Errorf("%s %d are open, want %d", when, s.Open(), want)
					}
				}
				come(2 * limit)
				expect("when as many again have come", limit)
				come(20)
				expect("when many have come", limit+20)
				<-time.After(time.Second + trimPause)
				expect("a second later", limit+20-limit)
				come(100)
				expect("when very many have come", paceShare*limit)
				<-time.After(paceShare*time.Second + trimPause)
				expect("in the end", limit)
				if s.closed.Load() != 2*limit+20+100-limit {
					t.Errorf("%d were closed to make room", s.closed.Load())
				}
			})
		})
	}
}

// A crowd that comes at once is handed over one after the other.
func TestCrowdsComeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{Unproven: 4})
		begun := time.Now()
		for i := range 24 {
			s.begin(fmt.Sprintf("192.0.2.1:%d", i+1)) // none of them asks
			want := time.Duration(max(i-7, 0)) * time.Second / (4 * beginShare)
			if got := time.Since(begun); got != want {
				t.Errorf("number %d came after %s, want %s", i, got, want)
			}
		}
		s.begin("192.0.2.2:1")
		if got := time.Since(begun); got != 16*time.Second/(4*beginShare) {
			t.Error("another address waited, too")
		}
	})
}

// Who is refused many times at once has to wait no longer than who is refused once.
func TestTake_AtOnce(t *testing.T) {
	t.Parallel()
	now, r := time.Now(), NewRates(10, 1)
	if got := r.Take("a", now); got != 0 {
		t.Fatalf("the first waits for %s", got)
	}
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for range 100 {
				if got := r.Take("a", now); got != 100*time.Millisecond {
					t.Errorf("one too many waits for %s, want 100 ms", got)
					return
				}
			}
		})
	}
	group.Wait()
	if got := r.Take("a", now.Add(100*time.Millisecond)); got != 0 {
		t.Errorf("then for %s more", got)
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	now, r := time.Now(), NewRates(10, 20)
	for range 5 {
		r.Take("a", now)
	}
	for caller, want := range map[string]Quota{
		"a": {Burst: 20, Window: 2 * time.Second, Left: 15, Reset: 500 * time.Millisecond},
		"b": {Burst: 20, Window: 2 * time.Second, Left: 20},
	} {
		if got, limited := r.Quota(caller, now); got != want || !limited {
			t.Errorf("%s: %+v, want %+v", caller, got, want)
		}
	}
	for range 20 {
		r.Take("a", now)
	}
	if got, _ := r.Quota("a", now.Add(150*time.Millisecond)); got.Left != 1 {
		t.Errorf("after all of it: %+v", got)
	}
	if _, limited := NewRates(0, 0).Quota("a", now); limited {
		t.Error("without a rate there is a limit")
	}
}

func TestTurn(t *testing.T) {
	t.Parallel()
	now, r := time.Now(), NewRates(10, 1)
	for i, want := range []time.Duration{0, 100, 200, 250, 250} {
		if got := r.Turn("a", now, 250*time.Millisecond); got != want*time.Millisecond {
			t.Errorf("number %d waits for %s, want %d ms", i, got, want)
		}
	}
	// Who waited for the longest time took nobody's turn.
	if got := r.Turn("a", now.Add(300*time.Millisecond), 250*time.Millisecond); got != 0 {
		t.Errorf("afterwards: %s", got)
	}
	if got := NewRates(0, 0).Turn("a", now, time.Second); got != 0 {
		t.Errorf("without a rate: %s", got)
	}
}

// Of the refusals on a connection, one is held back at a time.
func TestHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		conn, _ := s.arrive("192.0.2.1:1")
		took := func(ctx context.Context, d time.Duration) time.Duration {
			begun := time.Now()
			conn.Hold(ctx, d)
			return time.Since(begun)
		}
		if got := took(t.Context(), 0); got != 0 {
			t.Errorf("not to be held: %s", got)
		}
		done := make(chan time.Duration)
		go func() { done <- took(t.Context(), time.Second) }()
		synctest.Wait()
		if got := took(t.Context(), time.Second); got != 0 {
			t.Errorf("a second one was held for %s", got)
		}
		if got := <-done; got != time.Second {
			t.Errorf("held for %s, want a second", got)
		}
		gone, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Millisecond, cancel)
		if got := took(gone, time.Second); got != 3*time.Millisecond {
			t.Errorf("the caller was gone after 3 ms, held for %s", got)
		}
		time.AfterFunc(time.Millisecond, func() { conn.Close() })
		if got := took(t.Context(), time.Second); got != time.Millisecond {
			t.Errorf("the connection was closed after 1 ms, held for %s", got)
		}
	})
}

func TestConnOf(t *testing.T) {
	t.Parallel()
	s := newSite(t, Limits{})
	conn, _ := s.arrive("192.0.2.1:7")
	if ConnOf(conn.RemoteAddr()) != conn || conn.RemoteAddr().String() != "192.0.2.1:7" {
		t.Errorf("%v leads to %v", conn.RemoteAddr(), ConnOf(conn.RemoteAddr()))
	}
	none := ConnOf(&net.TCPAddr{})
	none.Asked()
	none.Prove("jeanne")
	none.Hold(t.Context(), none.Refused(time.Hour))
	if none != nil || !none.Shared() {
		t.Error("an address of another listener's leads to a connection")
	}
}

// Whatever happens at once, the books are right in the end.
func TestListenerAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, Limits{Unproven: 3, PerCaller: 3, Shared: 3})
	var group sync.WaitGroup
	for i := range 300 {
		conn, _ := s.arrive(fmt.Sprintf("192.0.2.%d:%d", i%5, i+1))
		group.Go(func() {
			conn.Prove(fmt.Sprint(i % 7))
			conn.Refused(time.Microsecond)
			if i%3 == 0 {
				conn.Prove(fmt.Sprint(i % 4))
			}
			if i%2 == 0 {
				conn.Close()
			}
		})
	}
	group.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := 0
	for at, all := range s.places {
		if kept += all.conns.Len(); all.conns.Len() > paceShare*3 || all.conns.Len() == 0 {
			t.Errorf("%v has %d", at, all.conns.Len())
		}
	}
	if kept != s.open {
		t.Errorf("%d are kept and %d are counted", kept, s.open)
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Address(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	b := Bounds{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, row := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"direct", "192.0.2.7:443", nil, "192.0.2.7"},
		{"a stranger's claim is not believed", "192.0.2.7:443", []string{"198.51.100.1"}, "192.0.2.7"},
		{"a proxy's is", "10.1.1.1:443", []string{"198.51.100.1"}, "198.51.100.1"},
		{"only the last hop is", "10.1.1.1:443", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"through two proxies", "10.1.1.1:443", []string{"203.0.113.9", "198.51.100.1, 10.2.2.2"}, "198.51.100.1"},
		{"through a proxy's IPv4 in IPv6", "10.1.1.1:443", []string{"198.51.100.1, ::ffff:10.2.2.2"}, "198.51.100.1"},
		{"nonsense", "10.1.1.1:443", []string{"unknown"}, "10.1.1.1"},
		{"proxies alone", "10.1.1.1:443", []string{"10.2.2.2"}, "10.2.2.2"},
		{"IPv6 by network", "[2001:db8:1:2:3:4:5:6]:443", nil, "2001:db8:1:2::/64"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.7]:443", nil, "192.0.2.7"},
		{"not an address", "bufconn", nil, "bufconn"},
	} {
		if got := b.Client(row.peer, row.forwarded); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestRatesRefillAndForget(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := NewRates(10, 1)
	r.buckets.Resize(3)
	if wait := r.Take("a", now); wait != 0 {
		t.Errorf("first: wait %s", wait)
	}
	if wait := r.Take("a", now); wait != 100*time.Millisecond {
		t.Errorf("second: wait %s, want 100ms", wait)
	}
	// A refusal costs nothing.
	if wait := r.Take("a", now.Add(100*time.Millisecond)); wait != 0 {
		t.Errorf("a tenth of a second later: wait %s", wait)
	}
	for i := range 1000 {
		r.Take(fmt.Sprint(i), now)
		r.Take("busy", now)
	}
	if n := r.buckets.Len(); n > 3 {
		t.Errorf("%d buckets are kept, want at most 3", n)
	}
	if wait := r.Take("busy", now); wait == 0 {
		t.Error("a caller who goes on was forgotten")
	}
	if wait := NewRates(0, 0).Take("a", now); wait != 0 {
		t.Errorf("rate 0: wait %s", wait)
	}
}

func TestShares(t *testing.T) {
	t.Parallel()
	s := NewShares(2)
	for i, caller := range []string{"a", "a", "a", "b"} {
		if got := s.Take(caller); got != (i != 2) {
			t.Errorf("%d, for %s: %t", i, caller, got)
		}
	}
	s.Give("a")
	if !s.Take("a") || s.Take("a") {
		t.Error("what was given back cannot be taken once")
	}
	for _, caller := range []string{"a", "a", "b"} {
		s.Give(caller)
	}
	if len(s.taken) != 0 {
		t.Errorf("%v are remembered", s.taken)
	}
	for range 1000 {
		if !NewShares(0).Take("a") {
			t.Fatal("no limit is a limit")
		}
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	q := NewQueue(2)
	var ended []string
	enter := func(caller, name string) func() { return q.Enter(caller, func() { ended = append(ended, name) }) }
	first := enter("a", "a1")
	leaveSecond := enter("a", "a2")
	enterOther := enter("b", "b1")
	third := enter("a", "a3")
	if got := strings.Join(ended, " "); got != "a1" {
		t.Errorf("ended: %q, want a1", got)
	}
	leaveSecond()
	leaveSecond()
	enter("a", "a4")
	if got := strings.Join(ended, " "); got != "a1" {
		t.Errorf("with a place free, ended: %q", got)
	}
	enter("a", "a5")
	if got := strings.Join(ended, " "); got != "a1 a3" {
		t.Errorf("ended: %q, want a1 a3", got)
	}
	first()
	third()
	enterOther()
	if n := len(q.waiting); n != 1 {
		t.Errorf("%d callers are remembered, want 1", n)
	}
}

func TestBounds_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	if err := (Bounds{RatePerCaller: 1, BurstPerCaller: 1}).Validate(); err != nil {
		t.Error(err)
	}
	err := Bounds{RatePerCaller: -1, RatePerAddress: 1, MaxStreams: -1, MaxConnections: -1}.Validate()
	for _, want := range []string{"RATE_PER_CALLER", "BURST_PER_ADDRESS", "MAX_STREAMS", "MAX_CONNECTIONS"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	if Slots(0) != nil || cap(Slots(3)) != 3 {
		t.Error("slots are not as many as asked for")
	}
}

// Two people's first calls come at once, and their moves in the other order.
func TestProve_InAnyOrder(t *testing.T) {
	t.Parallel()
	s := newSite(t, Limits{})
	conn, _ := s.arrive("192.0.2.1:1")
	conn.take(place{shared, conn.address})
	conn.take(place{proven, "jeanne"})
	conn.take(place{unproven, conn.address})
	if !conn.Shared() {
		t.Error("a shared connection has become one person's")
	}
}

// Many whose tokens are new come at once from one address: until it is known who they
// are, none takes another's place.
func TestProve_ManyAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, Limits{Unproven: 2, PerCaller: 1})
	var conns []*Conn
	var ends []net.Conn
	for i := range 20 {
		conn, end := s.begin(fmt.Sprintf("192.0.2.1:%d", 1+i))
		conns, ends = append(conns, conn), append(ends, end)
	}
	for i, conn := range conns {
		conn.Prove(fmt.Sprint("person ", i))
		if !conn.Proven() || conn.Shared() {
			t.Errorf("connection %d is not its person's", i)
		}
	}
	for i, end := range ends {
		if cut(end) {
			t.Errorf("connection %d was cut", i)
		}
	}
	if s.Open() != 20 || s.open != 20 {
		t.Errorf("%d are open, %d with a request", s.Open(), s.open)
	}
}

// What comes is read at a rate, which is the caller's own, on however many connections.
func TestBudget(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		address string
		prepare func(*Conn)
		rate    int
		burst   int
	}{
		"a stranger":   {"192.0.2.1", func(*Conn) {}, strangerBytes, strangerBurst},
		"a caller":     {"192.0.2.1", func(c *Conn) { c.Prove("jeanne") }, callerBytes, callerBurst},
		"several":      {"192.0.2.1", func(c *Conn) { c.Prove("paul"); c.Prove("jeanne") }, 0, 0},
		"a provider":   {"192.0.2.1", func(c *Conn) { c.Reports(true) }, reporterBytes, reporterBurst},
		"no longer":    {"192.0.2.1", func(c *Conn) { c.Reports(true); c.Reports(false) }, strangerBytes, strangerBurst},
		"a proxy":      {"10.0.0.1", func(*Conn) {}, 0, 0},
		"without what": {"192.0.2.1", func(c *Conn) { c.listener.limits.Unproven = 0 }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, Limits{Unproven: 8, PerCaller: 8, Shared: 8, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
				var conns []*Conn
				var ends []net.Conn
				for i := range 4 {
					conn, end := s.arrive(fmt.Sprintf("%s:%d", row.address, 1+i))
					row.prepare(conn)
					conns, ends = append(conns, conn), append(ends, end)
				}
				// Four connections send for ten seconds as fast as they are read.
				var taken atomic.Int64
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				most := int64(row.burst + 10*row.rate)
				if most == 0 {
					most = 64 << 20
				}
				var group sync.WaitGroup
				for i := range conns {
					group.Go(func() {
						for ctx.Err() == nil && taken.Load() < 2*most {
							if _, err := ends[i].Write(make([]byte, 32<<10)); err != nil {
								return
							}
						}
						ends[i].Close()
					})
					group.Go(func() {
						buffer := make([]byte, 32<<10)
						for {
							n, err := conns[i].Read(buffer)
							taken.Add(int64(n))
							if err != nil {
								return
							}
						}
					})
				}
				group.Wait()
				if got := taken.Load(); row.rate > 0 && (got > most+4*(64<<10) || got < most/2) {
					t.Errorf("%d bytes were read in ten seconds, want about %d", got, most)
				} else if row.rate == 0 && got < 2*most {
					t.Errorf("%d bytes were read, want all", got)
				}
			})
		})
	}
}

// What is more work than its bytes is taken off the same budget, and somebody else's is
// another.
func TestSpend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{Unproven: 8, PerCaller: 8, Shared: 8})
		first, firstEnd := s.arrive("192.0.2.1:1")
		same, sameEnd := s.arrive("192.0.2.1:2")
		other, otherEnd := s.arrive("192.0.2.2:1")
		known, knownEnd := s.arrive("192.0.2.1:3")
		known.Prove("jeanne")
		for range 10 {
			first.Spend(strangerBurst)
		}
		if got := taken(t, other, otherEnd) + taken(t, known, knownEnd); got != 0 {
			t.Errorf("others wait for %s", got)
		}
		same.Spend(strangerBytes / 2)
		if got := taken(t, same, sameEnd).Round(time.Millisecond); got != maxWait/2 {
			t.Errorf("on another connection, the address waits for %s, want half a second", got)
		}
		if got := taken(t, first, firstEnd).Round(time.Millisecond); got != maxWait/2 {
			t.Errorf("who has spent ten times their budget waits for %s more, want half a second", got)
		}
		var none *Conn
		none.Spend(1)
		none.Reports(true)
	})
}

// A connection of several people is read late for work of which no call comes, and for
// nothing else.
func TestSpendOfSeveral(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{Unproven: 8, PerCaller: 8, Shared: 8, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		several := func(address string) (*Conn, net.Conn) {
			conn, end := s.arrive(address)
			conn.Prove("jeanne")
			conn.Prove("paul")
			return conn, end
		}
		const call = 10 << 10
		relay, relayEnd := several("192.0.2.1:1")
		for range 10_000 {
			// As many heads as there may be calls, and then these are counted.
			for range 100 {
				relay.Spend(call)
			}
			for range 100 {
				relay.Counted(call)
			}
		}
		if got := taken(t, relay, relayEnd); got != 0 {
			t.Errorf("who relays a million calls waits for %s", got)
		}
		// Calls account for what has come, not for what comes later.
		relay.Spend(wasteBurst)
		if got := taken(t, relay, relayEnd); got != 0 {
			t.Errorf("who has spent no more than may be at once waits for %s", got)
		}
		relay.Spend(wasteRate / 2)
		if got := taken(t, relay, relayEnd).Round(time.Millisecond); got != time.Second/2 {
			t.Errorf("who spends half a second's more waits for %s", got)
		}
		for range 100 {
			relay.Spend(wasteBurst)
		}
		if got := taken(t, relay, relayEnd).Round(time.Millisecond); got != maxWait {
			t.Errorf("who has spent a hundred times as much waits for %s, want a second", got)
		}
		if got := taken(t, relay, relayEnd); got != 0 {
			t.Errorf("and then for %s more", got)
		}
		if relay.piece(1<<10) != pieceBytes {
			t.Error("much is read at once of who wastes")
		}
		for name, address := range map[string]string{"another of the same address": "192.0.2.1:2", "a trusted proxy": "10.0.0.1:1"} {
			other, otherEnd := several(address)
			if name == "a trusted proxy" {
				other.Spend(100 * wasteBurst)
			}
			if got := taken(t, other, otherEnd); got != 0 {
				t.Errorf("%s waits for %s", name, got)
			}
		}
	})
}

// taken is how long it takes to read what has come.
func taken(t *testing.T, conn *Conn, end net.Conn) time.Duration {
	t.Helper()
	go func() { _, _ = end.Write([]byte("x")) }()
	begun := time.Now()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return time.Since(begun)
}
