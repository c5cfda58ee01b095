package provider

import (
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

	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

var aMail = Email{
	DeliveryID: "0198c0de-0000-7000-8000-000000000001.EMAIL", To: "jeanne@example.org",
	Subject: "Accusé de réception", Text: "Bonjour à vous\n.\n. un point\n", HTML: "<p>Bonjour</p>",
}

func relayMailer(t *testing.T, cfg SMTP) *smtpMailer {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	p := newSMTPMailer(cfg, "ne-pas-repondre@example.org", "Ma messagerie", 4)
	t.Cleanup(p.close)
	return p
}

// mailUntilHung sends aMail with as much time as the relay takes until it hangs.
func mailUntilHung(t *testing.T, p *smtpMailer, r *providertest.Relay) Answer {
	t.Helper()
	ctx, expire := providertest.Expiring(t.Context())
	go func() {
		<-r.Hung
		expire()
	}()
	return p.Mail(ctx, aMail)
}

// mailWithin sends aMail with some time for it.
func mailWithin(t *testing.T, p *smtpMailer, timeout time.Duration) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return p.Mail(ctx, aMail)
}

func TestSMTP_Classes(t *testing.T) {
	t.Parallel()
	// A relay may repeat the address: no answer of ours does.
	no := func(code int) string { return fmt.Sprintf("%d <jeanne@example.org> no", code) }
	for name, row := range map[string]struct {
		at, reply string
		class     Class
		reason    string
		mails     int
	}{
		"all is well":          {"", "", Accepted, "", 1},
		"another yes":          {".", "251 will forward", Accepted, "", 1},
		"no greeting":          {"greeting", providertest.Cuts, NotSent, "UNREACHABLE", 0},
		"greeting hangs":       {"greeting", providertest.Hangs, NotSent, "UNREACHABLE", 0},
		"greeting refused":     {"greeting", no(554), NotSent, "UNREACHABLE", 0},
		"hello cut":            {"EHLO", providertest.Cuts, NotSent, "UNREACHABLE", 0},
		"no AUTH":              {"EHLO", "250 relay", ConfigFault, "SMTP_NO_AUTH", 0},
		"another AUTH":         {"EHLO", "250-relay\r\n250 AUTH CRAM-MD5", ConfigFault, "SMTP_NO_AUTH", 0},
		"password refused":     {"AUTH", no(535), ConfigFault, "SMTP_535", 0},
		"password later":       {"AUTH", no(454), NotSent, "SMTP_454", 0},
		"password cut":         {"AUTH", providertest.Cuts, NotSent, "UNREACHABLE", 0},
		"sender refused":       {"MAIL", no(550), ConfigFault, "SMTP_550", 0},
		"sender unknown":       {"MAIL", no(530), ConfigFault, "SMTP_530", 0},
		"sender later":         {"MAIL", no(451), NotSent, "SMTP_451", 0},
		"relay closes":         {"MAIL", no(421), NotSent, "SMTP_421", 0},
		"sender cut":           {"MAIL", providertest.Cuts, NotSent, "CONNECTION_LOST", 0},
		"recipient refused":    {"RCPT", no(550), Refused, "SMTP_550", 0},
		"recipient of others":  {"RCPT", no(530), ConfigFault, "SMTP_530", 0},
		"recipient later":      {"RCPT", no(450), NotSent, "SMTP_450", 0},
		"recipient hangs":      {"RCPT", providertest.Hangs, NotSent, "CONNECTION_LOST", 0},
		"data refused":         {"DATA", no(554), Refused, "SMTP_554", 0},
		"data later":           {"DATA", no(451), NotSent, "SMTP_451", 0},
		"data misunderstood":   {"DATA", "250 ok", NotSent, "SMTP_250", 0},
		"data cut":             {"DATA", providertest.Cuts, NotSent, "CONNECTION_LOST", 0},
		"content refused":      {".", no(554), Refused, "SMTP_554", 1},
		"mailbox full":         {".", no(552), Refused, "SMTP_552", 1},
		"content later":        {".", no(451), NotSent, "SMTP_451", 1},
		"relay closes at last": {".", no(421), NotSent, "SMTP_421", 1},
		"cut after the dot":    {".", providertest.Cuts, Unknown, "CONNECTION_LOST", 1},
		"hangs after the dot":  {".", providertest.Hangs, Unknown, "NO_ANSWER_IN_TIME", 1},
		"nonsense at the end":  {".", "well done", Unknown, "CONNECTION_LOST", 1},
		"half an answer":       {".", "354 go ahead", Unknown, "SMTP_354", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := providertest.StartRelay(t, map[string]string{row.at: row.reply})
			p := relayMailer(t, SMTP{Addr: r.Addr, TLS: "none", User: "notifier", Password: "secret"})
			a := mailUntilHung(t, p, r)
			if a.Class != row.class || a.Reason != row.reason {
				t.Errorf("answered %+v, want %s %s", a, row.class, row.reason)
			}
			if (a.MessageID != "") != (row.class == Accepted) || !regexp.MustCompile(`^[A-Z0-9_]*$`).MatchString(a.Reason) {
				t.Errorf("answered %+v", a)
			}
			if calls, mails := r.Counts(); calls != 1 || mails != row.mails {
				t.Errorf("%d connections and %d mails, want 1 and %d", calls, mails, row.mails)
			}
		})
	}
}

// A relay that says nothing has no more than its share of the time.
func TestSMTP_GreetingHangs(t *testing.T) {
	t.Parallel()
	r := providertest.StartRelay(t, map[string]string{"greeting": providertest.Hangs})
	p := relayMailer(t, SMTP{Addr: r.Addr, TLS: "none"})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if a := p.Mail(ctx, aMail); a.Class != NotSent || a.Reason != "UNREACHABLE" || ctx.Err() != nil {
		t.Errorf("answered %+v, %v", a, ctx.Err())
	}
}

// What is cut while it is written has not left, however much of it has.
func TestSMTP_CutInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		reply   string
		timeout time.Duration
	}{"cut": {providertest.Cuts, 20 * time.Second}, "stall": {providertest.Stalls, time.Second}} {
		r := providertest.StartRelay(t, map[string]string{"BODY": row.reply})
		p := relayMailer(t, SMTP{Addr: r.Addr, TLS: "none"})
		c, a := p.connect(t.Context())
		if c == nil {
			t.Fatalf("%s: %+v", name, a)
		}
		ctx, cancel := context.WithTimeout(t.Context(), row.timeout)
		// It is more than the buffers between us hold.
		if a, _ := p.send(ctx, c, aMail, bytes.Repeat([]byte("0123456789abcdef\n"), 1<<20)); a.Class != NotSent || a.Reason != "CONNECTION_LOST" {
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
	if a := mailWithin(t, p, 20*time.Second); a.Class != NotSent || a.Reason != "UNREACHABLE" {
		t.Errorf("answered %+v", a)
	}
}

// The caller's end of patience is ours, without a deadline too.
func TestSMTP_Cancelled(t *testing.T) {
	t.Parallel()
	r := providertest.StartRelay(t, map[string]string{".": providertest.Hangs})
	p := relayMailer(t, SMTP{Addr: r.Addr, TLS: "none"})
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan Answer, 1)
	go func() { told <- p.Mail(ctx, aMail) }()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for arrived := false; !arrived; <-ticker.C {
		_, mails := r.Counts()
		arrived = mails == 1
	}
	cancel()
	if a := <-told; a.Class != Unknown {
		t.Errorf("answered %+v", a)
	}
	if a := p.Mail(ctx, aMail); a.Class != NotSent || a.Reason != "UNREACHABLE" {
		t.Errorf("with no time at all: %+v", a)
	}
}

// A connection serves one mail after another. One that the relay has closed
// meanwhile costs nothing but another.
func TestSMTP_Reuse(t *testing.T) {
	t.Parallel()
	r := providertest.StartRelay(t, nil)
	p := relayMailer(t, SMTP{Addr: r.Addr, TLS: "none"})
	send := func(calls, mails int) {
		t.Helper()
		if a := mailWithin(t, p, 20*time.Second); a.Class != Accepted {
			t.Fatalf("answered %+v", a)
		}
		if c, m := r.Counts(); c != calls || m != mails {
			t.Errorf("%d connections, %d mails, want %d and %d", c, m, calls, mails)
		}
	}
	send(1, 1)
	send(1, 2)
	r.HangUp()
	send(2, 3)
	c := p.reuse()
	p.keep(c)
	c.used = time.Now().Add(-smtpIdle) // too old to be trusted
	send(3, 4)
	r.Say(map[string]string{"RCPT": "550 no"})
	if a := mailWithin(t, p, 20*time.Second); a.Class != Refused {
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
		if a := mailWithin(t, p, 20*time.Second); a.Class != NotSent || a.Reason != "UNREACHABLE" {
			t.Errorf("%s: a certificate that nobody trusts: %+v", mode, a)
		}
		p.tls.RootCAs = trust
		a := mailWithin(t, p, 20*time.Second)
		if a.Class != Accepted || a.MessageID != aMail.DeliveryID+"@example.org" {
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
		if a := mailWithin(t, wrong, 20*time.Second); a.Class != ConfigFault || a.Reason != "SMTP_535" {
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
				if a := p.Mail(t.Context(), m); a.Class != Accepted {
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
	r := providertest.StartRelay(t, nil)
	p := relayMailer(t, SMTP{Addr: r.Addr, TLS: "starttls", User: "notifier", Password: "secret"})
	if a := mailWithin(t, p, 20*time.Second); a.Class != ConfigFault || a.Reason != "SMTP_NO_STARTTLS" || mailsOf(r) != 0 {
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
		if err := row.cfg.Validate(); (err == nil) != row.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mailsOf(r *providertest.Relay) int {
	_, mails := r.Counts()
	return mails
}
