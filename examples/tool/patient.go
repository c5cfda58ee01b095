package main

import (
	"net/http"
	"strconv"
	"time"
)

const (
	// attempts are how often one request is sent.
	attempts = 6
	// longest is the most that is waited between two, whatever the gateway says.
	longest = 30 * time.Second
)

// patient sends a request again when the gateway says that it is busy (503) or that the
// caller is too fast (429), after the time it names. Nothing is doubled by it: the gateway
// has done nothing when it answers so, and what writes carries its key.
type patient struct {
	next http.RoundTripper
}

// RoundTrip is http.RoundTripper's. The request's context bounds the waiting, too.
func (p *patient) RoundTrip(r *http.Request) (*http.Response, error) {
	for sent := 1; ; sent++ {
		attempt := r.Clone(r.Context())
		if r.GetBody != nil {
			body, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			attempt.Body = body
		}
		answer, err := p.next.RoundTrip(attempt)
		if err != nil || sent == attempts || r.Body != nil && r.GetBody == nil {
			return answer, err
		}
		wait, later := retryAfter(answer)
		if !later {
			return answer, nil
		}
		answer.Body.Close()
		timer := time.NewTimer(wait)
		select {
		case <-r.Context().Done():
			timer.Stop()
			return nil, r.Context().Err()
		case <-timer.C:
		}
	}
}

// retryAfter reports how long to wait before the same request may succeed.
func retryAfter(answer *http.Response) (time.Duration, bool) {
	if answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0, false
	}
	return min(time.Duration(seconds)*time.Second, longest), true
}
