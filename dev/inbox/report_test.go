package inbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sendgrid/sendgrid-go/helpers/eventwebhook"
	twilioclient "github.com/twilio/twilio-go/client"
)

// receiver takes reports and verifies them with the providers' own libraries.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	genuine  []string
	refused  int
	failures int
	came     chan struct{}
	key      atomic.Pointer[string]
}

// pending is how many messages are still to be reported.
func (r *reporter) pending() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts.Pending
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{came: make(chan struct{}, 10_000)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// take answers 403 to what is not genuine or old.
func (rc *receiver) take(what string, genuine bool, w http.ResponseWriter) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	defer func() { rc.came <- struct{}{} }()
	switch {
	case rc.failures > 0:
		rc.failures--
		w.WriteHeader(http.StatusServiceUnavailable)
	case genuine:
		rc.genuine = append(rc.genuine, what)
	default:
		rc.refused++
		w.WriteHeader(http.StatusForbidden)
	}
}

func (rc *receiver) awaits(t *testing.T, reports int) {
	t.Helper()
	for range reports {
		select {
		case <-rc.came:
		case <-time.After(20 * time.Second):
			t.Fatal("reports are missing")
		}
	}
}

// ServeHTTP verifies with the key of the inbox.
func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if strings.HasPrefix(r.URL.Path, "/sms/") {
		form, _ := url.ParseQuery(string(body))
		values := make(map[string]string)
		for name := range form {
			values[name] = form.Get(name)
		}
		validator := twilioclient.NewRequestValidator("token")
		rc.take(form.Get("MessageStatus"), validator.Validate(rc.URL+r.URL.Path, values, r.Header.Get("X-Twilio-Signature")), w)
		return
	}
	key, err := eventwebhook.ConvertPublicKeyBase64ToECDSA(*rc.key.Load())
	at := r.Header.Get("X-Twilio-Email-Event-Webhook-Timestamp")
	var seconds int64
	_, _ = fmt.Sscan(at, &seconds)
	valid := false
	if err == nil {
		valid, _ = eventwebhook.VerifySignature(key, body, r.Header.Get("X-Twilio-Email-Event-Webhook-Signature"), at)
	}
	var events []struct {
		Event string `json:"event"`
		ID    string `json:"delivery_id"`
	}
	_ = json.Unmarshal(body, &events)
	var kinds []string
	for _, e := range events {
		kinds = append(kinds, e.Event+" "+e.ID)
	}
	rc.take(strings.Join(kinds, ","), valid && time.Since(time.Unix(seconds, 0)) < 25*time.Hour, w)
}

func reportingInbox(t *testing.T, rc *receiver, dir string) *Inbox {
	t.Helper()
	in, err := New(Config{StateDir: dir, APIKey: "key", TwilioSID: "AC1", TwilioToken: "token", SendGridWebhook: rc.URL + "/sendgrid"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	key := in.WebhookKey()
	rc.key.Store(&key)
	return in
}

func mailTo(to string) Message {
	return Message{ID: newID(""), Channel: Email, Provider: "sendgrid", To: to, Headers: map[string]string{"custom_args.delivery_id": "d.EMAIL"}}
}

func textTo(rc *receiver, to string) Message {
	return Message{ID: newID("SM"), Channel: SMS, Provider: "twilio", To: to, Headers: map[string]string{"StatusCallback": rc.URL + "/sms/d.SMS"}}
}

func TestReportModes(t *testing.T) {
	t.Parallel()
	rows := []struct {
		mode, to         string
		genuine, refused int
		mail, text       string
	}{
		{"on", "a@example.org +33639980001", 3, 0, "processed d.EMAIL,delivered d.EMAIL", "delivered"},
		{"late", "a@example.org +33639980001", 3, 0, "processed d.EMAIL,delivered d.EMAIL", "delivered"},
		{"repeat", "a@example.org +33639980001", 9, 0, "processed d.EMAIL,delivered d.EMAIL", "delivered"},
		{"forge", "a@example.org +33639980001", 3, 3, "processed d.EMAIL,delivered d.EMAIL", "delivered"},
		{"on", "bounce@example.org +33639980000", 3, 0, "processed d.EMAIL,bounce d.EMAIL", "undelivered"},
		{"on", "complain@example.org +33639980001", 3, 0, "spamreport d.EMAIL", "sent"},
		{"on", "drop@example.org +33639980001", 3, 0, "dropped d.EMAIL", "sent"},
	}
	for _, row := range rows {
		t.Run(row.mode+" "+row.to, func(t *testing.T) {
			t.Parallel()
			rc := newReceiver(t)
			in := reportingInbox(t, rc, t.TempDir())
			setting(t, in, "/api/reports", fmt.Sprintf(`{"mode":%q,"delayMs":5}`, row.mode))
			mail, text, _ := strings.Cut(row.to, " ")
			for _, m := range []Message{mailTo(mail), textTo(rc, text)} {
				if err := in.accept(m); err != nil {
					t.Fatal(err)
				}
			}
			rc.awaits(t, row.genuine+row.refused)
			rc.mu.Lock()
			defer rc.mu.Unlock()
			told := strings.Join(rc.genuine, ";")
			if len(rc.genuine) != row.genuine || rc.refused != row.refused || !strings.Contains(told, row.mail) || !strings.Contains(told, row.text) {
				t.Errorf("%d genuine and %d refused: %s", len(rc.genuine), rc.refused, told)
			}
		})
	}
}

func setting(t *testing.T, in *Inbox, path, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	in.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	if w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", path, body, w.Code, w.Body)
	}
}

// A report that nobody took is sent again, after a restart too; what was taken is
// not; and off means never.
func TestReportsUntilTaken(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t)
	dir := t.TempDir()
	in := reportingInbox(t, rc, dir)
	rc.mu.Lock()
	rc.failures = 1
	rc.mu.Unlock()
	if err := in.accept(mailTo("a@example.org")); err != nil {
		t.Fatal(err)
	}
	rc.awaits(t, 2)
	rc.mu.Lock()
	rc.failures = 1 << 30
	rc.mu.Unlock()
	if err := in.accept(textTo(rc, "+33639980001")); err != nil {
		t.Fatal(err)
	}
	rc.awaits(t, 1)
	// The mail's is taken when the inbox has read the answer: closed before, it would
	// report once more.
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for late := time.After(10 * time.Second); in.reports.pending() != 1; {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("%d messages are still to be reported", in.reports.pending())
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	rc.mu.Lock()
	rc.failures, rc.genuine = 0, nil
	rc.mu.Unlock()
	for len(rc.came) > 0 {
		<-rc.came
	}
	again := reportingInbox(t, rc, dir)
	rc.awaits(t, 2)
	rc.mu.Lock()
	if told := strings.Join(rc.genuine, ";"); told != "sent;delivered" {
		t.Errorf("after the restart: %s", told)
	}
	rc.mu.Unlock()
	setting(t, again, "/api/reports", `{"mode":"off"}`)
	if err := again.accept(mailTo("b@example.org")); err != nil {
		t.Fatal(err)
	}
	setting(t, again, "/api/reports", `{"mode":"on"}`)
	if err := again.accept(mailTo("c@example.org")); err != nil {
		t.Fatal(err)
	}
	rc.awaits(t, 1)
	w := httptest.NewRecorder()
	again.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/reports", nil))
	if !strings.Contains(w.Body.String(), `"mode":"on"`) || !strings.Contains(w.Body.String(), `"failed":0`) {
		t.Error(w.Body)
	}
}

// Lines that share a flush are all there after a restart, each once.
func TestJournalSharesFlushes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, err := New(Config{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	const messages = 500
	var group sync.WaitGroup
	for i := range messages {
		group.Go(func() {
			if err := in.accept(Message{ID: fmt.Sprint(i), Channel: SMS, To: "+33639980001"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := New(Config{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	seen := make(map[string]bool)
	for _, m := range again.Messages() {
		seen[m.ID] = true
	}
	if len(seen) != messages || len(again.newestTo("+33639980001")) != messages {
		t.Errorf("%d of %d messages, %d found by number", len(seen), messages, len(again.newestTo("+33639980001")))
	}
	w := httptest.NewRecorder()
	again.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/accepted", nil))
	if n := strings.Count(w.Body.String(), "\n"); n != messages {
		t.Errorf("%d lines of accepted messages", n)
	}
}
