package inbox

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// SMTP is the channel of faults for mails that come by SMTP; the messages are of
// channel EMAIL.
const SMTP = "SMTP"

// ServeSMTP takes mails by SMTP until Close, for one recipient each. The password
// travels as it is: it must never be reachable from another machine.
func (in *Inbox) ServeSMTP(l net.Listener) error {
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &smtpSession{inbox: in, conn: c.Conn(), known: in.cfg.SMTPUser == ""}, nil
	}))
	server.Domain = "localhost"
	server.MaxRecipients = 1
	server.MaxMessageBytes = maxBodyBytes
	server.AllowInsecureAuth = true
	server.EnableSMTPUTF8 = true
	server.ReadTimeout = 5 * time.Minute         // RFC 5321, 4.5.3.2.7
	server.ErrorLog = log.New(io.Discard, "", 0) // clients that go away
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-in.closed:
		case <-ended:
		}
		_ = server.Close() // the listener may be closed already,
		l.Close()          // or not yet be known to it
	}()
	err := server.Serve(l)
	select {
	case <-in.closed:
		return nil
	default:
		return err
	}
}

// smtpSession is one connection.
type smtpSession struct {
	inbox    *Inbox
	conn     net.Conn
	known    bool // has given the password
	from, to string
}

// AuthMechanisms and Auth take the one user that there is.
func (s *smtpSession) AuthMechanisms() []string {
	if s.inbox.cfg.SMTPUser == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *smtpSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		// Both are compared, in the same time whatever they are.
		if subtle.ConstantTimeCompare([]byte(user), []byte(s.inbox.cfg.SMTPUser))&
			subtle.ConstantTimeCompare([]byte(password), []byte(s.inbox.cfg.SMTPPassword)) != 1 {
			return smtp.ErrAuthFailed
		}
		s.known = true
		return nil
	}), nil
}

func (s *smtpSession) Reset()        { s.from, s.to = "", "" }
func (s *smtpSession) Logout() error { return nil }

func (s *smtpSession) Mail(from string, _ *smtp.MailOptions) error {
	if !s.known {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	s.from = from
	return nil
}

func (s *smtpSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *smtpSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m := Message{ID: newID(""), Channel: Email, Provider: "smtp", To: s.to, From: s.from, ReceivedAt: time.Now().UTC()}
	if err := m.parse(content); err != nil {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "The mail cannot be read: " + err.Error()}
	}
	fault := s.inbox.faultFor(SMTP)
	switch fault.Mode {
	case "refuse":
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "refused on demand"}
	case "throttle":
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "too many mails, on demand"}
	case "error":
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "broken on demand"}
	case "hang":
		return s.hang()
	}
	if err := s.inbox.accept(m); err != nil {
		return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: err.Error()}
	}
	if fault.Mode == "accept-hang" {
		return s.hang()
	}
	return nil
}

// hang waits until the client goes away or the inbox closes. It reads the bare
// connection, which nobody else does before the answer, and which is of no use
// afterwards.
func (s *smtpSession) hang() error {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = s.conn.SetReadDeadline(time.Time{}) // without one, it waits for the other side
		_, _ = io.Copy(io.Discard, s.conn)
	}()
	select {
	case <-gone:
	case <-s.inbox.closed:
	}
	s.conn.Close()
	return errors.New("cut on demand")
}

// parse reads a mail with a text, an HTML, or both as alternatives.
func (m *Message) parse(content []byte) error {
	letter, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		return err
	}
	m.Headers = make(map[string]string)
	words := new(mime.WordDecoder)
	for name, values := range letter.Header {
		if value, err := words.DecodeHeader(values[0]); err == nil {
			m.Headers[name] = value
		} else {
			m.Headers[name] = values[0]
		}
	}
	m.Subject = m.Headers["Subject"]
	return m.part(letter.Header.Get, letter.Body)
}

func (m *Message) part(header func(name string) string, body io.Reader) error {
	kind, params, err := mime.ParseMediaType(header("Content-Type"))
	if err != nil {
		return fmt.Errorf("reading Content-Type: %w", err)
	}
	if strings.HasPrefix(kind, "multipart/") {
		return m.parts(multipart.NewReader(body, params["boundary"]))
	}
	switch strings.ToLower(header("Content-Transfer-Encoding")) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("reading a part: %w", err)
	}
	text := strings.ReplaceAll(string(content), "\r\n", "\n")
	switch kind {
	case "text/plain":
		m.Text = text
	case "text/html":
		m.HTML = text
	default:
		return fmt.Errorf("a part of type %q", kind)
	}
	return nil
}

func (m *Message) parts(r *multipart.Reader) error {
	for {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a part: %w", err)
		}
		if err := m.part(part.Header.Get, part); err != nil {
			return err
		}
	}
}
