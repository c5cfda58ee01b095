package provider

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

func sendGridAt(p *providertest.Providers, timeout time.Duration) *sendGridMailer {
	return &sendGridMailer{
		cfg:    SendGrid{BaseURL: p.URL, APIKey: "sg-key", From: "no-reply@example.org", FromName: "Ma messagerie"},
		client: newClient(4, timeout),
	}
}

func twilioAt(p *providertest.Providers, timeout time.Duration) *twilioTexter {
	return &twilioTexter{
		cfg:    Twilio{BaseURL: p.URL, AccountSID: "AC0", AuthToken: "tw-token", From: "+33700000000", StatusCallback: "https://gw.example.org/webhooks/twilio", Lookup: true},
		client: newClient(4, timeout),
	}
}

func TestSendGridWire(t *testing.T) {
	t.Parallel()
	p := providertest.New(t)
	got := sendGridAt(p, 5*time.Second).Mail(t.Context(), Email{
		DeliveryID: "e.EMAIL", To: "jeanne@example.org", Subject: "Réf. <A>", Text: "texte", HTML: "<p>é & co</p>",
	})
	if want := (Answer{Class: Accepted, Status: 202, MessageID: "sg-1"}); got != want {
		t.Fatalf("answer %+v, want %+v", got, want)
	}
	call := <-p.Came
	off := map[string]any{"enable": false}
	want := map[string]any{
		"from":    map[string]any{"email": "no-reply@example.org", "name": "Ma messagerie"},
		"subject": "Réf. <A>",
		"personalizations": []any{map[string]any{
			"to": []any{map[string]any{"email": "jeanne@example.org"}}, "custom_args": map[string]any{"delivery_id": "e.EMAIL"},
		}},
		"content": []any{
			map[string]any{"type": "text/plain", "value": "texte"}, map[string]any{"type": "text/html", "value": "<p>é & co</p>"},
		},
		"headers": map[string]any{"Auto-Submitted": "auto-generated"},
		"tracking_settings": map[string]any{
			"click_tracking": map[string]any{"enable": false, "enable_text": false}, "open_tracking": off, "subscription_tracking": off,
		},
	}
	if diff := cmp.Diff(want, call.Mail); diff != "" {
		t.Error(diff)
	}
	if call.Header.Get("Authorization") != "Bearer sg-key" || call.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", call.Header)
	}
}

func TestTwilioWire(t *testing.T) {
	t.Parallel()
	p := providertest.New(t)
	client := twilioAt(p, 5*time.Second)
	got := client.Text(t.Context(), SMS{DeliveryID: "e.SMS", To: "+33639980001", Body: "Accusé & co"})
	if want := (Answer{Class: Accepted, Status: 201, MessageID: "SM1"}); got != want {
		t.Fatalf("answer %+v, want %+v", got, want)
	}
	call := <-p.Came
	want := url.Values{
		"To": {"+33639980001"}, "From": {"+33700000000"}, "Body": {"Accusé & co"},
		"StatusCallback": {"https://gw.example.org/webhooks/twilio/e.SMS"},
	}
	if diff := cmp.Diff(want, call.Form); diff != "" {
		t.Error(diff)
	}
	if call.Path != "/2010-04-01/Accounts/AC0/Messages.json" {
		t.Errorf("path %s", call.Path)
	}
	if call.Header.Get("Authorization") != "Basic QUMwOnR3LXRva2Vu" {
		t.Errorf("authorization %q", call.Header.Get("Authorization"))
	}
	client.cfg.From, client.cfg.MessagingServiceSID, client.cfg.StatusCallback = "", "MG0", ""
	client.Text(t.Context(), SMS{To: "+33639980001", Body: "x"})
	if diff := cmp.Diff(url.Values{"To": {"+33639980001"}, "MessagingServiceSid": {"MG0"}, "Body": {"x"}}, (<-p.Came).Form); diff != "" {
		t.Error(diff)
	}
}

// What each answer says about whether the message was taken.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const secret = "+33639980001 is not valid"
	for _, row := range []struct {
		status     int
		body       string
		retryAfter string
		mail, text Class
		reason     string
		wait       time.Duration
	}{
		{status: 400, mail: Refused, text: Refused, reason: "HTTP_400"},
		{status: 413, mail: Refused, text: Refused, reason: "HTTP_413"},
		{status: 422, mail: Refused, text: Refused, reason: "HTTP_422"},
		{status: 401, mail: ConfigFault, text: ConfigFault, reason: "HTTP_401"},
		{status: 403, mail: ConfigFault, text: ConfigFault, reason: "HTTP_403"},
		{status: 404, mail: ConfigFault, text: ConfigFault, reason: "HTTP_404"},
		{status: 302, mail: ConfigFault, text: ConfigFault, reason: "HTTP_302"},
		{status: 429, retryAfter: "7", mail: NotSent, text: NotSent, reason: "HTTP_429", wait: 7 * time.Second},
		{status: 429, retryAfter: "-7", mail: NotSent, text: NotSent, reason: "HTTP_429"},
		{status: 429, retryAfter: "9999999999", mail: NotSent, text: NotSent, reason: "HTTP_429", wait: maxRetryAfter},
		{status: 429, retryAfter: "soon", mail: NotSent, text: NotSent, reason: "HTTP_429"},
		{status: 500, mail: NotSent, text: NotSent, reason: "HTTP_500"},
		{status: 503, retryAfter: "2", mail: NotSent, text: NotSent, reason: "HTTP_503", wait: 2 * time.Second},
		{status: 502, mail: Unknown, text: Unknown, reason: "HTTP_502"},
		{status: 504, mail: Unknown, text: Unknown, reason: "HTTP_504"},
		{status: 599, mail: Unknown, text: Unknown, reason: "HTTP_599"},
		{status: 400, body: `{"code":21211,"message":"` + secret + `"}`, mail: Refused, text: Refused},
		{status: 400, body: `{"code":21611,"message":"` + secret + `"}`, mail: Refused, text: NotSent},
		{status: 400, body: `{"code":21606,"message":"` + secret + `"}`, mail: Refused, text: ConfigFault},
		{status: 403, body: `{"code":21408,"message":"` + secret + `"}`, mail: ConfigFault, text: Refused},
	} {
		t.Run(fmt.Sprint(row.status, row.body, row.retryAfter), func(t *testing.T) {
			t.Parallel()
			p := providertest.New(t)
			p.Answer(func(_ *providertest.Call, w http.ResponseWriter) bool {
				if row.retryAfter != "" {
					w.Header().Set("Retry-After", row.retryAfter)
				}
				if row.status == http.StatusFound {
					w.Header().Set("Location", "https://elsewhere.example.org/")
				}
				w.WriteHeader(row.status)
				_, _ = io.WriteString(w, row.body)
				return true
			})
			mail := sendGridAt(p, 5*time.Second).Mail(t.Context(), Email{To: "a@example.org", Subject: "s", Text: "t", HTML: "h"})
			text := twilioAt(p, 5*time.Second).Text(t.Context(), SMS{To: "+33639980001", Body: "b"})
			if mail.Class != row.mail || text.Class != row.text {
				t.Errorf("mail %s, text %s; want %s, %s", mail.Class, text.Class, row.mail, row.text)
			}
			if mail.Status != row.status || mail.RetryAfter != row.wait || row.reason != "" && (mail.Reason != row.reason || text.Reason != row.reason) {
				t.Errorf("mail %+v, text %+v", mail, text)
			}
			if strings.Contains(mail.Reason+text.Reason, "33639980001") {
				t.Errorf("a reason repeats a number: %q %q", mail.Reason, text.Reason)
			}
		})
	}
}

func TestRetryAfterDateCountsFromTheAnswersOwnDate(t *testing.T) {
	t.Parallel()
	header := http.Header{
		"Date":        {"Mon, 23 Nov 2020 10:00:00 GMT"}, // a clock that is years slow
		"Retry-After": {"Mon, 23 Nov 2020 10:00:42 GMT"},
	}
	if got := retryAfter(header); got != 42*time.Second {
		t.Errorf("waits %s, want 42s", got)
	}
}

// Whatever a provider asks for, it is asked again after a quarter of an hour.
func TestRetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"0": 0, "-1": 0, "1": time.Second, "899": 899 * time.Second, "900": maxRetryAfter, "901": maxRetryAfter, "9223372036854775807": maxRetryAfter,
		"Mon, 23 Nov 2020 10:14:59 GMT": 899 * time.Second, "Mon, 23 Nov 2020 10:15:01 GMT": maxRetryAfter,
		"Mon, 23 Nov 2020 09:59:00 GMT": 0, "Tue, 23 Nov 2021 10:00:00 GMT": maxRetryAfter, "soon": 0, "": 0,
	} {
		header := http.Header{"Date": {"Mon, 23 Nov 2020 10:00:00 GMT"}, "Retry-After": {value}}
		if got := retryAfter(header); got != want {
			t.Errorf("%q: waits %s, want %s", value, got, want)
		}
	}
}

// The line that everything hangs on: could the provider have seen the request?
func TestCallsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		serve func(c net.Conn, expire func()) // nil: nobody listens
		want  Answer
	}{
		{"nobody listens", nil, Answer{Class: NotSent, Reason: "UNREACHABLE"}},
		{"closed after the request was read", func(c net.Conn, _ func()) {
			readRequest(c)
			c.Close()
		}, Answer{Class: Unknown, Reason: "CONNECTION_LOST"}},
		{"hangs after the request was read", func(c net.Conn, expire func()) {
			readRequest(c)
			expire()
			_, _ = io.Copy(io.Discard, c)
		}, Answer{Class: Unknown, Reason: "NO_ANSWER_IN_TIME"}},
		{"answers and is cut within the body", func(c net.Conn, _ func()) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{")
			c.Close()
		}, Answer{Class: Accepted, Status: 202}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer lis.Close()
			base := "http://" + lis.Addr().String()
			mails := &sendGridMailer{cfg: SendGrid{BaseURL: base, From: "f@example.org"}, client: newClient(1, time.Minute)}
			texts := &twilioTexter{cfg: Twilio{BaseURL: base, AccountSID: "AC0", From: "+33700000000"}, client: newClient(1, time.Minute)}
			for what, send := range map[string]func(context.Context) Answer{
				"mail": func(ctx context.Context) Answer {
					return mails.Mail(ctx, Email{To: "a@example.org", Subject: "s", Text: "t", HTML: "h"})
				},
				"text": func(ctx context.Context) Answer { return texts.Text(ctx, SMS{To: "+33639980001", Body: "b"}) },
			} {
				ctx, expire := providertest.Expiring(t.Context())
				if row.serve == nil {
					lis.Close()
				} else {
					go func() {
						conn, err := lis.Accept()
						if err != nil {
							return
						}
						row.serve(conn, expire)
					}()
				}
				if got := send(ctx); got != row.want {
					t.Errorf("%s: %+v, want %+v", what, got, row.want)
				}
			}
		})
	}
}

func readRequest(c net.Conn) {
	var seen strings.Builder
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Read(buf)
		seen.Write(buf[:n])
		head, body, whole := strings.Cut(seen.String(), "\r\n\r\n")
		var length int
		if _, after, ok := strings.Cut(head, "Content-Length: "); ok {
			fmt.Sscan(after, &length)
		}
		if err != nil || whole && len(body) >= length {
			return
		}
	}
}

// A thousand mails by sixty-four goroutines: each recipient once, few connections.
func TestSendGridIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	p := providertest.New(t)
	client := sendGridAt(p, 30*time.Second)
	var group sync.WaitGroup
	next := make(chan int)
	for range 64 {
		group.Go(func() {
			for i := range next {
				client.Mail(t.Context(), Email{DeliveryID: fmt.Sprint(i), To: fmt.Sprintf("r%d@example.org", i), Subject: "s", Text: "t", HTML: "h"})
			}
		})
	}
	for i := range 1000 {
		next <- i
	}
	close(next)
	group.Wait()
	seen := make(map[string]int)
	for _, call := range p.Accepted(providertest.Email) {
		seen[call.To]++
		if call.To != fmt.Sprintf("r%s@example.org", call.DeliveryID) {
			t.Errorf("delivery %s went to another recipient", call.DeliveryID)
		}
	}
	if len(seen) != 1000 || len(p.Accepted(providertest.Email)) != 1000 {
		t.Errorf("%d recipients of 1000 got %d mails", len(seen), len(p.Accepted(providertest.Email)))
	}
}
