package stack_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/dev/browser"
	"github.com/ma-messagerie/messagerie/dev/journey"
)

// quiet is how long nothing happens on the hints that `make nginx` follows; 0 is for
// every day, when it is no measurement either.
var quiet = flag.Duration("quiet", 0, "TestHintsThroughNginx: how long nothing happens, and measure")

// promptly is how soon a hint comes, after a change and after the way to it is there.
const promptly = time.Second

// proxy is a real nginx with its defaults in front of the gateway.
type proxy struct {
	config, addr string
	cmd          *exec.Cmd
	done         chan error
}

// needNginx returns the program.
func needNginx(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	testenv.Unavailable(t, errors.New("nginx is missing: apt-get install nginx-light"))
	return ""
}

// configure writes a configuration that says nothing about streams. An EventSource cannot
// send a token, so nginx does.
func configure(t *testing.T, gateway, token string) *proxy {
	t.Helper()
	dir := stateDir(t)
	p := &proxy{config: filepath.Join(dir, "nginx.conf"), addr: ports(t, 1)[0]}
	text := fmt.Sprintf(`daemon off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s;
		location = /page { default_type text/html; return 200 "<!doctype html><title>Hints</title>"; }
		location / {
			proxy_pass %[3]s;
			proxy_set_header Authorization "Bearer %[4]s";
		}
	}
}
`, dir, p.addr, gateway, token)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(t) })
	return p
}

// start returns when somebody answers at its address.
func (p *proxy) start(t *testing.T, nginx string) {
	t.Helper()
	p.cmd, p.done = exec.Command(nginx, "-c", p.config, "-p", filepath.Dir(p.config)), make(chan error, 1)
	p.cmd.Stderr = t.Output()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	for {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case err := <-p.done:
			t.Fatalf("nginx has ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends it at once, and all that goes through it.
func (p *proxy) stop(t *testing.T) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(os.Interrupt) // fast shutdown
	if err := <-p.done; err != nil {
		t.Errorf("nginx: %v", err)
	}
	p.cmd = nil
}

// told is what the browser's EventSource was told.
type told struct {
	Kind           string
	ID             int
	ConversationID string
	Data           string
	State          int
	at             time.Time
}

// listener is a Chromium that follows the hints.
type listener struct {
	heard chan told
}

// hearHints follows the hints that come from an address.
func hearHints(t *testing.T, dir, address string) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), *quiet+3*time.Minute)
	cmd := exec.CommandContext(ctx, "node", "hints.mjs")
	cmd.Dir, cmd.Stderr = dir, t.Output()
	away := "http://127.0.0.1:1" // no page of the front end is used
	cmd.Env = append(os.Environ(), "PROXY_URL=http://"+address, "WEB_URL="+away, "INBOX_URL="+away, "WEB_AWAY_URL="+away, "WEB_LIMITED_URL="+away)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{make(chan told, 1000)}
	go func() {
		defer close(l.heard)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			what := told{at: time.Now()}
			if err := json.Unmarshal(lines.Bytes(), &what); err != nil {
				what = told{Kind: lines.Text()}
			}
			l.heard <- what
		}
	}()
	t.Cleanup(func() {
		defer cancel()
		input.Close()
		for range l.heard { // to its end
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the browser: %v", err)
		}
	})
	return l
}

// await waits until the browser was told something; between may come only what is allowed.
func (l *listener) await(t *testing.T, kind, conversation string, allowed ...string) told {
	t.Helper()
	for what := range l.heard {
		if what.Kind == kind && what.ConversationID == conversation {
			return what
		}
		if what.Kind != "hint" && (len(allowed) == 0 || what.Kind != allowed[0]) {
			t.Fatalf("%+v while waiting for %s", what, kind)
		}
	}
	t.Fatalf("the browser has ended; waiting for %s", kind)
	return told{}
}

// The browser's own EventSource, through nginx as it comes out of its package: hints come
// as things change, also after two minutes without any, and a cut loses none.
func TestHintsThroughNginx(t *testing.T) {
	t.Parallel()
	const dir = "../../web/e2e"
	nginx := needNginx(t)
	browser.Need(t, dir)
	s := start(t, stateDir(t))
	jeanne, crm := as(t, s, "jeanne"), as(t, s, "crm")
	sent := send(t, jeanne, "Bonjour, je voudrais savoir où en est mon dossier.")
	p := configure(t, s.Places().Gateway, jeanne.Token)
	p.start(t, nginx)
	l := hearHints(t, dir, p.addr)
	l.await(t, "open", "")
	first := l.await(t, "hint", "")
	if first.ID != 1 {
		t.Errorf("the first hint is %+v", first)
	}
	prompt := func(what string, since time.Time, got told) {
		took := got.at.Sub(since)
		if t.Logf("%s: a hint after %s", what, took.Round(time.Millisecond)); took > promptly && *quiet > 0 {
			t.Errorf("that is more than %s", promptly)
		}
	}
	change := func(what string) told {
		begun := time.Now()
		replyAs(t, crm, sent.ID)
		got := l.await(t, "hint", sent.ID)
		prompt(what, begun, got)
		return got
	}
	last := change("a reply")

	// What happens while nobody can be told is told by the first hint after.
	p.stop(t)
	if cut := l.await(t, "cut", ""); cut.State != 0 {
		t.Errorf("the EventSource has given up: %+v", cut)
	}
	replyAs(t, crm, sent.ID)
	p.start(t, nginx)
	opened := l.await(t, "open", "", "cut")
	again := l.await(t, "hint", "")
	prompt("back after a cut", opened.at, again)
	if again.ID <= last.ID {
		t.Errorf("the hint %d comes after %d", again.ID, last.ID)
	}
	change("a reply after the cut")

	if *quiet > 0 {
		select {
		case what := <-l.heard:
			t.Errorf("in the silence: %+v", what)
		case <-time.After(*quiet):
			t.Logf("nothing happened for %s", *quiet)
		}
		change("a reply after the silence")
	}
}

// replyAs replies to a conversation, and leaves it open.
func replyAs(t *testing.T, c journey.Client, id string) {
	t.Helper()
	if answer := do(t, c, http.MethodPost, "/v1/agent/conversations/"+id+":reply", map[string]any{"text": "Votre dossier avance.", "lastMessageId": lastMessage(t, c, id)}, "Idempotency-Key", uuid.NewString()); answer.Status != http.StatusOK {
		t.Fatalf("%+v", answer)
	}
}
