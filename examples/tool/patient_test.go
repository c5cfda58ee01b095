package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/examples/tool/api"
)

// answering serves one status after the other, the last for ever, and notes each body.
func answering(t *testing.T, retryAfter string, statuses ...int) (*httptest.Server, *[]string) {
	t.Helper()
	bodies := new([]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*bodies = append(*bodies, string(body))
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(statuses[min(len(*bodies), len(statuses))-1])
	}))
	t.Cleanup(server.Close)
	return server, bodies
}

func post(ctx context.Context, address string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("text"))
	if err != nil {
		return 0, err
	}
	// Not the transport of all: a server that is closed beside this test closes the idle
	// connections of that one.
	answer, err := (&http.Client{Transport: &patient{next: &http.Transport{DisableKeepAlives: true}}}).Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return answer.StatusCode, nil
}

func TestPatient(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		retryAfter string
		statuses   []int
		want, sent int
	}{
		"at once":        {"0", []int{200}, 200, 1},
		"too fast":       {"0", []int{429, 429, 200}, 200, 3},
		"busy":           {"0", []int{503, 200}, 200, 2},
		"for ever":       {"0", []int{503}, 503, attempts},
		"no time named":  {"", []int{503, 200}, 503, 1},
		"a date":         {"Fri, 27 Nov 2026 12:00:00 GMT", []int{429, 200}, 429, 1},
		"another status": {"0", []int{409, 200}, 409, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, bodies := answering(t, row.retryAfter, row.statuses...)
			status, err := post(t.Context(), server.URL)
			if err != nil || status != row.want || len(*bodies) != row.sent {
				t.Errorf("%d after %d, %v; want %d after %d", status, len(*bodies), err, row.want, row.sent)
			}
			for _, body := range *bodies {
				if body != "text" {
					t.Errorf("sent %q", body)
				}
			}
		})
	}
}

func TestPatient_StopsWithItsCaller(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "86400")
		w.WriteHeader(http.StatusServiceUnavailable)
		cancel()
	}))
	defer server.Close()
	if _, err := post(ctx, server.URL); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What the gateway names is believed within bounds.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for named, want := range map[string]time.Duration{"0": 0, "29": 29 * time.Second, "30": longest, "31": longest, "86400": longest} {
		answer := &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {named}}}
		if wait, later := retryAfter(answer); wait != want || !later {
			t.Errorf("%s: %s, %t, want %s", named, wait, later, want)
		}
	}
}

// A reply's key is made of the member's last message, not of the fund's.
func TestLastOfMember(t *testing.T) {
	t.Parallel()
	messages := []api.MessagerieMessagingV1Message{{Id: "first", Author: api.MessagerieMessagingV1AuthorMEMBER}, {Id: "second", Author: api.MessagerieMessagingV1AuthorMEMBER}, {Id: "reply", Author: api.MessagerieMessagingV1AuthorAGENT}}
	if got := lastOfMember(messages); got != "second" {
		t.Errorf("got %q", got)
	}
}
