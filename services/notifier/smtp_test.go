package notifier

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"net"
	"net/http/httptest"
	"net/mail"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// Replies of a scriptedRelay that are none.
const (
	relayCuts   = "cut"
	relayHangs  = "hang"  // and reads on until the client goes away
	relayStalls = "stall" // and reads no more
)

// scriptedRelay says yes to everything except where the script, by verb, says
// otherwise: "greeting", "EHLO", "MAIL", …, "BODY" while the content comes and
// "." at its end. It returns its address, and counts connections and whole mails.
type scriptedRelay struct {
	addr  string
	ended chan struct{}

	mu           sync.Mutex
	script       map[string]string
	calls, mails int
}

// scripted is what the script has for a point of the talk.
func (r *scriptedRelay) scripted(at string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.script[at]
}

func startRelay(t *testing.T, script map[string]string) *scriptedRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &scriptedRelay{addr: l.Addr().String(), script: script, ended: make(chan struct{})}
	var talks sync.WaitGroup
	talks.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			talks.Go(func() {
				defer conn.Close()
				r.talk(conn)
			})
		}
	})
	t.Cleanup(talks.Wait)
	t.Cleanup(func() {
		l.Close()
		close(r.ended)
	})
	return r
}

func (r *scriptedRelay) talk(conn net.Conn) {
	r.mu.Lock()
	r.calls++
	r.mu.Unlock()
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

func (r *scriptedRelay) content(conn net.Conn, lines *bufio.Reader) bool {
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

// reply says whether the talk goes on.
func (r *scriptedRelay) reply(conn net.Conn, at, usual string) bool {
	line := usual
	if scripted := r.scripted(at); scripted != "" {
		line = scripted
	}
	switch line {
	case relayCuts:
		return false
	case relayHangs:
		_, _ = io.Copy(io.Discard, conn)
		return false
	case relayStalls:
		<-r.ended
		return false
	}
	_, err := conn.Write([]byte(line + "\r\n"))
	return err == nil
}

var aMail = email{
	DeliveryID: "0198c0de-0000-7000-8000-000000000001.EMAIL", To: "jeanne@example.org",
	Subject: "Accusé de réception", Text: "Bonjour à vous\n.\n. un point\n", HTML: "<p>Bonjour</p>",
}

func relayMailer(t *testing.T, cfg SMTP) *smtpMailer {
	t.Helper()
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	p := newSMTPMailer(cfg, "ne-pas-repondre@example.org", "Ma messagerie", 4)
	t.Cleanup(p.close)
	return p
}

// mailWithin sends aMail with some time for it.
func mailWithin(t *testing.T, p *smtpMailer, timeout time.Duration) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	began := time.Now()
	a := p.Mail(ctx, aMail)
	if took := time.Since(began); took > timeout+2*time.Second {
		t.Errorf("it took %s of %s", took, timeout)
	}
	return a
}

func TestSMTP_Classes(t *testing.T) {
	t.Parallel()
	const long, short = 20 * time.Second, 300 * time.Millisecond
	// A relay may repeat the address: no answer of ours does.
	no := func(code int) string { return fmt.Sprintf("%d <jeanne@example.org> no", code) }
	for name, row := range map[string]struct {
		at, reply string
		timeout   time.Duration
		class     class
		reason    string
		mails     int
	}{
		"all is well":          {"", "", long, classAccepted, "", 1},
		"another yes":          {".", "251 will forward", long, classAccepted, "", 1},
		"no greeting":          {"greeting", relayCuts, long, classNotSent, "UNREACHABLE", 0},
		"greeting hangs":       {"greeting", relayHangs, short, classNotSent, "UNREACHABLE", 0},
		"greeting refused":     {"greeting", no(554), long, classNotSent, "UNREACHABLE", 0},
		"hello cut":            {"EHLO", relayCuts, long, classNotSent, "UNREACHABLE", 0},
		"no AUTH":              {"EHLO", "250 relay", long, classConfigFault, "SMTP_NO_AUTH", 0},
		"another AUTH":         {"EHLO", "250-relay\r\n250 AUTH CRAM-MD5", long, classConfigFault, "SMTP_NO_AUTH", 0},
		"password refused":     {"AUTH", no(535), long, classConfigFault, "SMTP_535", 0},
		"password later":       {"AUTH", no(454), long, classNotSent, "SMTP_454", 0},
		"password cut":         {"AUTH", relayCuts, long, classNotSent, "UNREACHABLE", 0},
		"sender refused":       {"MAIL", no(550), long, classConfigFault, "SMTP_550", 0},
		"sender unknown":       {"MAIL", no(530), long, classConfigFault, "SMTP_530", 0},
		"sender later":         {"MAIL", no(451), long, classNotSent, "SMTP_451", 0},
		"relay closes":         {"MAIL", no(421), long, classNotSent, "SMTP_421", 0},
		"sender cut":           {"MAIL", relayCuts, long, classNotSent, "CONNECTION_LOST", 0},
		"recipient refused":    {"RCPT", no(550), long, classRefused, "SMTP_550", 0},
		"recipient of others":  {"RCPT", no(530), long, classConfigFault, "SMTP_530", 0},
		"recipient later":      {"RCPT", no(450), long, classNotSent, "SMTP_450", 0},
		"recipient hangs":      {"RCPT", relayHangs, short, classNotSent, "CONNECTION_LOST", 0},
		"data refused":         {"DATA", no(554), long, classRefused, "SMTP_554", 0},
		"data later":           {"DATA", no(451), long, classNotSent, "SMTP_451", 0},
		"data misunderstood":   {"DATA", "250 ok", long, classNotSent, "SMTP_250", 0},
		"data cut":             {"DATA", relayCuts, long, classNotSent, "CONNECTION_LOST", 0},
		"content refused":      {".", no(554), long, classRefused, "SMTP_554", 1},
		"mailbox full":         {".", no(552), long, classRefused, "SMTP_552", 1},
		"content later":        {".", no(451), long, classNotSent, "SMTP_451", 1},
		"relay closes at last": {".", no(421), long, classNotSent, "SMTP_421", 1},
		"cut after the dot":    {".", relayCuts, long, classUnknown, "CONNECTION_LOST", 1},
		"hangs after the dot":  {".", relayHangs, short, classUnknown, "NO_ANSWER_IN_TIME", 1},
		"nonsense at the end":  {".", "well done", long, classUnknown, "CONNECTION_LOST", 1},
		"half an answer":       {".", "354 go ahead", long, classUnknown, "SMTP_354", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRelay(t, map[string]string{row.at: row.reply})
			p := relayMailer(t, SMTP{Addr: r.addr, TLS: "none", User: "notifier", Password: "secret"})
			a := mailWithin(t, p, row.timeout)
			if a.class != row.class || a.reason != row.reason {
				t.Errorf("answered %+v, want %s %s", a, row.class, row.reason)
			}
			if (a.messageID != "") != (row.class == classAccepted) || !regexp.MustCompile(`^[A-Z0-9_]*$`).MatchString(a.reason) {
				t.Errorf("answered %+v", a)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.calls != 1 || r.mails != row.mails {
				t.Errorf("%d connections and %d mails, want 1 and %d", r.calls, r.mails, row.mails)
			}
		})
	}
}

// What is cut while it is written has not left, however much of it has.
func TestSMTP_CutInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		reply   string
		timeout time.Duration
	}{"cut": {relayCuts, 20 * time.Second}, "stall": {relayStalls, time.Second}} {
		r := startRelay(t, map[string]string{"BODY": row.reply})
		p := relayMailer(t, SMTP{Addr: r.addr, TLS: "none"})
		c, a := p.connect(t.Context())
		if c == nil {
			t.Fatalf("%s: %+v", name, a)
		}
		ctx, cancel := context.WithTimeout(t.Context(), row.timeout)
		// It is more than the buffers between us hold.
		if a, _ := p.send(ctx, c, aMail, bytes.Repeat([]byte("0123456789abcdef\n"), 1<<20)); a.class != classNotSent || a.reason != "CONNECTION_LOST" {
			t.Errorf("%s: answered %+v", name, a)
		}
		cancel()
	}
}

func TestSMTP_NobodyThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := relayMailer(t, SMTP{Addr: l.Addr().String(), TLS: "none"})
	if a := mailWithin(t, p, 20*time.Second); a.class != classNotSent || a.reason != "UNREACHABLE" {
		t.Errorf("answered %+v", a)
	}
}

// The caller's end of patience is ours, without a deadline too.
func TestSMTP_Cancelled(t *testing.T) {
	t.Parallel()
	r := startRelay(t, map[string]string{".": relayHangs})
	p := relayMailer(t, SMTP{Addr: r.addr, TLS: "none"})
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan answer, 1)
	go func() { told <- p.Mail(ctx, aMail) }()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for arrived := false; !arrived; <-ticker.C {
		r.mu.Lock()
		arrived = r.mails == 1
		r.mu.Unlock()
	}
	cancel()
	if a := <-told; a.class != classUnknown {
		t.Errorf("answered %+v", a)
	}
	if a := p.Mail(ctx, aMail); a.class != classNotSent || a.reason != "UNREACHABLE" {
		t.Errorf("with no time at all: %+v", a)
	}
}

// A connection serves one mail after another. One that the relay has closed
// meanwhile costs nothing but another.
func TestSMTP_Reuse(t *testing.T) {
	t.Parallel()
	r := startRelay(t, nil)
	p := relayMailer(t, SMTP{Addr: r.addr, TLS: "none"})
	send := func(calls, mails int) {
		t.Helper()
		if a := mailWithin(t, p, 20*time.Second); a.class != classAccepted {
			t.Fatalf("answered %+v", a)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.calls != calls || r.mails != mails {
			t.Errorf("%d connections, %d mails, want %d and %d", r.calls, r.mails, calls, mails)
		}
	}
	send(1, 1)
	send(1, 2)
	c := p.reuse()
	c.conn.Close() // as if the relay had
	p.keep(c)
	send(2, 3)
	c = p.reuse()
	p.keep(c)
	c.used = time.Now().Add(-smtpIdle) // too old to be trusted
	send(3, 4)
	r.mu.Lock()
	r.script = map[string]string{"RCPT": "550 no"}
	r.mu.Unlock()
	if a := mailWithin(t, p, 20*time.Second); a.class != classRefused {
		t.Errorf("answered %+v", a)
	}
	if p.reuse() != nil {
		t.Error("a connection in the middle of a transaction was kept")
	}
}

// realRelay is a go-smtp server that wants a password, and STARTTLS or TLS.
type realRelay struct {
	mu    sync.Mutex
	calls int
	mails []string
	to    []string
}

type realSession struct {
	relay *realRelay
	known bool
	to    string
}

func (s *realSession) Reset()                   {}
func (s *realSession) Logout() error            { return nil }
func (s *realSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *realSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "notifier" || password != "secret" {
			return gosmtp.ErrAuthFailed
		}
		s.known = true
		return nil
	}), nil
}

func (s *realSession) Mail(from string, _ *gosmtp.MailOptions) error {
	if !s.known || from != "ne-pas-repondre@example.org" {
		return &gosmtp.SMTPError{Code: 530, Message: "who are you?"}
	}
	return nil
}

func (s *realSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *realSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.relay.mails, s.relay.to = append(s.relay.mails, string(content)), append(s.relay.to, s.to)
	return err
}

// start serves and returns the address and what trusts its certificate.
func (r *realRelay) start(t *testing.T, withTLS bool) (addr string, trust *x509.CertPool) {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	trust = x509.NewCertPool()
	trust.AddCert(web.Certificate())
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls++
		return &realSession{relay: r}, nil
	}))
	server.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	server.TLSConfig = &tls.Config{Certificates: web.TLS.Certificates}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if withTLS {
		l = tls.NewListener(l, server.TLSConfig)
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return l.Addr().String(), trust
}

func TestSMTP_Dialogue(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"starttls", "tls"} {
		relay := new(realRelay)
		addr, trust := relay.start(t, mode == "tls")
		p := relayMailer(t, SMTP{Addr: addr, TLS: mode, User: "notifier", Password: "secret"})
		if a := mailWithin(t, p, 20*time.Second); a.class != classNotSent || a.reason != "UNREACHABLE" {
			t.Errorf("%s: a certificate that nobody trusts: %+v", mode, a)
		}
		p.tls.RootCAs = trust
		a := mailWithin(t, p, 20*time.Second)
		if a.class != classAccepted || a.messageID != aMail.DeliveryID+"@example.org" {
			t.Fatalf("%s: %+v", mode, a)
		}
		relay.mu.Lock()
		if len(relay.mails) != 1 || relay.to[0] != "jeanne@example.org" {
			t.Fatalf("%s: %d mails to %v", mode, len(relay.mails), relay.to)
		}
		checkMail(t, relay.mails[0])
		relay.mu.Unlock()
		wrong := relayMailer(t, SMTP{Addr: addr, TLS: mode, User: "notifier", Password: "other"})
		wrong.tls.RootCAs = trust
		if a := mailWithin(t, wrong, 20*time.Second); a.class != classConfigFault || a.reason != "SMTP_535" {
			t.Errorf("%s: a wrong password: %+v", mode, a)
		}
	}
}

// checkMail reads a mail as a mail program does.
func checkMail(t *testing.T, content string) {
	t.Helper()
	letter, err := mail.ReadMessage(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"From": `"Ma messagerie" <ne-pas-repondre@example.org>`, "To": "<jeanne@example.org>", "Auto-Submitted": "auto-generated",
		"X-Delivery-Id": aMail.DeliveryID, "Message-Id": "<" + aMail.DeliveryID + "@example.org>", "User-Agent": "", "X-Mailer": "",
	} {
		if got := letter.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if subject, err := new(mime.WordDecoder).DecodeHeader(letter.Header.Get("Subject")); err != nil || subject != aMail.Subject {
		t.Errorf("subject %q: %v", subject, err)
	}
	if date, err := letter.Header.Date(); err != nil || time.Since(date).Abs() > time.Minute {
		t.Errorf("date %s: %v", date, err)
	}
	kind, params, err := mime.ParseMediaType(letter.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("type %q: %v", kind, err)
	}
	parts := multipart.NewReader(letter.Body, params["boundary"])
	for _, want := range []struct{ kind, content string }{{"text/plain", aMail.Text}, {"text/html", aMail.HTML}} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(part)
		if text := strings.ReplaceAll(string(got), "\r\n", "\n"); err != nil || text != want.content || !strings.HasPrefix(part.Header.Get("Content-Type"), want.kind) {
			t.Errorf("%s: %q: %v", part.Header.Get("Content-Type"), got, err)
		}
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last part: %v", err)
	}
}

// Many at once: each mail arrives once, at its own recipient, over as many
// connections as there are senders.
func TestSMTP_Concurrent(t *testing.T) {
	t.Parallel()
	relay := new(realRelay)
	addr, trust := relay.start(t, false)
	p := relayMailer(t, SMTP{Addr: addr, TLS: "starttls", User: "notifier", Password: "secret"})
	p.tls.RootCAs = trust
	const senders, each = 4, 25
	var workers sync.WaitGroup
	for i := range senders {
		workers.Go(func() {
			for j := range each {
				m := aMail
				m.To = fmt.Sprintf("m%d.%d@example.org", i, j)
				m.DeliveryID = m.To
				if a := p.Mail(t.Context(), m); a.class != classAccepted {
					t.Errorf("%s: %+v", m.To, a)
				}
			}
		})
	}
	workers.Wait()
	relay.mu.Lock()
	defer relay.mu.Unlock()
	seen := make(map[string]bool)
	for i, to := range relay.to {
		seen[to] = strings.Contains(relay.mails[i], "X-Delivery-Id: "+to+"\r\n")
		if !seen[to] {
			t.Errorf("%s got another's mail", to)
		}
	}
	// STARTTLS begins a session anew.
	if len(seen) != senders*each || len(relay.mails) != senders*each || relay.calls > 2*senders {
		t.Errorf("%d recipients, %d mails, %d sessions", len(seen), len(relay.mails), relay.calls)
	}
}

// A relay without the TLS that is asked for gets neither password nor mail.
func TestSMTP_NoStartTLS(t *testing.T) {
	t.Parallel()
	r := startRelay(t, nil)
	p := relayMailer(t, SMTP{Addr: r.addr, TLS: "starttls", User: "notifier", Password: "secret"})
	if a := mailWithin(t, p, 20*time.Second); a.class != classConfigFault || a.reason != "SMTP_NO_STARTTLS" || r.mails != 0 {
		t.Errorf("answered %+v", a)
	}
}

func TestSMTP_Validate(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		cfg SMTP
		ok  bool
	}{
		"none":             {SMTP{TLS: "starttls"}, true},
		"plain":            {SMTP{Addr: "localhost:1025", TLS: "none"}, true},
		"IPv6":             {SMTP{Addr: "[::1]:587", TLS: "starttls", User: "u", Password: "p"}, true},
		"no port":          {SMTP{Addr: "localhost", TLS: "tls"}, false},
		"no host":          {SMTP{Addr: ":587", TLS: "tls"}, false},
		"another mode":     {SMTP{Addr: "localhost:587", TLS: "yes"}, false},
		"no mode":          {SMTP{Addr: "localhost:587"}, false},
		"password of none": {SMTP{Addr: "localhost:587", TLS: "tls", Password: "p"}, false},
		"two names":        {SMTP{Addr: "localhost:587", TLS: "tls", Hello: "a b"}, false},
	} {
		if err := row.cfg.validate(); (err == nil) != row.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
