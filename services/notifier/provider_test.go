package notifier

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// providers stands in for SendGrid and Twilio on the wire. It answers as told,
// and remembers each request that it accepted.
type providers struct {
	*httptest.Server
	mu    sync.Mutex
	calls []*providerCall
	// answer decides about a request; nil accepts.
	answer func(call *providerCall, w http.ResponseWriter) (handled bool)
	// began, if set, is called for each request before it is answered.
	began func()
	// came has one value for each request, in order.
	came chan *providerCall
	// lookups are the questions about messages; brokenLookups of them, from now,
	// are answered with 500.
	lookups       []*http.Request
	brokenLookups int
}

// providerCall is one request as it came.
type providerCall struct {
	Channel    channel
	DeliveryID string
	To         string
	Header     http.Header
	Path       string
	Mail       map[string]any
	Form       url.Values
	Accepted   bool
	// Gone is closed when the caller hangs up.
	Gone <-chan struct{}
	At   time.Time
}

func newProviders(t *testing.T) *providers {
	t.Helper()
	p := &providers{came: make(chan *providerCall, 10_000)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/mail/send", func(w http.ResponseWriter, r *http.Request) {
		call := &providerCall{Channel: byEmail}
		if err := json.NewDecoder(r.Body).Decode(&call.Mail); err != nil {
			t.Error(err)
		}
		to := call.Mail["personalizations"].([]any)[0].(map[string]any)
		call.To = to["to"].([]any)[0].(map[string]any)["email"].(string)
		call.DeliveryID = to["custom_args"].(map[string]any)["delivery_id"].(string)
		p.serve(call, w, r, func() {
			w.Header().Set("X-Message-Id", "sg-1")
			w.WriteHeader(http.StatusAccepted)
		})
	})
	mux.HandleFunc("POST /2010-04-01/Accounts/{sid}/Messages.json", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		call := &providerCall{Channel: bySMS, Form: r.PostForm, To: r.PostForm.Get("To")}
		_, call.DeliveryID, _ = strings.Cut(r.PostForm.Get("StatusCallback"), "/twilio/")
		p.serve(call, w, r, func() {
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"sid":"SM1","status":"queued","to":%q}`, call.To)
		})
	})
	p.serveLookups(mux)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *providers) serve(call *providerCall, w http.ResponseWriter, r *http.Request, accept func()) {
	call.Header, call.Path, call.At, call.Gone = r.Header, r.URL.Path, time.Now(), r.Context().Done()
	if p.began != nil {
		p.began()
	}
	p.mu.Lock()
	p.calls = append(p.calls, call)
	answer := p.answer
	p.mu.Unlock()
	defer func() { p.came <- call }()
	if answer != nil && answer(call, w) {
		return
	}
	p.mu.Lock()
	call.Accepted = true
	p.mu.Unlock()
	accept()
}

// accepted are the requests accepted, of one channel.
func (p *providers) accepted(way channel) (list []*providerCall) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, call := range p.calls {
		if call.Accepted && call.Channel == way {
			list = append(list, call)
		}
	}
	return list
}

func (p *providers) set(answer func(*providerCall, http.ResponseWriter) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *providers) sendGrid(timeout time.Duration) *sendGrid {
	return &sendGrid{
		cfg:    SendGrid{BaseURL: p.URL, APIKey: "sg-key", From: "no-reply@example.org", FromName: "Ma messagerie"},
		client: newProviderClient(4, timeout),
	}
}

func (p *providers) twilio(timeout time.Duration) *twilio {
	return &twilio{
		cfg:    Twilio{BaseURL: p.URL, AccountSID: "AC0", AuthToken: "tw-token", From: "+33700000000", StatusCallback: "https://gw.example.org/webhooks/twilio", Lookup: true},
		client: newProviderClient(4, timeout),
	}
}

func TestSendGridWire(t *testing.T) {
	t.Parallel()
	p := newProviders(t)
	got := p.sendGrid(5*time.Second).Mail(t.Context(), email{
		DeliveryID: "e.EMAIL", To: "jeanne@example.org", Subject: "Réf. <A>", Text: "texte", HTML: "<p>é & co</p>",
	})
	if want := (answer{class: classAccepted, status: 202, messageID: "sg-1"}); got != want {
		t.Fatalf("answer %+v, want %+v", got, want)
	}
	call := <-p.came
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
	p := newProviders(t)
	client := p.twilio(5 * time.Second)
	got := client.Text(t.Context(), sms{DeliveryID: "e.SMS", To: "+33639980001", Body: "Accusé & co"})
	if want := (answer{class: classAccepted, status: 201, messageID: "SM1"}); got != want {
		t.Fatalf("answer %+v, want %+v", got, want)
	}
	call := <-p.came
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
	client.Text(t.Context(), sms{To: "+33639980001", Body: "x"})
	if diff := cmp.Diff(url.Values{"To": {"+33639980001"}, "MessagingServiceSid": {"MG0"}, "Body": {"x"}}, (<-p.came).Form); diff != "" {
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
		mail, text class
		reason     string
		wait       time.Duration
	}{
		{status: 400, mail: classRefused, text: classRefused, reason: "HTTP_400"},
		{status: 413, mail: classRefused, text: classRefused, reason: "HTTP_413"},
		{status: 422, mail: classRefused, text: classRefused, reason: "HTTP_422"},
		{status: 401, mail: classConfigFault, text: classConfigFault, reason: "HTTP_401"},
		{status: 403, mail: classConfigFault, text: classConfigFault, reason: "HTTP_403"},
		{status: 404, mail: classConfigFault, text: classConfigFault, reason: "HTTP_404"},
		{status: 302, mail: classConfigFault, text: classConfigFault, reason: "HTTP_302"},
		{status: 429, retryAfter: "7", mail: classNotSent, text: classNotSent, reason: "HTTP_429", wait: 7 * time.Second},
		{status: 429, retryAfter: "-7", mail: classNotSent, text: classNotSent, reason: "HTTP_429"},
		{status: 429, retryAfter: "9999999999", mail: classNotSent, text: classNotSent, reason: "HTTP_429", wait: maxRetryAfter},
		{status: 429, retryAfter: "soon", mail: classNotSent, text: classNotSent, reason: "HTTP_429"},
		{status: 500, mail: classNotSent, text: classNotSent, reason: "HTTP_500"},
		{status: 503, retryAfter: "2", mail: classNotSent, text: classNotSent, reason: "HTTP_503", wait: 2 * time.Second},
		{status: 502, mail: classUnknown, text: classUnknown, reason: "HTTP_502"},
		{status: 504, mail: classUnknown, text: classUnknown, reason: "HTTP_504"},
		{status: 599, mail: classUnknown, text: classUnknown, reason: "HTTP_599"},
		{status: 400, body: `{"code":21211,"message":"` + secret + `"}`, mail: classRefused, text: classRefused},
		{status: 400, body: `{"code":21611,"message":"` + secret + `"}`, mail: classRefused, text: classNotSent},
		{status: 400, body: `{"code":21606,"message":"` + secret + `"}`, mail: classRefused, text: classConfigFault},
		{status: 403, body: `{"code":21408,"message":"` + secret + `"}`, mail: classConfigFault, text: classRefused},
	} {
		t.Run(fmt.Sprint(row.status, row.body, row.retryAfter), func(t *testing.T) {
			t.Parallel()
			p := newProviders(t)
			p.set(func(_ *providerCall, w http.ResponseWriter) bool {
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
			mail := p.sendGrid(5*time.Second).Mail(t.Context(), email{To: "a@example.org", Subject: "s", Text: "t", HTML: "h"})
			text := p.twilio(5*time.Second).Text(t.Context(), sms{To: "+33639980001", Body: "b"})
			if mail.class != row.mail || text.class != row.text {
				t.Errorf("mail %s, text %s; want %s, %s", mail.class, text.class, row.mail, row.text)
			}
			if mail.status != row.status || mail.retryAfter != row.wait || row.reason != "" && (mail.reason != row.reason || text.reason != row.reason) {
				t.Errorf("mail %+v, text %+v", mail, text)
			}
			if strings.Contains(mail.reason+text.reason, "33639980001") {
				t.Errorf("a reason repeats a number: %q %q", mail.reason, text.reason)
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

// The line that everything hangs on: could the provider have seen the request?
func TestCallsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		serve func(net.Conn) // nil: nobody listens
		want  answer
	}{
		{"nobody listens", nil, answer{class: classNotSent, reason: "UNREACHABLE"}},
		{"closed after the request was read", func(c net.Conn) {
			readRequest(c)
			c.Close()
		}, answer{class: classUnknown, reason: "CONNECTION_LOST"}},
		{"hangs after the request was read", func(c net.Conn) {
			readRequest(c)
			_, _ = io.Copy(io.Discard, c)
		}, answer{class: classUnknown, reason: "NO_ANSWER_IN_TIME"}},
		{"answers and is cut within the body", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{")
			c.Close()
		}, answer{class: classAccepted, status: 202}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer lis.Close()
			if row.serve == nil {
				lis.Close()
			} else {
				go accept(lis, row.serve)
			}
			base := "http://" + lis.Addr().String()
			mails := &sendGrid{cfg: SendGrid{BaseURL: base, From: "f@example.org"}, client: newProviderClient(1, 300*time.Millisecond)}
			if got := mails.Mail(t.Context(), email{To: "a@example.org", Subject: "s", Text: "t", HTML: "h"}); got != row.want {
				t.Errorf("mail: %+v, want %+v", got, row.want)
			}
			texts := &twilio{cfg: Twilio{BaseURL: base, AccountSID: "AC0", From: "+33700000000"}, client: newProviderClient(1, 300*time.Millisecond)}
			if got := texts.Text(t.Context(), sms{To: "+33639980001", Body: "b"}); got != row.want {
				t.Errorf("text: %+v, want %+v", got, row.want)
			}
		})
	}
}

func accept(lis net.Listener, serve func(net.Conn)) {
	for {
		conn, err := lis.Accept()
		if err != nil {
			return
		}
		go serve(conn)
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
	p := newProviders(t)
	client := p.sendGrid(30 * time.Second)
	var group sync.WaitGroup
	next := make(chan int)
	for range 64 {
		group.Go(func() {
			for i := range next {
				client.Mail(t.Context(), email{DeliveryID: fmt.Sprint(i), To: fmt.Sprintf("r%d@example.org", i), Subject: "s", Text: "t", HTML: "h"})
			}
		})
	}
	for i := range 1000 {
		next <- i
	}
	close(next)
	group.Wait()
	seen := make(map[string]int)
	for _, call := range p.accepted(byEmail) {
		seen[call.To]++
		if call.To != fmt.Sprintf("r%s@example.org", call.DeliveryID) {
			t.Errorf("delivery %s went to another recipient", call.DeliveryID)
		}
	}
	if len(seen) != 1000 || len(p.accepted(byEmail)) != 1000 {
		t.Errorf("%d recipients of 1000 got %d mails", len(seen), len(p.accepted(byEmail)))
	}
}
