package inbox

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	sgmail "github.com/sendgrid/sendgrid-go/helpers/mail"
)

// letter is a mail as SendGrid's own builder writes it; what is empty is filled.
type letter struct {
	key, to, from, subject, text string
	// more changes the mail before it is sent.
	more func(*sgmail.SGMailV3)
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func (l letter) body() []byte {
	to := sgmail.NewPersonalization()
	to.AddTos(sgmail.NewEmail("", or(l.to, "jeanne@example.org")))
	to.SetCustomArg("delivery_id", "7.EMAIL")
	message := sgmail.NewV3Mail().
		SetFrom(sgmail.NewEmail("Ma messagerie", or(l.from, "ne-pas-repondre@example.org"))).
		AddPersonalizations(to).
		AddContent(sgmail.NewContent("text/plain", or(l.text, "Bonjour")), sgmail.NewContent("text/html", "<p>Bonjour</p>")).
		SetHeader("Auto-Submitted", "auto-generated")
	message.Subject = or(l.subject, "Accusé de réception")
	if l.more != nil {
		l.more(message)
	}
	return sgmail.GetRequestBody(message)
}

func (d *desk) mail(l letter) answer {
	d.t.Helper()
	return d.post(l.key, string(l.body()))
}

func (d *desk) post(key, body string) answer {
	d.t.Helper()
	req := d.request(http.MethodPost, "/v3/mail/send", body)
	req.Header.Set("Authorization", "Bearer "+or(key, account.APIKey))
	req.Header.Set("Content-Type", "application/json")
	return d.do(req)
}

// hanging is a mail that the caller can give up.
func (d *desk) hanging(chunked bool) (req *http.Request, giveUp context.CancelFunc) {
	d.t.Helper()
	ctx, giveUp := context.WithCancel(d.t.Context())
	req = d.request(http.MethodPost, "/v3/mail/send", string(letter{}.body())).WithContext(ctx)
	req.Header.Set("Authorization", "Bearer "+account.APIKey)
	if chunked {
		req.ContentLength, req.Body = -1, io.NopCloser(req.Body)
	}
	return req, giveUp
}

// awaitNoFault returns once the last fault has been met by a call.
func (d *desk) awaitNoFault() {
	d.t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		d.in.mu.Lock()
		left := len(d.in.faults)
		d.in.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-ticker.C:
		case <-d.t.Context().Done():
			d.t.Fatal("the fault was never met")
		}
	}
}

func form(to, body string) url.Values {
	return url.Values{"To": {to}, "From": {"+33600000000"}, "Body": {body}}
}

func (d *desk) text(values url.Values) answer {
	d.t.Helper()
	return d.textAs(account.TwilioSID, account.TwilioSID, account.TwilioToken, values)
}

func (d *desk) textAs(account, user, password string, values url.Values) answer {
	d.t.Helper()
	req := d.request(http.MethodPost, "/2010-04-01/Accounts/"+account+"/Messages.json", values.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(user, password)
	return d.do(req)
}

// code is the code of Twilio's error.
func code(a answer) int {
	var body struct {
		Code, Status int
		Message      string
	}
	if json.Unmarshal([]byte(a.body), &body) != nil || body.Status != a.status || body.Message == "" {
		return -1
	}
	return body.Code
}

func TestSendGridAccepts(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	began := time.Now()
	got := d.mail(letter{text: "Bonjour\nà vous", subject: "Accusé « de réception »", more: func(m *sgmail.SGMailV3) {
		m.SetHeader("X-Both", "mail's")
		m.Personalizations[0].SetHeader("X-Both", "recipient's")
		// Settings that the inbox has no use for are not a fault.
		m.SetTrackingSettings(sgmail.NewTrackingSettings().SetOpenTracking(sgmail.NewOpenTrackingSetting().SetEnable(false)))
	}})
	if got.status != http.StatusAccepted || got.body != "" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	kept := d.listed("")
	if len(kept) != 1 {
		t.Fatalf("kept: %v", kept)
	}
	m := kept[0]
	if m.ReceivedAt.Before(began) || m.ReceivedAt.After(time.Now()) {
		t.Errorf("received at %s", m.ReceivedAt)
	}
	if id := got.header.Get("X-Message-Id"); id == "" || id != m.ID {
		t.Errorf("X-Message-Id %q, kept as %q", id, m.ID)
	}
	want := Message{
		ID: m.ID, Channel: Email, Provider: "sendgrid", To: "jeanne@example.org", From: "ne-pas-repondre@example.org",
		Subject: "Accusé « de réception »", Text: "Bonjour\nà vous", HTML: "<p>Bonjour</p>", ReceivedAt: m.ReceivedAt,
		Headers: map[string]string{
			"From": "Ma messagerie <ne-pas-repondre@example.org>", "Auto-Submitted": "auto-generated",
			"X-Both": "recipient's", "custom_args.delivery_id": "7.EMAIL",
		},
	}
	if encode(t, m) != encode(t, want) {
		t.Errorf("kept %+v,\nwant %+v", m, want)
	}
}

func TestSendGridRefuses(t *testing.T) {
	t.Parallel()
	contents := func(parts ...*sgmail.Content) func(*sgmail.SGMailV3) {
		return func(m *sgmail.SGMailV3) { m.Content = parts }
	}
	d, _ := open(t, t.TempDir())
	for name, row := range map[string]struct {
		letter letter
		status int
		field  string
	}{
		"another key":      {letter{key: "SG.other"}, 401, ""},
		"key and more":     {letter{key: account.APIKey + "x"}, 401, ""},
		"no such address":  {letter{to: "jeanne"}, 400, "personalizations.0.to.0.email"},
		"a named address":  {letter{to: "Jeanne <jeanne@example.org>"}, 400, "personalizations.0.to.0.email"},
		"two addresses":    {letter{to: "jeanne@example.org, marc@example.org"}, 400, "personalizations.0.to.0.email"},
		"no sender":        {letter{from: "messagerie"}, 400, "from.email"},
		"a blank subject":  {letter{subject: " "}, 400, "subject"},
		"a broken subject": {letter{subject: "a\r\nBcc: b@example.org"}, 400, "subject"},
		"two recipients": {letter{more: func(m *sgmail.SGMailV3) {
			m.Personalizations[0].AddTos(sgmail.NewEmail("", "marc@example.org"))
		}}, 400, "personalizations"},
		"two personalizations": {letter{more: func(m *sgmail.SGMailV3) {
			m.AddPersonalizations(m.Personalizations[0])
		}}, 400, "personalizations"},
		"nobody":        {letter{more: func(m *sgmail.SGMailV3) { m.Personalizations = nil }}, 400, "personalizations"},
		"no content":    {letter{more: contents()}, 400, "content"},
		"empty content": {letter{more: contents(sgmail.NewContent("text/plain", ""))}, 400, "content"},
		"HTML first": {letter{more: contents(
			sgmail.NewContent("text/html", "<p>a</p>"), sgmail.NewContent("text/plain", "a"))}, 400, "content"},
		"another type": {letter{more: contents(sgmail.NewContent("text/calendar", "a"))}, 400, "content"},
	} {
		got := d.mail(row.letter)
		field, message := got.fault()
		if got.status != row.status || field != row.field || message == "" {
			t.Errorf("%s: %d %s, want %d for %q", name, got.status, got.body, row.status, row.field)
		}
	}
	for _, body := range []string{"", "[]", "{", `{"subject":1}`, string(letter{}.body()) + "}"} {
		if got := d.post("", body); got.status != http.StatusBadRequest {
			t.Errorf("%q: %d %s", body, got.status, got.body)
		}
	}
	if got := d.in.Messages(); len(got) != 0 {
		t.Errorf("kept %v", got)
	}
}

// One part alone is a mail too.
func TestSendGridTakesOnePart(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	for _, kind := range []string{"text/plain", "text/html"} {
		got := d.mail(letter{more: func(m *sgmail.SGMailV3) { m.Content = []*sgmail.Content{sgmail.NewContent(kind, "a")} }})
		if got.status != http.StatusAccepted {
			t.Errorf("%s: %d %s", kind, got.status, got.body)
		}
	}
	if got := d.in.Messages(); len(got) != 2 || got[0].Text+got[0].HTML != "a" || got[0].Text != got[1].HTML {
		t.Errorf("kept %+v", got)
	}
}

func TestTwilioAccepts(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	values := form("+33639980001", strings.Repeat("é", 160)+"!")
	values.Set("StatusCallback", "https://example.org/reports/7.SMS")
	got := d.text(values)
	if got.status != http.StatusCreated || got.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	var resource map[string]any
	if err := json.Unmarshal([]byte(got.body), &resource); err != nil {
		t.Fatal(err)
	}
	kept := d.listed("")
	if len(kept) != 1 {
		t.Fatalf("kept: %v", kept)
	}
	for name, want := range map[string]any{
		"sid": kept[0].ID, "account_sid": "AC123", "to": "+33639980001", "from": "+33600000000",
		"body": values.Get("Body"), "status": "queued", "num_segments": "2", "error_code": nil,
	} {
		if resource[name] != want {
			t.Errorf("%s: %v, want %v", name, resource[name], want)
		}
	}
	want := Message{
		ID: kept[0].ID, Channel: SMS, Provider: "twilio", To: "+33639980001", From: "+33600000000",
		Text: values.Get("Body"), Headers: map[string]string{"StatusCallback": "https://example.org/reports/7.SMS"}, ReceivedAt: kept[0].ReceivedAt,
	}
	if encode(t, kept[0]) != encode(t, want) || !strings.HasPrefix(kept[0].ID, "SM") || len(kept[0].ID) != 34 {
		t.Errorf("kept %+v,\nwant %+v", kept[0], want)
	}
}

// A sender chosen by the service stands for a From.
func TestTwilioTakesAMessagingService(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	got := d.text(url.Values{"To": {"+33639980001"}, "MessagingServiceSid": {"MG1"}, "Body": {strings.Repeat("ç", 1600)}})
	if got.status != http.StatusCreated {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if kept := d.in.Messages(); len(kept) != 1 || kept[0].Headers["MessagingServiceSid"] != "MG1" {
		t.Errorf("kept %+v", kept)
	}
}

func TestTwilioRefuses(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	noFrom := form("+33639980001", "a")
	noFrom.Del("From")
	for name, row := range map[string]struct {
		values       url.Values
		status, code int
	}{
		"national":    {form("0639980001", "a"), 400, 21211},
		"nobody":      {form("", "a"), 400, 21211},
		"too short":   {form("+123456", "a"), 400, 21211},
		"too long":    {form("+1234567890123456", "a"), 400, 21211},
		"zero first":  {form("+0639980001", "a"), 400, 21211},
		"spaces":      {form("+33 6 39 98 00 01", "a"), 400, 21211},
		"two numbers": {form("+33639980001\n+33639980002", "a"), 400, 21211},
		"no body":     {form("+33639980001", ""), 400, 21602},
		"long body":   {form("+33639980001", strings.Repeat("é", 1601)), 400, 21617},
		"no sender":   {noFrom, 400, 21603},
	} {
		if got := d.text(row.values); got.status != row.status || code(got) != row.code {
			t.Errorf("%s: %d %s, want %d %d", name, got.status, got.body, row.status, row.code)
		}
	}
	for name, who := range map[string][3]string{
		"another token":   {"AC123", "AC123", "other"},
		"another user":    {"AC123", "AC999", "secret"},
		"another account": {"AC999", "AC123", "secret"},
		"nobody":          {"AC123", "", ""},
	} {
		got := d.textAs(who[0], who[1], who[2], form("+33639980001", "a"))
		if got.status != http.StatusUnauthorized || code(got) != 20003 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := d.in.Messages(); len(got) != 0 {
		t.Errorf("kept %v", got)
	}
}

// Faults of the SMS provider carry its codes, and what hangs is kept or not.
func TestTwilioFaults(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]int{"refuse": 21211, "throttle": 20429, "error": 20500} {
		d, _ := open(t, t.TempDir())
		d.setFault(`{"channel":"SMS","mode":"` + mode + `","count":1}`)
		if got := d.text(form("+33639980001", "a")); code(got) != want {
			t.Errorf("%s: %d %s", mode, got.status, got.body)
		}
		if got := d.in.Messages(); len(got) != 0 {
			t.Errorf("%s: kept %v", mode, got)
		}
	}
}
