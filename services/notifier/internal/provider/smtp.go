package provider

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// SMTP is the relay's part of the configuration, NOTIFIER_SMTP_*: an alternative for
// those who may not use SendGrid, or want to do without it for a while.
type SMTP struct {
	// Addr is the relay, host:port. Empty: there is none.
	Addr string `env:"ADDR"`
	// TLS is how the connection is protected: starttls (usually port 587), tls
	// from its first byte (465), or none, for a relay on the same machine. A
	// relay that does not offer what is set here gets no mail.
	TLS string `env:"TLS" envDefault:"starttls"`
	// User and Password are given to the relay if User is set. Give the password
	// as a file with NOTIFIER_SMTP_PASSWORD_FILE.
	User     string `env:"USER"`
	Password string `env:"PASSWORD"`
	// Hello is the name by which we greet the relay; empty: the sender's domain.
	Hello string `env:"HELLO"`
}

// Values of SMTP.TLS.
const (
	smtpStartTLS = "starttls"
	smtpTLS      = "tls"
	smtpPlain    = "none"
)

// Validate reports what types do not show.
func (c SMTP) Validate() error {
	if c.Addr == "" {
		return nil
	}
	var faults []error
	if host, port, err := net.SplitHostPort(c.Addr); err != nil || host == "" || port == "" {
		faults = append(faults, errors.New("SMTP_ADDR is not host:port"))
	}
	if c.TLS != smtpStartTLS && c.TLS != smtpTLS && c.TLS != smtpPlain {
		faults = append(faults, errors.New("SMTP_TLS is not starttls, tls or none"))
	}
	if c.User == "" && c.Password != "" {
		faults = append(faults, errors.New("SMTP_PASSWORD is set without SMTP_USER"))
	}
	if strings.ContainsAny(c.Hello, " \r\n") {
		faults = append(faults, errors.New("SMTP_HELLO is not a name"))
	}
	return errors.Join(faults...)
}

// smtpMailer speaks SMTP to one relay. It is safe for concurrent use: each call
// has a connection of its own, and leaves it to the next one if all went well.
//
// go-mail builds the mail and knows STARTTLS and AUTH. The dialogue is led here,
// through the connection that go-mail's client shows: go-mail returns the same
// error whether the mail's end has left or not, and that is all that matters.
type smtpMailer struct {
	cfg            SMTP
	host           string
	from, fromName string
	tls            *tls.Config
	idle           chan *smtpConn
}

// smtpConn is a connection that has said hello.
type smtpConn struct {
	conn   net.Conn
	client *smtp.Client
	used   time.Time
}

const (
	// smtpIdle is how long a connection is kept without use: well below the five
	// minutes that a relay waits, and about what impatient ones do.
	smtpIdle = 30 * time.Second
	// smtpShare is the part of a call's time that connecting may take: a half.
	smtpShare = 2
)

// newSMTPMailer returns a mailer for a valid configuration. It keeps as many idle
// connections as there are workers.
func newSMTPMailer(cfg SMTP, from, fromName string, workers int) *smtpMailer {
	host, _, _ := net.SplitHostPort(cfg.Addr)
	if cfg.Hello == "" {
		_, cfg.Hello, _ = strings.Cut(from, "@")
	}
	return &smtpMailer{
		cfg: cfg, host: host, from: from, fromName: fromName,
		tls: &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}, idle: make(chan *smtpConn, workers),
	}
}

// close drops the idle connections.
func (p *smtpMailer) close() {
	for c := p.reuse(); c != nil; c = p.reuse() {
		c.drop()
	}
}

// Mail sends one e-mail. Accepted means that the relay has taken responsibility
// for it (250 after its end), not that it was delivered.
func (p *smtpMailer) Mail(ctx context.Context, m Email) Answer {
	content, err := p.compose(m)
	if err != nil {
		return Answer{Class: ConfigFault, Reason: "FROM_INVALID"} // the recipient's address is checked
	}
	if c := p.reuse(); c != nil {
		// The relay may have hung up meanwhile; then nothing has begun.
		if result, begun := p.send(ctx, c, m, content); begun {
			return result
		}
	}
	c, result := p.connect(ctx)
	if c == nil {
		return result
	}
	result, _ = p.send(ctx, c, m, content)
	return result
}

// messageID is the same whenever a delivery is sent, so that a mail that arrives
// twice after all is one to those who look.
func (p *smtpMailer) messageID(m Email) string {
	_, domain, _ := strings.Cut(p.from, "@")
	return m.DeliveryID + "@" + domain
}

// compose writes the mail.
func (p *smtpMailer) compose(m Email) ([]byte, error) {
	message := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := message.FromFormat(p.fromName, p.from); err != nil {
		return nil, err
	}
	if err := message.To(m.To); err != nil {
		return nil, err
	}
	message.Subject(m.Subject)
	message.SetMessageIDWithValue(p.messageID(m))
	message.SetGenHeader("X-Delivery-Id", m.DeliveryID)
	// Mailing robots must not answer one another (RFC 3834).
	message.SetGenHeader("Auto-Submitted", "auto-generated")
	message.SetBodyString(gomail.TypeTextPlain, m.Text)
	message.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	var content bytes.Buffer
	_, err := message.WriteTo(&content)
	return content.Bytes(), err
}

// reuse returns a connection that another call has left, or nil.
func (p *smtpMailer) reuse() *smtpConn {
	for {
		select {
		case c := <-p.idle:
			if time.Since(c.used) < smtpIdle {
				return c
			}
			c.drop()
		default:
			return nil
		}
	}
}

// keep leaves a connection to another call.
func (p *smtpMailer) keep(c *smtpConn) {
	c.used = time.Now()
	select {
	case p.idle <- c:
	default:
		c.drop()
	}
}

// drop takes leave without waiting for the answer.
func (c *smtpConn) drop() {
	_ = c.conn.SetDeadline(time.Now().Add(time.Second)) // for a relay that no longer reads
	_ = c.client.Text.PrintfLine("QUIT")
	c.conn.Close()
}

// hold makes a connection end with ctx. The function that it returns lets go, and
// reports whether the connection may be used further.
func hold(ctx context.Context, conn net.Conn) (release func() bool) {
	end, _ := ctx.Deadline()  // none: the zero time is none here too
	_ = conn.SetDeadline(end) // fails on a closed connection, as will the next use
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// connect returns a connection that is ready to send, or none and why. Nothing is
// sent yet, so it takes at most half of the call's time.
func (p *smtpMailer) connect(ctx context.Context) (*smtpConn, Answer) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/smtpShare)
		defer cancel()
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.cfg.Addr)
	if err != nil {
		return nil, Answer{Class: NotSent, Reason: "UNREACHABLE"}
	}
	if p.cfg.TLS == smtpTLS {
		conn = tls.Client(conn, p.tls)
	}
	release := hold(ctx, conn)
	client, result := p.greet(conn)
	if !release() || result.Class != Accepted {
		conn.Close()
		if result.Class == Accepted {
			result = Answer{Class: NotSent, Reason: "UNREACHABLE"}
		}
		return nil, result
	}
	return &smtpConn{conn: conn, client: client}, Answer{}
}

// greet says hello, starts TLS and gives the password, as configured.
func (p *smtpMailer) greet(conn net.Conn) (*smtp.Client, Answer) {
	unreachable := Answer{Class: NotSent, Reason: "UNREACHABLE"}
	client, err := smtp.NewClient(conn, p.host)
	if err != nil || client.Hello(p.cfg.Hello) != nil {
		return nil, unreachable
	}
	if p.cfg.TLS == smtpStartTLS {
		if ok, _ := client.Extension("STARTTLS"); !ok {
			return nil, Answer{Class: ConfigFault, Reason: "SMTP_NO_STARTTLS"}
		}
		if client.StartTLS(p.tls) != nil {
			return nil, unreachable
		}
	}
	if p.cfg.User == "" {
		return client, Answer{Class: Accepted}
	}
	_, offered := client.Extension("AUTH")
	offers := func(name string) bool { return slices.Contains(strings.Fields(strings.ToUpper(offered)), name) }
	auth, insecure := smtp.Auth(nil), p.cfg.TLS == smtpPlain
	switch {
	case offers("PLAIN"):
		auth = smtp.PlainAuth("", p.cfg.User, p.cfg.Password, p.host, insecure)
	case offers("LOGIN"):
		auth = smtp.LoginAuth(p.cfg.User, p.cfg.Password, p.host, insecure)
	default:
		return nil, Answer{Class: ConfigFault, Reason: "SMTP_NO_AUTH"}
	}
	if err := client.Auth(auth); err != nil {
		return nil, smtpRefusal(err, ConfigFault, unreachable)
	}
	return client, Answer{Class: Accepted}
}

// send sends the mail and keeps the connection if it may be used again. Not begun
// means that the relay was no longer there, or would not go on.
func (p *smtpMailer) send(ctx context.Context, c *smtpConn, m Email, content []byte) (result Answer, begun bool) {
	release := hold(ctx, c.conn)
	result, begun = p.transact(c.client, m.To, content)
	inTime := release()
	if result.Class == Accepted {
		result.MessageID = p.messageID(m)
	}
	switch {
	case !inTime || result.Status == 0:
		c.conn.Close()
	case result.Class == Accepted:
		p.keep(c)
	default:
		c.drop() // in the middle of a transaction
	}
	return result, begun
}

// transact is one mail's dialogue. Until the end of the mail has left, whatever
// goes wrong means that the relay does not have it: it must not deliver a mail
// without its end (RFC 5321, 4.1.1.4).
func (p *smtpMailer) transact(client *smtp.Client, to string, content []byte) (result Answer, begun bool) {
	lost := Answer{Class: NotSent, Reason: "CONNECTION_LOST"}
	// Some relays take SMTPUTF8 for the wish that every relay on the way has it.
	client.SkipSMTPUTF8(isASCII(to))
	if err := client.Mail("<" + p.from + ">"); err != nil {
		result = smtpRefusal(err, ConfigFault, lost)
		return result, result.Status != 0 && result.Status != smtpClosing
	}
	if err := client.Rcpt("<" + to + ">"); err != nil {
		return smtpRefusal(err, Refused, lost), true
	}
	text := client.Text
	if err := command(text, "DATA", 354); err != nil {
		return smtpRefusal(err, Refused, lost), true
	}
	w := text.DotWriter()
	_, err := w.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		return lost, true
	}
	if _, _, err := text.ReadResponse(2); err != nil {
		return smtpRefusal(err, Refused, unanswered(err, true)), true
	}
	return Answer{Class: Accepted, Status: 250}, true
}

func command(text *textproto.Conn, line string, wanted int) error {
	id, err := text.Cmd("%s", line)
	if err != nil {
		return err
	}
	text.StartResponse(id)
	defer text.EndResponse(id)
	_, _, err = text.ReadResponse(wanted)
	return err
}

// Codes that say something else than their first digit does.
const (
	smtpClosing      = 421 // the relay hangs up
	smtpAuthNeeded   = 530
	smtpAuthWeak     = 534
	smtpAuthRefused  = 535
	smtpAuthNeedsTLS = 538
)

// smtpRefusal reads what the relay's no says about the mail. forGood is the class
// of a 5xx at this place; otherwise is for what is no answer. A relay's words may
// repeat an address: only the code is kept.
func smtpRefusal(err error, forGood Class, otherwise Answer) Answer {
	var no *textproto.Error
	if !errors.As(err, &no) {
		return otherwise
	}
	result := Answer{Status: no.Code, Reason: fmt.Sprintf("SMTP_%d", no.Code)}
	switch {
	case no.Code == smtpAuthNeeded, no.Code == smtpAuthWeak, no.Code == smtpAuthRefused, no.Code == smtpAuthNeedsTLS:
		result.Class = ConfigFault
	case no.Code >= 500 && no.Code <= 599:
		result.Class = forGood
	case no.Code >= 400 && no.Code <= 499:
		result.Class = NotSent
	default: // not an answer that belongs here
		result.Class = otherwise.Class
	}
	return result
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}
