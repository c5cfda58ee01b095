package inbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	lookupKey   = "SG.key"
	lookupSID   = "AC1"
	lookupToken = "token"
)

func newLookupInbox(t *testing.T, messages ...Message) *Inbox {
	t.Helper()
	in, err := New(Config{StateDir: t.TempDir(), APIKey: lookupKey, TwilioSID: lookupSID, TwilioToken: lookupToken})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, m := range messages {
		if err := in.accept(m); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

// found is what a provider's client reads of an answer.
type found struct {
	Messages []struct {
		MsgID    string `json:"msg_id"`
		SID      string `json:"sid"`
		Body     string `json:"body"`
		Status   string `json:"status"`
		DateSent string `json:"date_sent"`
		URI      string `json:"uri"`
	} `json:"messages"`
	Next     string `json:"next_page_uri"`
	Previous string `json:"previous_page_uri"`
	Errors   []struct {
		Field string `json:"field"`
	} `json:"errors"`
	Code int `json:"code"`
}

// ids are the messages found, in order.
func (f found) ids() (list []string) {
	for _, m := range f.Messages {
		list = append(list, m.MsgID+m.SID)
	}
	return list
}

func lookUp(t *testing.T, in *Inbox, target string, authorize func(*http.Request)) (status int, answer found) {
	t.Helper()
	req := httptest.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, target, nil)
	authorize(req)
	w := httptest.NewRecorder()
	in.ServeHTTP(w, req)
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s: %v: %s", target, err, w.Body)
	}
	return w.Code, answer
}

func asSendGrid(req *http.Request) { req.Header.Set("Authorization", "Bearer "+lookupKey) }

func asTwilio(req *http.Request) { req.SetBasicAuth(lookupSID, lookupToken) }

func activity(query string) string { return "/v3/messages?limit=1&query=" + url.QueryEscape(query) }

func TestActivityFindsAMailByItsArgument(t *testing.T) {
	t.Parallel()
	mail := func(id, delivery string) Message {
		return Message{ID: id, Channel: Email, To: "a@example.org", Headers: map[string]string{"custom_args.delivery_id": delivery}}
	}
	in := newLookupInbox(t, mail("m1", "d1.EMAIL"), mail("m2", "d2.EMAIL"), mail("m3", "d2.EMAIL"),
		Message{ID: "SM1", Channel: SMS, Headers: map[string]string{"custom_args.delivery_id": "d1.EMAIL"}})
	for _, row := range []struct {
		target string
		want   []string
	}{
		{activity(`(unique_args['delivery_id']="d1.EMAIL")`), []string{"m1.inbox-0"}},
		{activity(`unique_args['delivery_id']="d1.EMAIL"`), []string{"m1.inbox-0"}},
		{activity(`(unique_args['delivery_id']="d2.EMAIL")`), []string{"m3.inbox-0"}},
		{strings.Replace(activity(`(unique_args['delivery_id']="d2.EMAIL")`), "limit=1&", "", 1), []string{"m3.inbox-0", "m2.inbox-0"}},
		{activity(`(unique_args['delivery_id']="d1")`), nil},
		{activity(`(unique_args['other']="d1.EMAIL")`), nil},
		{activity(`(unique_args['delivery_id']="")`), nil},
	} {
		status, answer := lookUp(t, in, row.target, asSendGrid)
		if got := answer.ids(); status != http.StatusOK || answer.Messages == nil || !slices.Equal(got, row.want) {
			t.Errorf("%s: %d %q, want %q", row.target, status, got, row.want)
		}
	}
}

func TestActivityRefuses(t *testing.T) {
	t.Parallel()
	in := newLookupInbox(t)
	good := activity(`(unique_args['delivery_id']="d")`)
	if status, _ := lookUp(t, in, good, func(*http.Request) {}); status != http.StatusUnauthorized {
		t.Errorf("without a key: %d", status)
	}
	if status, _ := lookUp(t, in, good, asTwilio); status != http.StatusUnauthorized {
		t.Errorf("with another's key: %d", status)
	}
	for target, field := range map[string]string{
		"/v3/messages":              "query",
		activity(`unique_args="d"`): "query", activity(`(unique_args['a']="b") AND status="delivered"`): "query",
		good + "&limit=2": "", // the first counts
		strings.Replace(good, "limit=1", "limit=0", 1): "limit", strings.Replace(good, "limit=1", "limit=1001", 1): "limit",
		strings.Replace(good, "limit=1", "limit=x", 1): "limit",
	} {
		status, answer := lookUp(t, in, target, asSendGrid)
		if field == "" {
			if status != http.StatusOK {
				t.Errorf("%s: %d", target, status)
			}
			continue
		}
		if status != http.StatusBadRequest || len(answer.Errors) != 1 || answer.Errors[0].Field != field {
			t.Errorf("%s: %d %+v, want 400 about %s", target, status, answer.Errors, field)
		}
	}
}

func TestMessagesAreFoundByNumberAndDay(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	text := func(id, to string, at time.Time) Message {
		return Message{ID: id, Channel: SMS, To: to, Text: "corps " + id, ReceivedAt: at}
	}
	in := newLookupInbox(t,
		text("SM1", "+33639980001", noon.Add(-24*time.Hour)), text("SM2", "+33639980002", noon),
		text("SM3", "+33639980001", noon), text("SM4", "+33639980001", noon.Add(time.Minute)), Message{ID: "m1", Channel: Email, To: "+33639980001"})
	const base = "/2010-04-01/Accounts/AC1/Messages.json"
	for query, want := range map[string][]string{
		"?To=%2B33639980001&DateSent%3E=2026-11-23&PageSize=50": {"SM4", "SM3"},
		"?To=%2B33639980001&DateSent%3E=2026-11-22":             {"SM4", "SM3", "SM1"},
		"?To=%2B33639980001&DateSent%3E=2026-11-24":             nil,
		"?To=%2B33639980001":                                    {"SM4", "SM3", "SM1"},
		"?To=%2B33639980003":                                    nil,
		"":                                                      {"SM4", "SM3", "SM2", "SM1"},
	} {
		status, answer := lookUp(t, in, base+query, asTwilio)
		if got := answer.ids(); status != http.StatusOK || answer.Messages == nil || !slices.Equal(got, want) {
			t.Errorf("%q: %d %q, want %q", query, status, got, want)
		}
	}
	_, answer := lookUp(t, in, base+"?To=%2B33639980002", asTwilio)
	got := answer.Messages[0]
	if got.Body != "corps SM2" || got.Status != "delivered" || got.DateSent != "Mon, 23 Nov 2026 12:00:00 +0000" ||
		got.URI != "/2010-04-01/Accounts/AC1/Messages/SM2.json" {
		t.Errorf("%+v", got)
	}
}

// Whoever follows the pages sees each message once.
func TestMessagesComeInPages(t *testing.T) {
	t.Parallel()
	in := newLookupInbox(t)
	for i := range 5 {
		if err := in.accept(Message{ID: fmt.Sprint("SM", i), Channel: SMS, To: "+33639980001"}); err != nil {
			t.Fatal(err)
		}
	}
	var pages []string
	for next := "/2010-04-01/Accounts/AC1/Messages.json?To=%2B33639980001&PageSize=2"; next != ""; {
		status, answer := lookUp(t, in, next, asTwilio)
		if status != http.StatusOK || len(pages) > 3 || (answer.Previous == "") != (len(pages) == 0) {
			t.Fatalf("%s: %d, after %d pages", next, status, len(pages))
		}
		pages, next = append(pages, strings.Join(answer.ids(), " ")), answer.Next
	}
	if want := []string{"SM4 SM3", "SM2 SM1", "SM0"}; !slices.Equal(pages, want) {
		t.Errorf("pages %q, want %q", pages, want)
	}
}

func TestMessagesRefuse(t *testing.T) {
	t.Parallel()
	in := newLookupInbox(t)
	const base = "/2010-04-01/Accounts/AC1/Messages.json"
	for _, row := range []struct {
		target    string
		authorize func(*http.Request)
		status    int
		code      int
	}{
		{base, func(*http.Request) {}, http.StatusUnauthorized, codeAuthenticate},
		{base, func(r *http.Request) { r.SetBasicAuth(lookupSID, "other") }, http.StatusUnauthorized, codeAuthenticate},
		{"/2010-04-01/Accounts/AC2/Messages.json", asTwilio, http.StatusUnauthorized, codeAuthenticate},
		{base + "?PageSize=0", asTwilio, http.StatusBadRequest, codeInvalidParameter},
		{base + "?PageSize=1001", asTwilio, http.StatusBadRequest, codeInvalidParameter},
		{base + "?PageSize=1000", asTwilio, http.StatusOK, 0},
		{base + "?Page=-1", asTwilio, http.StatusBadRequest, codeInvalidParameter},
		{base + "?Page=9", asTwilio, http.StatusOK, 0},
		{base + "?DateSent%3E=today", asTwilio, http.StatusBadRequest, codeInvalidParameter},
	} {
		status, answer := lookUp(t, in, row.target, row.authorize)
		if status != row.status || answer.Code != row.code {
			t.Errorf("%s: %d, code %d; want %d, code %d", row.target, status, answer.Code, row.status, row.code)
		}
	}
}

// What was accepted and never answered is found too: that is what it is for.
func TestHungAcceptanceIsFound(t *testing.T) {
	t.Parallel()
	in := newLookupInbox(t)
	in.faults[SMS] = &Fault{Channel: SMS, Mode: "accept-hang"}
	server := httptest.NewServer(in)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	changed := in.Changed()
	go func() {
		<-changed
		cancel()
	}()
	form := url.Values{"To": {"+33639980001"}, "From": {"+33639980000"}, "Body": {"bonjour"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/2010-04-01/Accounts/AC1/Messages.json", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	asTwilio(req)
	if resp, err := server.Client().Do(req); err == nil {
		resp.Body.Close()
		t.Fatalf("answered with %s", resp.Status)
	}
	_, answer := lookUp(t, in, "/2010-04-01/Accounts/AC1/Messages.json?To=%2B33639980001", asTwilio)
	if len(answer.Messages) != 1 || answer.Messages[0].Body != "bonjour" {
		t.Errorf("found %+v", answer.Messages)
	}
}
