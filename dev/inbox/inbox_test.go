package inbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// desk is an inbox behind a real server.
type desk struct {
	t    *testing.T
	in   *Inbox
	base string
	// ended gets a value when a call has ended, however it did.
	ended chan struct{}
}

var account = Config{APIKey: "SG.key", TwilioSID: "AC123", TwilioToken: "secret"}

// open serves an inbox whose messages are in dir. It is closed by the test's end,
// unless shut was called before.
func open(t *testing.T, dir string) (d *desk, shut func()) {
	t.Helper()
	cfg := account
	cfg.StateDir = dir
	return openWith(t, cfg)
}

func openWith(t *testing.T, cfg Config) (d *desk, shut func()) {
	t.Helper()
	in, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d = &desk{t: t, in: in, ended: make(chan struct{}, 100)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { d.ended <- struct{}{} }()
		in.ServeHTTP(w, r)
	}))
	d.base = server.URL
	shut = sync.OnceFunc(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	t.Cleanup(shut)
	return d, shut
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// fault reads the answer as an error of SendGrid: its field and message.
func (a answer) fault() (field, message string) {
	var body struct {
		Errors []struct{ Field, Message string }
	}
	if json.Unmarshal([]byte(a.body), &body) != nil || len(body.Errors) != 1 {
		return "", "not SendGrid's error: " + a.body
	}
	return body.Errors[0].Field, body.Errors[0].Message
}

func (d *desk) do(req *http.Request) answer {
	d.t.Helper()
	resp, err := new(http.Client).Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func (d *desk) request(method, path, body string) *http.Request {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.base+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	return req
}

func (d *desk) get(path string) answer {
	d.t.Helper()
	return d.do(d.request(http.MethodGet, path, ""))
}

// setFault orders a fault, which must be taken.
func (d *desk) setFault(fault string) {
	d.t.Helper()
	if got := d.do(d.request(http.MethodPost, "/api/faults", fault)); got.status != http.StatusOK {
		d.t.Fatalf("fault %s: %d %s", fault, got.status, got.body)
	}
}

// listed returns the messages that the API lists for a query.
func (d *desk) listed(query string) []Message {
	d.t.Helper()
	got := d.get("/api/messages" + query)
	var list struct{ Messages []Message }
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.status != http.StatusOK {
		d.t.Fatalf("%s: %d %s", query, got.status, got.body)
	}
	if list.Messages == nil {
		d.t.Fatalf("%s: messages is not a list: %s", query, got.body)
	}
	return list.Messages
}

func subjects(messages []Message) string {
	var all []string
	for _, m := range messages {
		all = append(all, m.Subject+m.Text)
	}
	return strings.Join(all, ",")
}

// put stores messages as the providers' calls would.
func (d *desk) put(messages ...Message) {
	d.t.Helper()
	for _, m := range messages {
		if err := d.in.accept(m); err != nil {
			d.t.Fatal(err)
		}
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	d.listed("") // an empty list is a list
	d.put(Message{ID: "1", Channel: Email, To: "jeanne@example.org", Subject: "a"},
		Message{ID: "2", Channel: SMS, To: "+33639980001", Text: "b"},
		Message{ID: "3", Channel: SMS, To: "+33639980002", Text: "c"},
		Message{ID: "4", Channel: Email, To: "jean+msa@example.org", Subject: "d"})
	for query, want := range map[string]string{
		"":                                 "a,b,c,d",
		"?to=%2B33639980001":               "b",
		"?to=+33639980001":                 "b", // as typed into curl
		"?to=jean%2Bmsa@example.org":       "d",
		"?to=nobody@example.org":           "",
		"?channel=sms":                     "b,c",
		"?channel=EMAIL":                   "a,d",
		"?channel=fax":                     "",
		"?channel=SMS&to=%2B33639980002":   "c",
		"?channel=EMAIL&to=%2B33639980002": "",
	} {
		if got := subjects(d.listed(query)); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestClearForgetsForGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, shut := open(t, dir)
	d.put(Message{ID: "1", Subject: "before"})
	changed := d.in.Changed()
	if got := d.do(d.request(http.MethodDelete, "/api/messages", "")); got.status != http.StatusNoContent {
		t.Fatalf("%d %s", got.status, got.body)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the change")
	}
	if left := d.listed(""); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	d.put(Message{ID: "2", Subject: "after"})
	shut()
	again, _ := open(t, dir)
	if got := subjects(again.in.Messages()); got != "after" {
		t.Errorf("after a restart: %q", got)
	}
}

// What was answered with success outlives the process; a line that a crash cut
// short does not, and does not spoil the next one.
func TestRestartKeepsWhatWasAccepted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, shut := open(t, dir)
	if got := d.mail(letter{}); got.status != http.StatusAccepted {
		t.Fatalf("%d %s", got.status, got.body)
	}
	before := d.listed("")
	shut()
	file := filepath.Join(dir, "messages.jsonl")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range []string{"", `{`, `{"id":"torn","channel":"EMAIL"}`} {
		if err := os.WriteFile(file, append(bytes.Clone(whole), torn...), 0o600); err != nil {
			t.Fatal(err)
		}
		d, shut := open(t, dir)
		if got := d.listed(""); encode(t, got) != encode(t, before) {
			t.Errorf("torn %q: %v, want %v", torn, got, before)
		}
		d.put(Message{ID: "next", Subject: "next"})
		shut()
		again, shut := open(t, dir)
		if got := again.in.Messages(); len(got) != 2 || got[1].ID != "next" {
			t.Errorf("torn %q, then one more: %v", torn, got)
		}
		shut()
	}
	damaged := append(append(bytes.Clone(whole), "{}}\n"...), whole...)
	if err := os.WriteFile(file, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{StateDir: dir}); err == nil || !strings.Contains(err.Error(), "line 2 is damaged") {
		t.Errorf("a damaged line: %v", err)
	}
}

func encode(t *testing.T, value any) string {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestManyAtOnceAreAllKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, shut := open(t, dir)
	const each = 20
	var calls sync.WaitGroup
	for range each {
		calls.Go(func() { d.mail(letter{}) })
		calls.Go(func() { d.text(form("+33639980001", "Bonjour")) })
	}
	calls.Wait()
	shut()
	again, _ := open(t, dir)
	ids := make(map[string]bool)
	for _, m := range again.in.Messages() {
		ids[m.ID] = true
	}
	if len(ids) != 2*each {
		t.Errorf("%d different messages, want %d", len(ids), 2*each)
	}
}

// A call that is not answered with success leaves no message, and a fault holds
// for its channel and its count only.
func TestFaultsThatRefuse(t *testing.T) {
	t.Parallel()
	for mode, status := range map[string]int{"refuse": 400, "throttle": 429, "error": 500} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d, _ := open(t, t.TempDir())
			d.setFault(`{"channel":"EMAIL","mode":"` + mode + `","count":2,"retryAfterSeconds":7}`)
			for range 2 {
				got := d.mail(letter{})
				if field, message := got.fault(); got.status != status || field != "" || !strings.Contains(message, "on demand") {
					t.Fatalf("%d %s", got.status, got.body)
				}
				if wait := got.header.Get("Retry-After"); (wait == "7") != (mode == "throttle") {
					t.Errorf("Retry-After %q", wait)
				}
				if left := d.listed(""); len(left) != 0 {
					t.Fatalf("kept: %v", left)
				}
			}
			if got := d.text(form("+33639980001", "Bonjour")); got.status != http.StatusCreated {
				t.Errorf("the other channel: %d %s", got.status, got.body)
			}
			if got := d.mail(letter{}); got.status != http.StatusAccepted {
				t.Errorf("after the last fault: %d %s", got.status, got.body)
			}
		})
	}
}

func TestFaultWithoutCountLastsUntilOff(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	d.setFault(`{"channel":"SMS","mode":"throttle"}`)
	for range 3 {
		got := d.text(form("+33639980001", "Bonjour"))
		if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "0" || code(got) != 20429 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	if got := d.get("/api/faults").body; !strings.Contains(got, `"mode":"throttle"`) {
		t.Errorf("faults: %s", got)
	}
	d.setFault(`{"channel":"SMS","mode":"off"}`)
	if got := d.get("/api/faults").body; got != "{\"faults\":[]}\n" {
		t.Errorf("faults: %s", got)
	}
	if got := d.text(form("+33639980001", "Bonjour")); got.status != http.StatusCreated {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// A call that nobody has the right to make, or that is wrong, uses up no fault.
func TestFaultsCountOnlyWhatWouldBeAccepted(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	d.setFault(`{"channel":"EMAIL","mode":"error","count":1}`)
	d.mail(letter{key: "SG.other"})
	d.mail(letter{to: "nobody"})
	if got := d.mail(letter{}); got.status != http.StatusInternalServerError {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// A call that hangs ends when its caller gives up, with the message kept or not,
// by the mode; whether its body's length was told or not.
func TestFaultsThatHang(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		mode    string
		chunked bool
		kept    int
	}{{"hang", false, 0}, {"hang", true, 0}, {"accept-hang", false, 1}, {"accept-hang", true, 1}} {
		d, _ := open(t, t.TempDir())
		d.setFault(`{"channel":"EMAIL","mode":"` + row.mode + `","count":1}`)
		<-d.ended
		req, giveUp := d.hanging(row.chunked)
		failed := make(chan error, 1)
		go func() {
			resp, err := new(http.Client).Do(req)
			if err == nil {
				resp.Body.Close()
			}
			failed <- err
		}()
		d.awaitNoFault()
		select {
		case <-d.ended:
			t.Fatalf("%+v: it was answered", row)
		case err := <-failed:
			t.Fatalf("%+v: it was answered: %v", row, err)
		default:
		}
		giveUp()
		if err := <-failed; err == nil {
			t.Errorf("%+v: it was answered", row)
		}
		<-d.ended // or the test's time is up
		if got := d.in.Messages(); len(got) != row.kept {
			t.Errorf("%+v: kept %v", row, got)
		}
	}
}

// Close does not wait for those who hang.
func TestCloseEndsCallsThatHang(t *testing.T) {
	t.Parallel()
	d, shut := open(t, t.TempDir())
	d.setFault(`{"channel":"EMAIL","mode":"hang","count":1}`)
	<-d.ended
	req, _ := d.hanging(false)
	failed := make(chan error, 1)
	go func() {
		resp, err := new(http.Client).Do(req)
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	d.awaitNoFault()
	shut()
	if err := <-failed; err == nil || errors.Is(err, t.Context().Err()) {
		t.Errorf("the caller sees %v", err)
	}
}

func TestFaultsThatAreNone(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	for _, body := range []string{
		"", "[]", "{", `{"channel":"EMAIL"}`, `{"mode":"error"}`,
		`{"channel":"email","mode":"error"}`, `{"channel":"FAX","mode":"error"}`,
		`{"channel":"SMS","mode":"explode"}`, `{"channel":"SMS","mode":"error","count":-1}`,
		`{"channel":"SMS","mode":"error","retryAfterSeconds":-1}`, `{"channel":"SMS","mode":"error","count":"two"}`,
		`{"channel":"SMS","mode":"error","retryAfter":3}`,
	} {
		if got := d.do(d.request(http.MethodPost, "/api/faults", body)); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	if got := d.get("/api/faults").body; got != "{\"faults\":[]}\n" {
		t.Errorf("faults: %s", got)
	}
}

// Whatever is sent, no more than a megabyte of it is read.
func TestBodiesHaveALimit(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	long := strings.Repeat("x", maxBodyBytes)
	if got := d.mail(letter{text: long}); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("mail: %d %s", got.status, got.body)
	}
	if got := d.text(url.Values{"To": {"+33639980001"}, "From": {"MSA"}, "Body": {long}}); got.status != http.StatusBadRequest {
		t.Errorf("SMS: %d %s", got.status, got.body)
	}
	if got := d.in.Messages(); len(got) != 0 {
		t.Errorf("kept %d", len(got))
	}
}
