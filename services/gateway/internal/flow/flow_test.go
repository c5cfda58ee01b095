package flow

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ma-messagerie/messagerie/chassis/fair"
)

// accepted is a new connection of a listener, on which something has come.
func accepted(t *testing.T) *fair.Conn {
	t.Helper()
	var config net.ListenConfig
	raw, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lis := fair.Listen(raw, fair.Limits{})
	t.Cleanup(func() { lis.Close() })
	var dialer net.Dialer
	client, err := dialer.DialContext(t.Context(), "tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	conn, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	fairly, ok := conn.(*fair.Conn)
	if !ok {
		t.Fatalf("a connection of %T", conn)
	}
	return fairly
}

// How much may wait to be read depends on who calls.
func TestFull(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		callers []string
		most    int
	}{
		"nobody known": {nil, unreadUnproven},
		"one":          {[]string{"jeanne"}, unreadProven},
		"several":      {[]string{"jeanne", "paul"}, unreadShared},
	} {
		conn, l := accepted(t), &Ledger{}
		for _, caller := range row.callers {
			conn.Prove(caller)
		}
		if l.Answered(row.most - messageHead); l.Full(conn) {
			t.Errorf("%s: full with %d bytes", name, row.most)
		}
		if l.Answered(0); !l.Full(conn) {
			t.Errorf("%s: not full with %d bytes", name, row.most+messageHead)
		}
	}
}

// Two people who share connections, and read none of them, have together what one
// connection may have, and not each of them.
func TestUnreadAnswersOfAnAddress(t *testing.T) {
	t.Parallel()
	all := newLedgers(insecure.NewCredentials())
	at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1"))
	conn := accepted(t)
	conn.Prove("jeanne")
	conn.Prove("paul")
	var ledgers []*Ledger
	var ends []func()
	open := func(addr net.Addr) *Ledger {
		l := &Ledger{}
		ends = append(ends, all.open(l, addr))
		ledgers = append(ledgers, l)
		return l
	}
	const each = 1 << 20
	taken := 0
	for range 256 {
		l := open(at)
		for range 64 {
			if !l.Full(conn) {
				l.Answered(each)
				taken += each
			}
		}
	}
	if most := unreadAddress + 256*(each+unreadLittle); taken > most || taken < unreadAddress {
		t.Errorf("%d bytes wait to be read", taken)
	}
	// Who reads goes on, and so does another address, and a proxy.
	reads := open(at)
	if reads.Answered(unreadLittle - 2*messageHead); reads.Full(conn) {
		t.Error("a connection that is read is full")
	}
	other := open(net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.2:1")))
	if other.Answered(each); other.Full(conn) || ledgers[100].Full(nil) {
		t.Error("others are full too")
	}
	for _, end := range ends {
		end()
	}
	if len(all.addresses) > 0 {
		t.Errorf("%d addresses are remembered", len(all.addresses))
	}
}

// discarding is a connection that takes everything.
type discarding struct{ net.Conn }

func (discarding) Write(p []byte) (int, error) { return len(p), nil }

func TestLedgerCountsFrames(t *testing.T) {
	t.Parallel()
	var wire bytes.Buffer
	framer := http2.NewFramer(&wire, nil)
	_ = framer.WriteSettings() // to memory, as all of these
	_ = framer.WriteData(1, false, make([]byte, 70))
	_ = framer.WritePing(false, [8]byte{})
	_ = framer.WriteData(3, true, nil)
	_ = framer.WriteData(5, true, make([]byte, 9000))
	for _, size := range []int{1, 3, 8, 9, 10, 100, wire.Len()} {
		conn := &measured{Conn: discarding{}, ledger: &Ledger{}}
		for rest := wire.Bytes(); len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := conn.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if got := conn.ledger.sent.Load(); got != 9070 {
			t.Errorf("in pieces of %d bytes: %d bytes of data are counted, want 9070", size, got)
		}
	}
}

// What frames are as work does not depend on how they arrive.
func TestWorkOfFrames(t *testing.T) {
	t.Parallel()
	var wire bytes.Buffer
	wire.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&wire, nil)
	_ = framer.WriteSettings() // to memory, as all of these
	_ = framer.WritePing(true, [8]byte{})
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 20), EndHeaders: true})
	_ = framer.WriteData(1, false, []byte{0})                // a tiny one
	_ = framer.WriteData(1, false, make([]byte, tinyFrame))  // not a tiny one
	_ = framer.WriteData(1, true, nil)                       // the end
	_ = framer.WriteRawFrame(http2.FrameType(99), 0, 1, nil) // unknown
	const want = 5*frameWork + headWork + tinyWork
	for _, size := range []int{1, 7, 9, 24, 25, 100, wire.Len()} {
		work := 0
		into, preface := frames{}, len(http2.ClientPreface)
		for rest := wire.Bytes(); len(rest) > 0; {
			got := rest[:min(size, len(rest))]
			rest = rest[len(got):]
			skip := min(preface, len(got))
			preface -= skip
			into.see(got[skip:], func(f frameInfo) { work += f.work() })
		}
		if work != want {
			t.Errorf("in pieces of %d bytes: %d, want %d", size, work, want)
		}
	}
}
