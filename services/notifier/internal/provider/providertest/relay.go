package providertest

import (
	"bufio"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
)

// Replies of a Relay that are none.
const (
	Cuts   = "cut"
	Hangs  = "hang"  // and reads on until the client goes away
	Stalls = "stall" // and reads no more
)

// Relay is an SMTP relay that says yes to everything except where the script, by verb, says
// otherwise: "greeting", "EHLO", "MAIL", …, "BODY" while the content comes and
// "." at its end. It counts connections and whole mails.
type Relay struct {
	Addr string
	// Hung has a value for each time that the relay hangs.
	Hung  chan struct{}
	ended chan struct{}

	mu           sync.Mutex
	script       map[string]string
	calls, mails int
	// open are the connections, each with what is closed when its talk has ended.
	open map[net.Conn]chan struct{}
}

// Counts returns how many connections and whole mails there were.
func (r *Relay) Counts() (calls, mails int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls, r.mails
}

// Say replaces the script.
func (r *Relay) Say(script map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script = script
}

// scripted is what the script has for a point of the talk.
func (r *Relay) scripted(at string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.script[at]
}

// StartRelay runs a relay until the test ends.
func StartRelay(t *testing.T, script map[string]string) *Relay {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Addr: l.Addr().String(), script: script, Hung: make(chan struct{}, 64), ended: make(chan struct{}), open: make(map[net.Conn]chan struct{})}
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.calls++
			ended := make(chan struct{})
			r.open[conn] = ended
			r.mu.Unlock()
			go r.serve(conn, ended)
		}
	}()
	t.Cleanup(func() {
		<-accepting
		r.HangUp()
	})
	t.Cleanup(func() {
		l.Close()
		close(r.ended)
	})
	return r
}

func (r *Relay) serve(conn net.Conn, ended chan struct{}) {
	defer close(ended)
	r.talk(conn)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, conn)
	conn.Close()
}

// HangUp closes the relay's end of every connection, and returns when each is closed.
func (r *Relay) HangUp() {
	r.mu.Lock()
	open := maps.Clone(r.open)
	r.mu.Unlock()
	for conn, ended := range open {
		conn.Close()
		<-ended
	}
}

func (r *Relay) talk(conn net.Conn) {
	lines := bufio.NewReader(conn)
	if !r.reply(conn, "greeting", "220 relay") {
		return
	}
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		usual := map[string]string{"EHLO": "250-relay\r\n250 AUTH PLAIN LOGIN", "AUTH": "235 welcome", "DATA": "354 go ahead", "QUIT": "221 bye"}[verb]
		if usual == "" {
			usual = "250 ok"
		}
		if !r.reply(conn, verb, usual) || verb == "QUIT" {
			return
		}
		if verb == "DATA" && r.scripted("DATA") == "" && !r.content(conn, lines) {
			return
		}
	}
}

func (r *Relay) content(conn net.Conn, lines *bufio.Reader) bool {
	if r.scripted("BODY") != "" {
		_, _ = lines.ReadString('\n')
		return r.reply(conn, "BODY", "")
	}
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			r.mu.Lock()
			r.mails++
			r.mu.Unlock()
			return r.reply(conn, ".", "250 queued")
		}
	}
}

// reply reports whether the talk goes on.
func (r *Relay) reply(conn net.Conn, at, usual string) bool {
	line := usual
	if scripted := r.scripted(at); scripted != "" {
		line = scripted
	}
	switch line {
	case Cuts:
		return false
	case Hangs:
		r.Hung <- struct{}{}
		_, _ = io.Copy(io.Discard, conn)
		return false
	case Stalls:
		<-r.ended
		return false
	}
	_, err := conn.Write([]byte(line + "\r\n"))
	return err == nil
}
