package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	twilioclient "github.com/twilio/twilio-go/client"
	twilioapi "github.com/twilio/twilio-go/rest/api/v2010"
)

// Callback is the address to which Twilio reports about a delivery, byte for byte
// as it was told to: the signature is over it.
func (t Twilio) Callback(deliveryID string) string {
	return strings.TrimSuffix(t.StatusCallback, "/") + "/" + url.PathEscape(deliveryID)
}

// Twilio is the SMS provider's part of the configuration, NOTIFIER_TWILIO_*.
type Twilio struct {
	// BaseURL is the API's address.
	BaseURL string `env:"BASE_URL" envDefault:"https://api.twilio.com"`
	// AccountSID and AuthToken are the account's credentials. Give the token as
	// a file with NOTIFIER_TWILIO_AUTH_TOKEN_FILE.
	AccountSID string `env:"ACCOUNT_SID,required"`
	AuthToken  string `env:"AUTH_TOKEN,required"`
	// From is the sending number or name; MessagingServiceSID lets Twilio
	// choose. Exactly one of them.
	From                string `env:"FROM"`
	MessagingServiceSID string `env:"MESSAGING_SERVICE_SID"`
	// StatusCallback is the public address to which Twilio reports, below which
	// each delivery has its own path. Empty: no reports are asked for.
	// It is the gateway's /webhooks/twilio.
	StatusCallback string `env:"STATUS_CALLBACK"`
	// Lookup asks Twilio, before an SMS is sent again that it may have taken,
	// whether it has. An account that redacts bodies cannot be asked: unset it,
	// and rely on StatusCallback.
	Lookup bool `env:"LOOKUP" envDefault:"true"`
}

// twilioTexter speaks Twilio's Messages resource.
//
// The request is built and the answer read by twilio-go. Its own HTTP client is
// replaced, by the interface it has for that: CreateMessage takes no context,
// so neither a deadline nor a trace would reach the call, and its errors repeat
// the recipient's number and drop Retry-After.
type twilioTexter struct {
	cfg    Twilio
	client *http.Client
}

// NewTwilio returns Twilio, as a finder if it may be asked.
func NewTwilio(cfg Twilio, workers int, timeout time.Duration) Texter {
	texts := &twilioTexter{cfg: cfg, client: newClient(workers, timeout)}
	if cfg.Lookup {
		return texts
	}
	return struct{ Texter }{texts}
}

// Text sends one SMS. Accepted means that Twilio has queued it (201).
func (p *twilioTexter) Text(ctx context.Context, s SMS) Answer {
	params := new(twilioapi.CreateMessageParams).SetTo(s.To).SetBody(s.Body)
	if p.cfg.MessagingServiceSID != "" {
		params.SetMessagingServiceSid(p.cfg.MessagingServiceSID)
	} else {
		params.SetFrom(p.cfg.From)
	}
	if p.cfg.StatusCallback != "" {
		params.SetStatusCallback(p.cfg.Callback(s.DeliveryID))
	}
	send := &twilioCall{provider: p, ctx: ctx}
	// The handler is made by hand: its constructor reads the environment.
	message, err := twilioapi.NewApiService(&twilioclient.RequestHandler{Client: send}).CreateMessage(params)
	if err == nil && message.Sid != nil {
		send.result.MessageID = *message.Sid
	}
	// An error says nothing that send does not know better. An answer 201 that
	// cannot be read is still a 201.
	return send.result
}

const (
	// twilioPage is how many messages are asked for at once, newest first.
	twilioPage = "50"
	// twilioPages is how many such pages are looked through for one message.
	twilioPages = 10
)

// Find looks through the messages to this number since then for one with the same
// words. They hold a reference that no other message has. One that Twilio took and
// has failed to deliver does not count: it is worth sending again.
//
// twilio-go is not used: it writes the day as a moment, which the API does not
// promise to read.
func (p *twilioTexter) Find(ctx context.Context, s SMS, since time.Time) Answer {
	query := url.Values{"To": {s.To}, "DateSent>": {since.UTC().Format(time.DateOnly)}, "PageSize": {twilioPage}}.Encode()
	for range twilioPages {
		page, result := p.page(ctx, query)
		if result.Class != Accepted {
			return result
		}
		for _, m := range page.Messages {
			if m.Body == s.Body && m.Status != "failed" && m.Status != "canceled" && m.Status != "undelivered" {
				result.Class, result.MessageID = Found, m.SID
				return result
			}
		}
		if page.Next == "" {
			result.Class = NotSent
			return result
		}
		// Only the query is taken, so that no answer leads us elsewhere.
		_, query, _ = strings.Cut(page.Next, "?")
	}
	return Answer{Class: LookupFailed, Reason: "LOOKUP_TOO_MANY"}
}

// twilioList is one page of messages, as far as it is read.
type twilioList struct {
	Messages []struct {
		SID    string `json:"sid"`
		Body   string `json:"body"`
		Status string `json:"status"`
	} `json:"messages"`
	// Next is the path and query of the next page, empty on the last.
	Next string `json:"next_page_uri"`
}

func (p *twilioTexter) page(ctx context.Context, query string) (page twilioList, result Answer) {
	address := p.cfg.BaseURL + "/2010-04-01/Accounts/" + url.PathEscape(p.cfg.AccountSID) + "/Messages.json"
	req, err := http.NewRequestWithContext(withQuery(ctx, query), http.MethodGet, address, nil)
	if err != nil {
		return page, Answer{Class: LookupFailed, Reason: "BASE_URL_INVALID"}
	}
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(p.cfg.AccountSID, p.cfg.AuthToken)
	result = ask(p.client, req, &page)
	if result.Class == Accepted && page.Messages == nil { // JSON, but not a list
		result.Class, result.Reason = LookupFailed, reasonUnreadable
	}
	return page, result
}

// twilioCall is one request; it is what twilio-go takes for its HTTP client.
type twilioCall struct {
	provider *twilioTexter
	ctx      context.Context //nolint:containedctx // twilio-go hands none through
	result   Answer
}

var errAnswered = errors.New("answered otherwise than 2xx")

// SendRequest posts the form that twilio-go has made.
func (c *twilioCall) SendRequest(method, rawURL string, form url.Values, _ map[string]any, _ ...byte) (*http.Response, error) {
	c.result = Answer{Class: ConfigFault, Reason: "BASE_URL_INVALID"}
	_, path, _ := strings.Cut(strings.TrimPrefix(rawURL, "https://"), "/")
	req, err := http.NewRequestWithContext(c.ctx, method, c.provider.cfg.BaseURL+"/"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(c.provider.cfg.AccountSID, c.provider.cfg.AuthToken)
	resp, body, result := call(c.provider.client, req)
	c.result = twilioAnswer(result, body)
	if result.Class != Accepted {
		return nil, errAnswered
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// Error codes of Twilio that say something else than their status does.
const (
	twilioThrottled      = 20429 // too many requests
	twilioQueueFull      = 21611 // this sender's queue is full: 400, but not for good
	twilioUnverifiedTo   = 21608 // trial account
	twilioWrongFrom      = 21606 // From is not ours
	twilioNoFrom         = 21603 // From is missing
	twilioFromNotAllowed = 21659 // From is not a number of ours
	twilioInvalidTo      = 21211
	twilioNotMobile      = 21614
	twilioUnsubscribed   = 21610
	twilioUnreachable    = 21612
	twilioRegion         = 21408 // sending to this country is not enabled
)

// twilioAnswer refines a class by the error code in the body.
func twilioAnswer(result Answer, body []byte) Answer {
	var fault struct {
		Code int `json:"code"`
	}
	if result.Class == Accepted || json.Unmarshal(body, &fault) != nil || fault.Code == 0 {
		return result
	}
	result.Reason = fmt.Sprintf("TWILIO_%d", fault.Code)
	switch fault.Code {
	case twilioThrottled, twilioQueueFull:
		result.Class = NotSent
	case twilioWrongFrom, twilioNoFrom, twilioFromNotAllowed, twilioUnverifiedTo:
		result.Class = ConfigFault
	case twilioInvalidTo, twilioNotMobile, twilioUnsubscribed, twilioUnreachable, twilioRegion:
		result.Class = Refused
	}
	return result
}

// AccountSid is asked for by twilio-go to build the path.
func (c *twilioCall) AccountSid() string { return url.PathEscape(c.provider.cfg.AccountSID) }

// SetTimeout does nothing: the deadline is the HTTP client's.
func (c *twilioCall) SetTimeout(time.Duration) {}

// SetOauth does nothing: the account's token is used.
func (c *twilioCall) SetOauth(twilioclient.OAuth) {}

// OAuth is none.
func (c *twilioCall) OAuth() twilioclient.OAuth { return nil }
