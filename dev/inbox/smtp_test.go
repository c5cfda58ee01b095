package inbox

import (
	"errors"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

const smtpMail = "From: Ma messagerie <ne-pas-repondre@example.org>\r\n" +
	"To: <jeanne@example.org>\r\n" +
	"Subject: =?UTF-8?q?Accus=C3=A9_de_r=C3=A9ception?=\r\n" +
	"X-Delivery-Id: 7.EMAIL\r\n" +
	"Auto-Submitted: auto-generated\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: multipart/alternative; boundary=limit\r\n\r\n" +
	"--limit\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
	"Bonjour =C3=A0 vous\r\n. un point\r\n" +
	"--limit\r\nContent-Type: text/html; charset=UTF-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
	"PHA+Qm9uam91cjwvcD4=\r\n" +
	"--limit--\r\n"

// smtp serves SMTP and returns its address and what ServeSMTP ended with.
func (d *desk) smtp() (addr string, ended chan error) {
	d.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() { ended <- d.in.ServeSMTP(l) }()
	return l.Addr().String(), ended
}

func smtpUser(t *testing.T) *desk {
	t.Helper()
	d, _ := openWith(t, Config{StateDir: t.TempDir(), SMTPUser: "notifier", SMTPPassword: "secret"})
	return d
}

// sendMail sends one and returns the code of the refusal, 0 if there was none, -1
// if the connection broke.
func sendMail(addr, password, to, content string) int {
	var auth smtp.Auth
	if password != "" {
		auth = smtp.PlainAuth("", "notifier", password, "127.0.0.1")
	}
	err := smtp.SendMail(addr, auth, "ne-pas-repondre@example.org", []string{to}, []byte(content))
	var refusal *textproto.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &refusal):
		return refusal.Code
	default:
		return -1
	}
}

func TestSMTPAccepts(t *testing.T) {
	t.Parallel()
	d := smtpUser(t)
	addr, _ := d.smtp()
	if code := sendMail(addr, "secret", "jeanne@example.org", smtpMail); code != 0 {
		t.Fatalf("answered %d", code)
	}
	kept := d.listed("?channel=EMAIL")
	if len(kept) != 1 {
		t.Fatalf("kept %v", kept)
	}
	m := kept[0]
	want := Message{
		ID: m.ID, Channel: Email, Provider: "smtp", To: "jeanne@example.org", From: "ne-pas-repondre@example.org",
		Subject: "Accusé de réception", Text: "Bonjour à vous\n. un point", HTML: "<p>Bonjour</p>",
		Headers: m.Headers, ReceivedAt: m.ReceivedAt,
	}
	if encode(t, m) != encode(t, want) || m.ID == "" || time.Since(m.ReceivedAt) > time.Minute || m.Headers["Auto-Submitted"] != "auto-generated" {
		t.Errorf("kept %+v,\nwant %+v", m, want)
	}
	// One part alone is a mail too.
	if code := sendMail(addr, "secret", "marc@example.org", "Content-Type: text/plain\r\n\r\nBonjour"); code != 0 {
		t.Errorf("answered %d", code)
	}
	if kept := d.listed("?to=marc@example.org"); len(kept) != 1 || kept[0].Text != "Bonjour\n" {
		t.Errorf("kept %v", kept)
	}
}

func TestSMTPRefuses(t *testing.T) {
	t.Parallel()
	d := smtpUser(t)
	addr, _ := d.smtp()
	for name, row := range map[string]struct {
		password, to, content string
		code                  int
	}{
		"wrong password": {"other", "jeanne@example.org", smtpMail, 535},
		"nobody":         {"", "jeanne@example.org", smtpMail, 530},
		"no address":     {"secret", "jeanne", smtpMail, 501},
		"no mail":        {"secret", "jeanne@example.org", "Bonjour", 554},
		"no type":        {"secret", "jeanne@example.org", "Subject: a\r\n\r\nBonjour", 554},
		"an attachment":  {"secret", "jeanne@example.org", "Content-Type: application/pdf\r\n\r\nBonjour", 554},
		"too long":       {"secret", "jeanne@example.org", smtpMail + strings.Repeat("long line\r\n", maxBodyBytes/8), 552},
	} {
		if code := sendMail(addr, row.password, row.to, row.content); code != row.code {
			t.Errorf("%s: %d, want %d", name, code, row.code)
		}
	}
	if got := d.in.Messages(); len(got) != 0 {
		t.Errorf("kept %v", got)
	}
	open, _ := open(t, t.TempDir())
	addr, _ = open.smtp()
	if code := sendMail(addr, "", "jeanne@example.org", smtpMail); code != 0 {
		t.Errorf("where no password is set: %d", code)
	}
}

// The channel SMTP has faults of its own.
func TestSMTPFaults(t *testing.T) {
	t.Parallel()
	d := smtpUser(t)
	addr, _ := d.smtp()
	d.setFault(`{"channel":"EMAIL","mode":"refuse"}`)
	for mode, want := range map[string]int{"refuse": 550, "throttle": 451, "error": 421} {
		d.setFault(`{"channel":"SMTP","mode":"` + mode + `","count":1}`)
		if code := sendMail(addr, "secret", "jeanne@example.org", smtpMail); code != want {
			t.Errorf("%s: %d", mode, code)
		}
	}
	if got := d.in.Messages(); len(got) != 0 {
		t.Errorf("kept %v", got)
	}
	if code := sendMail(addr, "secret", "jeanne@example.org", smtpMail); code != 0 {
		t.Errorf("without a fault: %d", code)
	}
}

// A mail that hangs is kept or not, by the mode, and Close ends the wait.
func TestSMTPFaultsThatHang(t *testing.T) {
	t.Parallel()
	for mode, kept := range map[string]int{"hang": 0, "accept-hang": 1} {
		d, shut := openWith(t, Config{StateDir: t.TempDir(), SMTPUser: "notifier", SMTPPassword: "secret"})
		addr, ended := d.smtp()
		d.in.faults[SMTP] = &Fault{Channel: SMTP, Mode: mode, Count: 1}
		answered := make(chan int, 1)
		go func() { answered <- sendMail(addr, "secret", "jeanne@example.org", smtpMail) }()
		d.awaitNoFault()
		if kept == 1 {
			if changed := d.in.Changed(); len(d.in.Messages()) == 0 {
				<-changed
			}
		}
		select {
		case code := <-answered:
			t.Errorf("%s: answered %d", mode, code)
		default:
		}
		shut()
		if code := <-answered; code != -1 {
			t.Errorf("%s: answered %d", mode, code)
		}
		if err := <-ended; err != nil {
			t.Errorf("%s: serving: %v", mode, err)
		}
		if got := d.in.Messages(); len(got) != kept {
			t.Errorf("%s: kept %v", mode, got)
		}
	}
}

// A client that gives up a mail that hangs leaves nothing behind.
func TestSMTPHangEndsWithItsClient(t *testing.T) {
	t.Parallel()
	d := smtpUser(t)
	ours, theirs := net.Pipe()
	session := &smtpSession{inbox: d.in, conn: theirs}
	ended := make(chan error, 1)
	go func() { ended <- session.hang() }()
	ours.Close()
	if err := <-ended; err == nil {
		t.Error("it was answered")
	}
}

func TestSMTPFaultsByAPI(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	d.setFault(`{"channel":"SMTP","mode":"hang"}`)
	if got := d.do(d.request(http.MethodPost, "/api/faults", `{"channel":"LMTP","mode":"hang"}`)); got.status != http.StatusBadRequest {
		t.Errorf("%d %s", got.status, got.body)
	}
}
