package provider

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
)

const (
	// maxAnswer bounds what is read of a provider's answer: fifty SMS of the
	// longest kind.
	maxAnswer = 1 << 20
	// maxRetryAfter bounds what a provider can ask for; it is asked again then.
	maxRetryAfter = 15 * time.Minute
)

// newClient returns the HTTP client of one provider: as many idle
// connections as there are workers (Go keeps two by default, and then dials for
// nearly each send), no redirects (they would carry contact points to where
// nobody configured), a span for each call.
//
// The span has the method, the host and the path. None holds a contact point; a
// query may, and is added below the span (see withQuery).
func newClient(workers int, timeout time.Duration) *http.Client {
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

// ask sends a question about a message and reads the answer into a value. Only
// Accepted is an answer; everything else has become LookupFailed.
func ask(client *http.Client, req *http.Request, into any) Answer {
	_, body, result := call(client, req) //nolint:bodyclose // call has read and closed it
	switch {
	case result.Class != Accepted:
		result.Class, result.Reason = LookupFailed, "LOOKUP_"+result.Reason
	case json.Unmarshal(body, into) != nil:
		result.Class, result.Reason = LookupFailed, reasonUnreadable
	}
	return result
}

// call sends a request and returns the head and the body of the answer. Without
// an answer, the class says whether the provider may have seen the request.
//
// net/http repeats a POST only when no byte of it was written. It would repeat one
// with an Idempotency-Key more freely: never set that header here.
func call(client *http.Client, req *http.Request) (*http.Response, []byte, Answer) {
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
func unanswered(err error, left bool) Answer {
	var timeout net.Error
	switch {
	case !left:
		return Answer{Class: NotSent, Reason: "UNREACHABLE"}
	case errors.As(err, &timeout) && timeout.Timeout():
		return Answer{Class: Unknown, Reason: "NO_ANSWER_IN_TIME"}
	default:
		return Answer{Class: Unknown, Reason: "CONNECTION_LOST"}
	}
}

// classify reads what the status says about the message.
//
// 500 and 503 are a provider's own word that it did not take it. 502 and 504
// come from something in front of it, which does not know.
func classify(resp *http.Response) Answer {
	a := Answer{Status: resp.StatusCode, Reason: fmt.Sprintf("HTTP_%d", resp.StatusCode)}
	switch code := resp.StatusCode; {
	case code >= 200 && code <= 299:
		a.Class, a.Reason = Accepted, ""
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		a.Class = ConfigFault
	case code == http.StatusTooManyRequests || code == http.StatusInternalServerError || code == http.StatusServiceUnavailable:
		a.Class, a.RetryAfter = NotSent, retryAfter(resp.Header)
	case code == http.StatusBadRequest || code == http.StatusRequestEntityTooLarge || code == http.StatusUnprocessableEntity:
		a.Class = Refused
	case code == http.StatusBadGateway || code == http.StatusGatewayTimeout:
		a.Class = Unknown
	case code >= 500:
		a.Class = Unknown
	default:
		// A redirect, 404, 405, 410: this is not the address of the provider.
		a.Class = ConfigFault
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
