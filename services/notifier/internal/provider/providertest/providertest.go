// Package providertest has stand-ins for the providers: servers on the wire that answer as
// a test has them answer, and remember what they were asked.
package providertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The channels of calls.
const (
	Email = "EMAIL"
	SMS   = "SMS"
)

// Providers stands in for SendGrid and Twilio on the wire. It answers as told,
// and remembers each request that it accepted.
type Providers struct {
	*httptest.Server
	mu    sync.Mutex
	calls []*Call
	// answer decides about a request; nil accepts.
	answer func(call *Call, w http.ResponseWriter) (handled bool)
	// Began, if set, is called for each request before it is answered.
	Began func()
	// Came has one value for each request, in order.
	Came chan *Call
	// lookups are the questions about messages; broken of them, from now, are answered
	// with 500.
	lookups []*http.Request
	broken  int
}

// Call is one request as it came.
type Call struct {
	Channel    string
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

// New runs the stand-ins until the test ends.
func New(t *testing.T) *Providers {
	t.Helper()
	p := &Providers{Came: make(chan *Call, 10_000)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/mail/send", func(w http.ResponseWriter, r *http.Request) {
		call := &Call{Channel: Email}
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
		call := &Call{Channel: SMS, Form: r.PostForm, To: r.PostForm.Get("To")}
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

func (p *Providers) serve(call *Call, w http.ResponseWriter, r *http.Request, accept func()) {
	call.Header, call.Path, call.At, call.Gone = r.Header, r.URL.Path, time.Now(), r.Context().Done()
	if p.Began != nil {
		p.Began()
	}
	p.mu.Lock()
	p.calls = append(p.calls, call)
	answer := p.answer
	p.mu.Unlock()
	defer func() { p.Came <- call }()
	if answer != nil && answer(call, w) {
		return
	}
	p.Accept(call)
	accept()
}

// Accept notes that a request was accepted, whether or not its answer arrives.
func (p *Providers) Accept(call *Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	call.Accepted = true
}

// Accepted are the requests accepted, of one channel.
func (p *Providers) Accepted(channel string) (list []*Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, call := range p.calls {
		if call.Accepted && call.Channel == channel {
			list = append(list, call)
		}
	}
	return list
}

// Calls are all requests to send, in the order in which they came.
func (p *Providers) Calls() []*Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// Lookups are all questions about messages, in the order in which they came.
func (p *Providers) Lookups() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lookups)
}

// BreakLookups has the next n questions about messages answered with 500.
func (p *Providers) BreakLookups(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = n
}

// Answer has requests to send answered by a function that reports whether it has done so;
// otherwise, or if it is nil, they are accepted.
func (p *Providers) Answer(answer func(*Call, http.ResponseWriter) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// serveLookups answers questions from what was accepted, as the providers do.
func (p *Providers) serveLookups(mux *http.ServeMux) {
	serve := func(channel string, list func(r *http.Request, accepted []*Call) []any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			p.mu.Lock()
			p.lookups = append(p.lookups, r)
			broken := p.broken > 0
			if broken {
				p.broken--
			}
			p.mu.Unlock()
			if broken {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			found := append([]any{}, list(r, p.Accepted(channel))...)
			_ = json.NewEncoder(w).Encode(map[string]any{"messages": found, "next_page_uri": nil})
		}
	}
	mux.HandleFunc("GET /v3/messages", serve(Email, func(r *http.Request, accepted []*Call) (found []any) {
		for _, call := range accepted {
			if r.URL.Query().Get("query") == `(unique_args['delivery_id']="`+call.DeliveryID+`")` {
				found = append(found, map[string]any{"msg_id": "sg-1.filter", "status": "processed"})
			}
		}
		return found
	}))
	mux.HandleFunc("GET /2010-04-01/Accounts/{sid}/Messages.json", serve(SMS, func(r *http.Request, accepted []*Call) (found []any) {
		for _, call := range accepted {
			if r.URL.Query().Get("To") == call.To {
				found = append(found, map[string]any{"sid": "SM1", "body": call.Form.Get("Body"), "status": "queued"})
			}
		}
		return found
	}))
}

// Asked counts the questions about one channel.
func (p *Providers) Asked(channel string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.lookups {
		if strings.HasPrefix(r.URL.Path, "/v3/") == (channel == Email) {
			n++
		}
	}
	return n
}
