package notifier

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/ma-messagerie/messagerie/chassis/seeded"
)

// class says what is known about a call to a provider, which decides what may be
// done next. Everything hangs on one question: may the provider have taken it?
type class string

const (
	// classAccepted: the provider said so.
	classAccepted class = "accepted"
	// classRefused: the provider said that it never will.
	classRefused class = "refused"
	// classNotSent: it was certainly not taken; it may be sent again at once.
	classNotSent class = "not_sent"
	// classConfigFault: our credentials or our sender were refused. No delivery
	// is to blame, so none pays for it with an attempt.
	classConfigFault class = "config_fault"
	// classUnknown: the request left and no answer that settles it came back.
	classUnknown class = "unknown"
	// classSuppressed: no provider was called, because there is nobody to send it
	// to, or nothing that could be rendered.
	classSuppressed class = "suppressed"
	// classFound: asked about an earlier attempt in doubt, the provider said that
	// it has the message. Nothing was sent.
	classFound class = "found"
	// classLookupFailed: it could not be asked, so the doubt stays and nothing
	// was sent.
	classLookupFailed class = "lookup_failed"
	// classHeld: the provider was not called, because it is being left alone.
	classHeld class = "held"
)

// answer is the end of a call to a provider. There is no error beside it: each
// way in which a call can end is a class.
type answer struct {
	class class
	// status is the HTTP status or SMTP code, 0 when no answer came.
	status int
	// messageID is what the provider calls the message.
	messageID string
	// retryAfter is how long the provider wants to be left alone, 0 if it did
	// not say.
	retryAfter time.Duration
	// reason is a code of ours; a provider's words may repeat an address.
	reason string
	// provider is who gave the answer, where there is a choice.
	provider string
}

// mailer and texter are the providers, the one edge of this service that other
// people's systems stand behind. A call must end before its context does, by
// itself; it is never repeated inside. Implementations are safe for concurrent
// use.
type mailer interface {
	Mail(ctx context.Context, m email) answer
}

type texter interface {
	Text(ctx context.Context, s sms) answer
}

// finder is a mailer or a texter that can be asked whether it has taken a message.
// It is asked before a message is sent again that it may have taken.
type finder[M any] interface {
	// Find ends as classFound, as classNotSent if the provider does not know of
	// the message, or as classLookupFailed. It was not sent before since.
	Find(ctx context.Context, message M, since time.Time) answer
}

const (
	// maxAnswer bounds what is read of a provider's answer: fifty SMS of the
	// longest kind.
	maxAnswer = 1 << 20
	// maxRetryAfter bounds what a provider can ask for; it is asked again then.
	maxRetryAfter = 15 * time.Minute
)

// newProviderClient returns the HTTP client of one provider: as many idle
// connections as there are workers (Go keeps two by default, and then dials for
// nearly each send), no redirects (they would carry contact points to where
// nobody configured), a span for each call.
//
// The span has the method, the host and the path. None holds a contact point; a
// query may, and is added below the span (see withQuery).
func newProviderClient(workers int, timeout time.Duration) *http.Client {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: timeout / 2, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: timeout / 2,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConns:        workers,
		MaxIdleConnsPerHost: workers,
		IdleConnTimeout:     30 * time.Second, // below what servers close at, which costs an unknown outcome,
		ForceAttemptHTTP2:   true,
	}
	return &http.Client{
		Transport:     otelhttp.NewTransport(queryTransport{transport}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       timeout,
	}
}

// queryTransport gives a request its query, out of sight of the tracing above it,
// which would put the whole address into a span.
type queryTransport struct{ below http.RoundTripper }

type queryKey struct{}

// withQuery returns a context whose request, which has no query, leaves with this
// one.
func withQuery(ctx context.Context, query string) context.Context {
	return context.WithValue(ctx, queryKey{}, query)
}

// RoundTrip sends a copy: a transport may not change what it is given.
func (t queryTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if query, ok := req.Context().Value(queryKey{}).(string); ok {
		req = req.Clone(req.Context())
		req.URL.RawQuery = query
	}
	return t.below.RoundTrip(req)
}

// ask sends a question about a message and reads the answer into told. Only
// classAccepted is an answer; everything else has become classLookupFailed.
func ask(client *http.Client, req *http.Request, told any) answer {
	_, body, result := call(client, req) //nolint:bodyclose // call has read and closed it
	switch {
	case result.class != classAccepted:
		result.class, result.reason = classLookupFailed, "LOOKUP_"+result.reason
	case json.Unmarshal(body, told) != nil:
		result.class, result.reason = classLookupFailed, reasonUnreadable
	}
	return result
}

// call sends a request and returns the head and the body of the answer. Without
// an answer, the class says whether the provider may have seen the request.
//
// net/http repeats a POST only when no byte of it was written. It would repeat one
// with an Idempotency-Key more freely: never set that header here.
func call(client *http.Client, req *http.Request) (*http.Response, []byte, answer) {
	// A request may have arrived from the moment it has a connection until its
	// writing is known to have failed, and then the provider lacks its end. The
	// time in between counts: on a time-out this goroutine goes on while the
	// transport's may still be writing. A repeat on a fresh connection starts over.
	var left atomic.Bool
	trace := &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { left.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) { left.Store(info.Err == nil) },
	}
	resp, err := client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		return nil, nil, unanswered(err, left.Load())
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		body = nil // the status line has said what matters
	}
	return resp, body, classify(resp)
}

// unanswered classifies a call that ended without a status.
func unanswered(err error, left bool) answer {
	var timeout net.Error
	switch {
	case !left, seeded.On(seeded.UnknownIsNotSent):
		return answer{class: classNotSent, reason: "UNREACHABLE"}
	case errors.As(err, &timeout) && timeout.Timeout():
		return answer{class: classUnknown, reason: "NO_ANSWER_IN_TIME"}
	default:
		return answer{class: classUnknown, reason: "CONNECTION_LOST"}
	}
}

// classify reads what the status says about the message.
//
// 500 and 503 are a provider's own word that it did not take it. 502 and 504
// come from something in front of it, which does not know.
func classify(resp *http.Response) answer {
	a := answer{status: resp.StatusCode, reason: fmt.Sprintf("HTTP_%d", resp.StatusCode)}
	switch code := resp.StatusCode; {
	case code >= 200 && code <= 299:
		a.class, a.reason = classAccepted, ""
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		a.class = classConfigFault
	case code == http.StatusTooManyRequests || code == http.StatusInternalServerError || code == http.StatusServiceUnavailable:
		a.class, a.retryAfter = classNotSent, retryAfter(resp.Header)
	case code == http.StatusBadRequest || code == http.StatusRequestEntityTooLarge || code == http.StatusUnprocessableEntity:
		a.class = classRefused
	case code == http.StatusBadGateway || code == http.StatusGatewayTimeout:
		a.class = classUnknown
	case code >= 500:
		a.class = classUnknown
	default:
		// A redirect, 404, 405, 410: this is not the address of the provider.
		a.class = classConfigFault
	}
	return a
}

// retryAfter reads how long to wait, as seconds or as a date. A date counts from
// the answer's own Date, so that neither clock needs to be right.
func retryAfter(header http.Header) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.Atoi(value); err == nil {
		return min(max(0, time.Duration(min(seconds, int(maxRetryAfter/time.Second)))*time.Second), maxRetryAfter)
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	from, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		from = time.Now()
	}
	return min(max(0, until.Sub(from)), maxRetryAfter)
}
