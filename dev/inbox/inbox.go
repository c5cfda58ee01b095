// Package inbox stands in for the providers of e-mail and SMS in development and
// in tests. It speaks SendGrid's v3 and Twilio's wire formats, keeps what it
// accepts, shows it on a page as a person would read it, reports what became of
// it by webhooks, and can be told to fail. It takes mails by SMTP too.
//
// A message that was answered with success is on disk (fsync) before the answer
// leaves, so that what a provider "has accepted" can be counted after any crash.
// It must never be reachable from anywhere but the developer's machine.
package inbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Channels of messages.
const (
	Email = "EMAIL"
	SMS   = "SMS"
)

// Message is one accepted mail or SMS.
type Message struct {
	ID         string            `json:"id"`
	Channel    string            `json:"channel"`
	Provider   string            `json:"provider"`
	To         string            `json:"to"`
	From       string            `json:"from"`
	Subject    string            `json:"subject"`
	Text       string            `json:"text"`
	HTML       string            `json:"html"`
	Headers    map[string]string `json:"headers"`
	ReceivedAt time.Time         `json:"receivedAt"`
}

// Config sets an Inbox up.
type Config struct {
	// StateDir keeps the messages. It is made if absent.
	StateDir string
	// APIKey is the only SendGrid key that is accepted.
	APIKey string
	// TwilioSID and TwilioToken are the only Twilio account that is accepted.
	TwilioSID, TwilioToken string
	// SMTPUser and SMTPPassword are the only ones that ServeSMTP accepts. Without
	// them it asks for none.
	SMTPUser, SMTPPassword string
	// SendGridWebhook is where SendGrid's event webhook posts. Empty: nowhere.
	// Twilio's address comes with each SMS.
	SendGridWebhook string
	// TextOnly forgets the HTML of mails, which is most of them: where hundreds of thousands
	// come, and are read again at each start.
	TextOnly bool
}

// Inbox is an http.Handler. It is safe for concurrent use.
type Inbox struct {
	cfg     Config
	http    http.Handler
	reports *reporter
	journal journal

	mu       sync.Mutex
	messages []Message
	// byTo are the places in messages of each recipient's.
	byTo    map[string][]int
	changed chan struct{} // closed and replaced at each change
	faults  map[string]*Fault
	closed  chan struct{}
	closing sync.Once
}

const maxBodyBytes = 1 << 20

// New opens an inbox with what earlier runs accepted.
func New(cfg Config) (*Inbox, error) {
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the inbox's folder: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(cfg.StateDir, "messages.jsonl"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the inbox: %w", err)
	}
	in := &Inbox{cfg: cfg, journal: journal{log: log}, byTo: make(map[string][]int), changed: make(chan struct{}), faults: make(map[string]*Fault), closed: make(chan struct{})}
	if err := in.load(); err != nil {
		log.Close()
		return nil, err
	}
	if in.reports, err = newReporter(cfg); err != nil {
		log.Close()
		return nil, err
	}
	if err := in.reports.resume(in.messages); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/mail/send", in.sendGrid)
	mux.HandleFunc("GET /v3/messages", in.sendGridMessages)
	mux.HandleFunc("POST /2010-04-01/Accounts/{sid}/Messages.json", in.twilio)
	mux.HandleFunc("GET /2010-04-01/Accounts/{sid}/Messages.json", in.twilioMessages)
	mux.HandleFunc("GET /api/messages", in.list)
	mux.HandleFunc("DELETE /api/messages", in.clear)
	mux.HandleFunc("GET /api/accepted", in.accepted)
	mux.HandleFunc("GET /api/reports", in.getReports)
	mux.HandleFunc("POST /api/reports", in.setReports)
	mux.HandleFunc("GET /api/faults", in.getFaults)
	mux.HandleFunc("POST /api/faults", in.setFault)
	mux.HandleFunc("GET /{$}", in.page)
	mux.HandleFunc("GET /messages/{id}", in.page)
	mux.HandleFunc("GET /messages/{id}/html", in.mailBody)
	mux.HandleFunc("GET /inbox.css", in.style)
	mux.HandleFunc("GET /inbox.js", in.script)
	// A page of another site, open in the developer's browser, sets no fault and
	// sends nothing. Providers' clients are no browsers and pass.
	in.http = http.NewCrossOriginProtection().Handler(mux)
	return in, nil
}

// load reads the log. A last line that a crash cut short was never answered for:
// it is cut off, so that the next one begins on a line of its own.
func (in *Inbox) load() error {
	content, err := io.ReadAll(in.journal.log)
	if err != nil {
		return fmt.Errorf("reading the inbox: %w", err)
	}
	whole := bytes.LastIndexByte(content, '\n') + 1
	if err := in.journal.log.Truncate(int64(whole)); err != nil {
		return fmt.Errorf("reading the inbox: %w", err)
	}
	in.journal.size = int64(whole)
	for line := range bytes.Lines(content[:whole]) {
		var m Message
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("reading the inbox: line %d is damaged: %w", len(in.messages)+1, err)
		}
		in.keep(m)
	}
	return nil
}

// keep puts a message into memory. The caller holds the lock, or is alone.
func (in *Inbox) keep(m Message) {
	in.byTo[m.To] = append(in.byTo[m.To], len(in.messages))
	in.messages = append(in.messages, m)
}

// Close ends calls that hang and closes the log. A second call returns
// os.ErrClosed.
func (in *Inbox) Close() error {
	err := os.ErrClosed
	in.closing.Do(func() {
		close(in.closed)
		err = errors.Join(in.reports.close(), in.journal.close())
	})
	return err
}

// ServeHTTP serves the providers' wire formats, the API and the page.
func (in *Inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	in.http.ServeHTTP(w, r)
}

// Messages returns everything accepted, oldest first.
func (in *Inbox) Messages() []Message {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]Message(nil), in.messages...)
}

// Changed returns a channel that is closed at the next change.
func (in *Inbox) Changed() <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.changed
}

// accept puts a message on disk and into memory, and then reports about it.
func (in *Inbox) accept(m Message) error {
	if in.cfg.TextOnly {
		m.HTML = ""
	}
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing a message: %w", err)
	}
	if err := in.journal.append(append(line, '\n')); err != nil {
		return fmt.Errorf("writing a message: %w", err)
	}
	in.mu.Lock()
	in.keep(m)
	in.notify()
	in.mu.Unlock()
	in.reports.add(m)
	return nil
}

// notify wakes whoever waits for a change. The caller holds the lock.
func (in *Inbox) notify() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// accepted streams one line for each message: who took it for whom, and without
// its words, so that hundreds of thousands can be compared with what should be.
func (in *Inbox) accepted(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(w)
	for _, m := range in.Messages() {
		about := references.FindString(m.Subject + " " + m.Text)
		if err := encoder.Encode(Accepted{m.ID, m.deliveryID(), m.Channel, m.Provider, m.To, about, m.ReceivedAt}); err != nil {
			return // the reader has gone away
		}
	}
}

// Accepted is a message without its words.
type Accepted struct {
	ID         string `json:"id"`
	DeliveryID string `json:"deliveryId"`
	Channel    string `json:"channel"`
	Provider   string `json:"provider"`
	To         string `json:"to"`
	// Reference is the first one in its subject and text.
	Reference  string    `json:"reference"`
	ReceivedAt time.Time `json:"receivedAt"`
}

// references are the references of conversations.
var references = regexp.MustCompile(`MSA-[0-9A-Z]{8}`)

// deliveryID is the sender's own name for the message; empty if it came with none.
func (m Message) deliveryID() string {
	if id := m.Headers["custom_args.delivery_id"]; id != "" {
		return id
	}
	if id := m.Headers["X-Delivery-Id"]; id != "" {
		return id
	}
	callback := m.Headers["StatusCallback"]
	return callback[strings.LastIndexByte(callback, '/')+1:]
}

func (in *Inbox) list(w http.ResponseWriter, r *http.Request) {
	to, channel := r.URL.Query().Get("to"), strings.ToUpper(r.URL.Query().Get("channel"))
	// A plus in a query is a space; a telephone number begins with neither.
	to = strings.Replace(to, " ", "+", 1)
	found := []Message{}
	for _, m := range in.Messages() {
		if (to == "" || m.To == to) && (channel == "" || m.Channel == channel) {
			found = append(found, m)
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"messages": found})
}

func (in *Inbox) clear(w http.ResponseWriter, _ *http.Request) {
	if err := in.journal.clear(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.messages, in.byTo = nil, make(map[string][]int)
	in.notify()
	w.WriteHeader(http.StatusNoContent)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // the reader has gone away
}

// Fault is how the calls of one channel go wrong.
type Fault struct {
	// Channel is EMAIL, SMS or SMTP.
	Channel string `json:"channel"`
	// Mode is one of:
	//	refuse       not accepted: 400, as for a bad address; 550 by SMTP
	//	throttle     not accepted: 429 with Retry-After; 451 by SMTP
	//	error        not accepted: 500; 421 by SMTP
	//	hang         not accepted and never answered
	//	accept-hang  accepted and never answered
	//	off          no fault
	Mode string `json:"mode"`
	// Count is how many calls it lasts; 0: until told otherwise.
	Count int `json:"count"`
	// RetryAfterSeconds goes into Retry-After.
	RetryAfterSeconds int `json:"retryAfterSeconds"`
}

var modes = map[string]bool{"refuse": true, "throttle": true, "error": true, "hang": true, "accept-hang": true, "off": true}

func (in *Inbox) getFaults(w http.ResponseWriter, _ *http.Request) {
	in.mu.Lock()
	defer in.mu.Unlock()
	list := []Fault{}
	for _, f := range in.faults {
		list = append(list, *f)
	}
	writeJSON(w, http.StatusOK, map[string]any{"faults": list})
}

func (in *Inbox) setFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		http.Error(w, "the body is not a fault: "+err.Error(), http.StatusBadRequest)
		return
	}
	if f.Channel != Email && f.Channel != SMS && f.Channel != SMTP || !modes[f.Mode] || f.Count < 0 || f.RetryAfterSeconds < 0 {
		http.Error(w, "channel is EMAIL, SMS or SMTP; mode is refuse, throttle, error, hang, accept-hang or off; numbers are not negative", http.StatusBadRequest)
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.faults, f.Channel)
	if f.Mode != "off" {
		in.faults[f.Channel] = &f
	}
	writeJSON(w, http.StatusOK, f)
}

// faultFor returns the fault of this call, and counts it.
func (in *Inbox) faultFor(channel string) Fault {
	in.mu.Lock()
	defer in.mu.Unlock()
	f := in.faults[channel]
	if f == nil {
		return Fault{Mode: "off"}
	}
	if f.Count > 0 {
		if f.Count--; f.Count == 0 {
			delete(in.faults, channel)
		}
	}
	return *f
}

// deliver applies the fault of the call and, where it is one that accepts, the
// message. It returns false when an answer was given, or will never be.
func (in *Inbox) deliver(w http.ResponseWriter, r *http.Request, m Message, refuse func(status int, text string)) bool {
	fault := in.faultFor(m.Channel)
	switch fault.Mode {
	case "refuse":
		refuse(http.StatusBadRequest, "refused on demand")
		return false
	case "throttle":
		w.Header().Set("Retry-After", strconv.Itoa(fault.RetryAfterSeconds))
		refuse(http.StatusTooManyRequests, "too many requests, on demand")
		return false
	case "error":
		refuse(http.StatusInternalServerError, "broken on demand")
		return false
	case "hang":
		in.hang(r)
		return false
	}
	if err := in.accept(m); err != nil {
		refuse(http.StatusInternalServerError, err.Error())
		return false
	}
	if fault.Mode == "accept-hang" {
		in.hang(r)
		return false
	}
	return true
}

// hang waits until the caller gives up or the inbox closes, and cuts the
// connection without an answer.
func (in *Inbox) hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-in.closed:
	}
	panic(http.ErrAbortHandler)
}
