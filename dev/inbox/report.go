package inbox

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what Twilio signs with
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Reports is how the stand-in reports about what it has taken (webhooks).
type Reports struct {
	// Mode is one of:
	//	on      each report once, at once
	//	late    each report once, after DelayMS
	//	repeat  each report three times, in any order
	//	forge   before each report one with a false signature and one of yesterday,
	//	        both saying that the message bounced
	//	off     no reports, and none later for what was taken meanwhile
	Mode string `json:"mode"`
	// DelayMS is the delay of late reports, in milliseconds.
	DelayMS int `json:"delayMs"`
}

var reportModes = map[string]bool{"on": true, "late": true, "repeat": true, "forge": true, "off": true}

// ReportCounts says what became of the reports.
type ReportCounts struct {
	// Sent are all calls, those that are forged included.
	Sent int64 `json:"sent"`
	// Taken were answered 2xx, Refused 403; Failed with anything else, or not
	// at all, and were sent again.
	Taken   int64 `json:"taken"`
	Refused int64 `json:"refused"`
	Failed  int64 `json:"failed"`
	// ForgedTaken are forged or stale ones that were answered 2xx.
	ForgedTaken int64 `json:"forgedTaken"`
	// Pending are messages whose reports are not all taken.
	Pending int64 `json:"pending"`
}

const (
	// reporters is how many calls are under way at once.
	reporters = 64
	// mailsAtOnce is the most mails whose events go in one call.
	mailsAtOnce = 200
	// reportRetry is the wait after a call that failed.
	reportRetry = 500 * time.Millisecond
	// staleBy is how old a stale report is: past what anybody believes, by a clock that is
	// some hours behind as well.
	staleBy = 48 * time.Hour
)

// reporter sends the reports. A message is reported until each of its reports was
// taken, over restarts of the process.
type reporter struct {
	url    string // of SendGrid's webhook
	token  string
	sid    string
	key    *ecdsa.PrivateKey
	client *http.Client
	ctx    context.Context //nolint:containedctx // ends with the inbox
	end    context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	mode   Reports
	counts ReportCounts
	mails  []Message
	texts  []Message
	turn   bool
	woken  chan struct{}
	done   *os.File
}

func newReporter(cfg Config) (*reporter, error) {
	key, err := openKey(filepath.Join(cfg.StateDir, "webhook.pem"))
	if err != nil {
		return nil, err
	}
	done, err := os.OpenFile(filepath.Join(cfg.StateDir, "reported.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of reports: %w", err)
	}
	r := &reporter{
		url: cfg.SendGridWebhook, token: cfg.TwilioToken, sid: cfg.TwilioSID, key: key, done: done,
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: reporters}}, mode: Reports{Mode: "on"}, woken: make(chan struct{}, 1),
	}
	r.ctx, r.end = context.WithCancel(context.Background())
	return r, nil
}

// openKey reads the signing key, or makes one.
func openKey(path string) (*ecdsa.PrivateKey, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making the webhook's key: %w", err)
		}
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("making the webhook's key: %w", err)
		}
		return key, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the webhook's key: %w", err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("reading the webhook's key: %s is damaged", path)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the webhook's key: %w", err)
	}
	return key, nil
}

// WebhookKey is the key by which SendGrid's reports are verified, as SendGrid
// shows it: DER in base64.
func (in *Inbox) WebhookKey() string {
	der, err := x509.MarshalPKIXPublicKey(&in.reports.key.PublicKey)
	if err != nil {
		panic(err) // a key that we have made
	}
	return base64.StdEncoding.EncodeToString(der)
}

// resume queues what earlier runs have taken and not reported, and begins.
func (r *reporter) resume(messages []Message) error {
	content, err := io.ReadAll(r.done)
	if err != nil {
		return fmt.Errorf("reading the log of reports: %w", err)
	}
	reported := make(map[string]bool)
	for line := range strings.Lines(string(content)) {
		reported[strings.TrimSpace(line)] = true
	}
	for _, m := range messages {
		if !reported[m.ID] {
			r.add(m)
		}
	}
	for range reporters {
		r.work.Go(r.run)
	}
	return nil
}

func (r *reporter) close() error {
	r.end()
	r.work.Wait()
	return r.done.Close()
}

// add queues a message for its reports.
func (r *reporter) add(m Message) {
	if m.Channel == SMS && m.Headers["StatusCallback"] == "" || m.Channel == Email && (r.url == "" || m.Provider != "sendgrid") {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Pending++
	if r.mode.Mode == "off" {
		r.finish([]Message{m})
		return
	}
	if m.Channel == SMS {
		r.texts = append(r.texts, m)
	} else {
		r.mails = append(r.mails, m)
	}
	r.wake()
}

func (r *reporter) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// finish notes that messages need no more reports. The caller holds the lock.
func (r *reporter) finish(batch []Message) {
	r.counts.Pending -= int64(len(batch))
	var lines strings.Builder
	for _, m := range batch {
		lines.WriteString(m.ID + "\n")
	}
	// What is lost here is reported once more.
	_, _ = r.done.WriteString(lines.String())
}

// take gives one SMS, or mails that can go together; in turn, if there are both.
func (r *reporter) take() (batch []Message, mode Reports) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn = !r.turn
	if n := min(len(r.mails), mailsAtOnce); n > 0 && (r.turn || len(r.texts) == 0) {
		batch, r.mails = slices.Clone(r.mails[:n]), r.mails[n:]
	} else if len(r.texts) > 0 {
		batch, r.texts = []Message{r.texts[0]}, r.texts[1:]
	}
	if len(r.mails)+len(r.texts) > 0 {
		r.wake()
	}
	return batch, r.mode
}

func (r *reporter) run() {
	for r.ctx.Err() == nil {
		batch, mode := r.take()
		if len(batch) == 0 {
			select {
			case <-r.woken:
			case <-r.ctx.Done():
			}
			continue
		}
		if mode.Mode == "late" {
			// From when it came, so that a delay is no bottleneck.
			r.pause(time.Until(batch[0].ReceivedAt.Add(time.Duration(mode.DelayMS) * time.Millisecond)))
		}
		for _, call := range r.calls(batch, mode) {
			r.post(call)
		}
		if r.ctx.Err() == nil {
			r.mu.Lock()
			r.finish(batch)
			r.mu.Unlock()
		}
	}
}

func (r *reporter) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.ctx.Done():
	}
}

// call is one report, ready to be posted.
type call struct {
	url    string
	body   []byte
	header http.Header
	forged bool
}

// calls are the reports about a batch, as the mode wants them.
func (r *reporter) calls(batch []Message, mode Reports) []call {
	make1 := r.mailCalls
	if batch[0].Channel == SMS {
		make1 = r.textCalls
	}
	switch mode.Mode {
	case "repeat":
		calls := slices.Concat(make1(batch, false), make1(batch, false), make1(batch, false))
		mathrand.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] }) //nolint:gosec // any order will do
		return calls
	case "forge":
		return slices.Concat(make1(batch, true), make1(batch, false))
	default:
		return make1(batch, false)
	}
}

// fate is what becomes of a mail: an address can ask for it by its local part.
func fate(m Message) (events []string) {
	name, _, _ := strings.Cut(m.To, "@")
	switch {
	case strings.Contains(name, "bounce"):
		return []string{"processed", "bounce"}
	case strings.Contains(name, "drop"):
		return []string{"dropped"}
	case strings.Contains(name, "complain"):
		return []string{"processed", "delivered", "spamreport"}
	default:
		return []string{"processed", "delivered"}
	}
}

// mailCalls is SendGrid's signed event webhook.
func (r *reporter) mailCalls(batch []Message, forged bool) []call {
	events := func(kinds func(Message) []string, mark string) (list []map[string]any) {
		for _, m := range batch {
			for _, kind := range kinds(m) {
				event := map[string]any{
					"email": m.To, "timestamp": time.Now().Unix(), "event": kind, "sg_message_id": m.ID + ".inbox-0",
					"sg_event_id": mark + kind + "." + m.ID,
				}
				for name, value := range m.Headers {
					if arg, isArg := strings.CutPrefix(name, "custom_args."); isArg {
						event[arg] = value
					}
				}
				list = append(list, event)
			}
		}
		return list
	}
	if !forged {
		return []call{r.signMail(events(fate, ""), 0)}
	}
	bounce := func(Message) []string { return []string{"bounce"} }
	stale, fake := r.signMail(events(bounce, "stale."), staleBy), r.signMail(events(bounce, "forged."), 0)
	stale.forged, fake.forged = true, true
	fake.body = append(fake.body, ' ')
	return []call{stale, fake}
}

func (r *reporter) signMail(events []map[string]any, age time.Duration) call {
	body, err := json.Marshal(events)
	if err != nil {
		panic(err) // strings and numbers
	}
	at := strconv.FormatInt(time.Now().Add(-age).Unix(), 10)
	digest := sha256.Sum256(append([]byte(at), body...))
	signature, err := ecdsa.SignASN1(rand.Reader, r.key, digest[:])
	if err != nil {
		panic(err)
	}
	return call{url: r.url, body: body, header: http.Header{
		"Content-Type":                           {"application/json"},
		"X-Twilio-Email-Event-Webhook-Signature": {base64.StdEncoding.EncodeToString(signature)},
		"X-Twilio-Email-Event-Webhook-Timestamp": {at},
	}}
}

// textCalls is Twilio's status callback, of one SMS.
func (r *reporter) textCalls(batch []Message, forged bool) (calls []call) {
	m := batch[0]
	statuses := []string{"sent", "delivered"}
	if strings.HasSuffix(m.To, "0000") {
		statuses = []string{"sent", "undelivered"}
	}
	if forged {
		statuses = []string{"undelivered"}
	}
	for _, status := range statuses {
		form := url.Values{"AccountSid": {r.sid}, "MessageSid": {m.ID}, "SmsSid": {m.ID}, "MessageStatus": {status}, "SmsStatus": {status}, "To": {m.To}, "From": {m.From}}
		if status == "undelivered" {
			form.Set("ErrorCode", "30003")
		}
		token := r.token
		if forged {
			token += "?"
		}
		calls = append(calls, call{url: m.Headers["StatusCallback"], body: []byte(form.Encode()), forged: forged, header: http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"}, "X-Twilio-Signature": {signText(token, m.Headers["StatusCallback"], form)},
		}})
	}
	return calls
}

// signText is Twilio's signature: over the address, and all names and values in
// the order of names.
func signText(token, address string, form url.Values) string {
	mac := hmac.New(sha1.New, []byte(token))
	_, _ = io.WriteString(mac, address)
	for _, name := range slices.Sorted(maps.Keys(form)) {
		_, _ = io.WriteString(mac, name+form.Get(name))
	}
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// post sends a report until it is answered for good.
func (r *reporter) post(c call) {
	for r.ctx.Err() == nil {
		status := r.try(c)
		r.mu.Lock()
		r.counts.Sent++
		taken := status >= 200 && status <= 299
		switch {
		case taken:
			r.counts.Taken++
			if c.forged {
				r.counts.ForgedTaken++
			}
		case status == http.StatusForbidden:
			r.counts.Refused++
		default:
			r.counts.Failed++
		}
		r.mu.Unlock()
		if taken || status == http.StatusForbidden || status == http.StatusNotFound || c.forged {
			return
		}
		r.pause(reportRetry)
	}
}

func (r *reporter) try(c call) (status int) {
	req, err := http.NewRequestWithContext(r.ctx, http.MethodPost, c.url, bytes.NewReader(c.body))
	if err != nil {
		slog.Error("making a report", "error", err)
		return http.StatusNotFound
	}
	req.Header = c.header.Clone()
	resp, err := r.client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func (in *Inbox) getReports(w http.ResponseWriter, _ *http.Request) {
	in.reports.mu.Lock()
	defer in.reports.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"reports": in.reports.mode, "counts": in.reports.counts})
}

func (in *Inbox) setReports(w http.ResponseWriter, r *http.Request) {
	var mode Reports
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&mode); err != nil || !reportModes[mode.Mode] || mode.DelayMS < 0 {
		http.Error(w, "mode is on, late, repeat, forge or off; delayMs is not negative", http.StatusBadRequest)
		return
	}
	in.reports.mu.Lock()
	defer in.reports.mu.Unlock()
	in.reports.mode = mode
	writeJSON(w, http.StatusOK, mode)
}
