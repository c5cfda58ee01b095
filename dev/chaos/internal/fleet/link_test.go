package fleet

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A slicer that cannot get rid of what it holds keeps toxiproxy from taking it off; the
// link must forward again all the same.
func TestLink_HealsWhenStuck(t *testing.T) {
	t.Parallel()
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() })
	var said atomic.Int64
	go func() {
		for {
			conn, err := upstream.Accept()
			if err != nil {
				return
			}
			go func() { // asked once, it says more than buffers hold
				_, err := conn.Read(make([]byte, 1))
				for chunk := make([]byte, 64<<10); err == nil; said.Add(1) {
					_, err = conn.Write(chunk)
				}
				conn.Close()
			}()
		}
	}()
	all := newLinks()
	addr, err := all.open("a-b", "127.0.0.1:0", upstream.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	link := all.all[0]
	read := func(conn net.Conn) error {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // reading tells
		_, err := conn.Write([]byte("?"))
		if err == nil {
			_, err = io.ReadFull(conn, make([]byte, 1000))
		}
		return err
	}
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	first := dial()
	if err := link.Spoil(Toxic{Name: "slicer", Type: "slicer", Stream: "downstream", Attributes: map[string]any{"average_size": 16000, "size_variation": 1, "delay": 0}}); err != nil {
		t.Fatal(err)
	}
	if err := read(first); err != nil { // and no more
		t.Fatal(err)
	}
	for last := int64(-1); said.Load() != last; Sleep(t.Context(), 300*time.Millisecond) {
		last = said.Load()
	}
	before := link.proxy
	if err := link.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if link.proxy == before {
		t.Error("the proxy was not stuck: the test shows nothing")
	}
	if err := read(dial()); err != nil {
		t.Errorf("after healing: %v", err)
	}
}

// No two processes of a fleet have one address, also while neither listens there.
func TestFreePort(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 1000 {
		addr, err := freePort(t.Context())
		if err != nil || seen[addr] {
			t.Fatalf("%s a second time, %v", addr, err)
		}
		seen[addr] = true
	}
}
