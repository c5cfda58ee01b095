package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// postman signs reports as the providers do.
type postman struct {
	*Server
	pool *pgxpool.Pool
	key  *ecdsa.PrivateKey
}

func newPostman(t *testing.T) *postman {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l, pool := ledgerAndPool(t)
	hooks, err := New(l, "", provider.Twilio{AccountSID: "AC0", AuthToken: "tw-token", StatusCallback: "https://gw.example.org/webhooks/twilio/"}, 25*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	hooks.sendGridKey = &key.PublicKey
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		hooks.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return &postman{key: key, Server: hooks, pool: pool}
}

func (p *postman) sign(t *testing.T, body string, age time.Duration) *notifierpb.ReportSendGridRequest {
	t.Helper()
	at := strconv.FormatInt(time.Now().Add(-age).Unix(), 10)
	digest := sha256.Sum256([]byte(at + body))
	signature, err := ecdsa.SignASN1(rand.Reader, p.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return &notifierpb.ReportSendGridRequest{Body: []byte(body), Timestamp: at, Signature: base64.StdEncoding.EncodeToString(signature)}
}

func (p *postman) mail(t *testing.T, event uuid.UUID, kind, id string) error {
	t.Helper()
	body := fmt.Sprintf(`[{"email":"canary.x@example.org","event":%q,"sg_event_id":%q,"sg_message_id":"m-1","delivery_id":"%s.EMAIL","timestamp":1}]`, kind, id, event)
	_, err := p.ReportSendGrid(t.Context(), p.sign(t, body, 0))
	return err
}

func (p *postman) signText(deliveryID string, form url.Values) *notifierpb.ReportTwilioRequest {
	text := "https://gw.example.org/webhooks/twilio/" + deliveryID
	for _, key := range slices.Sorted(maps.Keys(form)) {
		text += key + form.Get(key)
	}
	mac := hmac.New(sha1.New, []byte("tw-token"))
	mac.Write([]byte(text))
	return &notifierpb.ReportTwilioRequest{
		DeliveryId: deliveryID, Body: []byte(form.Encode()), Signature: base64.StdEncoding.EncodeToString(mac.Sum(nil)),
	}
}

func textForm(status string) url.Values {
	return url.Values{"AccountSid": {"AC0"}, "MessageSid": {"SM1"}, "MessageStatus": {status}, "To": {"+33639980001"}}
}

// sent plans deliveries and has them accepted.
func sent(t *testing.T, l *ledger.Ledger, channels ...ledger.Channel) uuid.UUID {
	t.Helper()
	plans := planOf(channels...)
	notifiertest.Plan(t, l, plans)
	for _, channel := range channels {
		notifiertest.Record(t, l, ledger.Settle(notifiertest.Claim(t, l, channel, 1)[0], "p", provider.Answer{Class: provider.Accepted, MessageID: "m-0"}, ledger.Doubts{Wait: 0, Blind: true}))
	}
	return plans[0].EventID
}

// Whatever the order in which reports come, and however often each does, a
// delivery ends in the furthest state that any of them says.
func TestReportsGoForwardInAnyOrder(t *testing.T) {
	t.Parallel()
	p := newPostman(t)
	rows := []struct {
		kinds  string
		state  ledger.State
		reason string
	}{
		{"processed", ledger.Accepted, ""},
		{"processed delivered", ledger.Delivered, ""},
		{"delivered processed delivered", ledger.Delivered, ""},
		{"delivered bounce", ledger.Bounced, "SENDGRID_BOUNCE"},
		{"bounce delivered", ledger.Bounced, "SENDGRID_BOUNCE"},
		{"dropped", ledger.Bounced, "SENDGRID_DROPPED"},
		{"deferred", ledger.Accepted, ""},
		{"delivered spamreport", ledger.Complained, "SENDGRID_SPAMREPORT"},
		{"spamreport bounce processed", ledger.Complained, "SENDGRID_SPAMREPORT"},
		{"open click", ledger.Accepted, ""},
	}
	for _, row := range rows {
		event := sent(t, p.ledger, ledger.Email)
		for i, kind := range strings.Fields(row.kinds) {
			if err := p.mail(t, event, kind, fmt.Sprintf("%s-%d", event, i)); err != nil {
				t.Fatal(err)
			}
		}
		if got := look(t, p.pool, event, ledger.Email); got.State != row.state || got.Reason != row.reason {
			t.Errorf("%s: %s %s, want %s %s", row.kinds, got.State, got.Reason, row.state, row.reason)
		}
	}
}

// A report proves that the provider has the delivery, wherever the ledger thinks
// that it stands.
func TestAReportEndsEveryDoubt(t *testing.T) {
	t.Parallel()
	p := newPostman(t)
	l := p.ledger
	rows := map[string]func(d ledger.Delivery){
		"being sent": func(ledger.Delivery) {},
		"in doubt": func(d ledger.Delivery) {
			notifiertest.Record(t, l, ledger.Settle(d, "p", provider.Answer{Class: provider.Unknown}, ledger.Doubts{Wait: time.Minute, Blind: true}))
		},
		"lapsed": func(ledger.Delivery) { notifiertest.Lapse(t, p.pool); notifiertest.Sweep(t, l) },
		"to be sent": func(d ledger.Delivery) {
			notifiertest.Record(t, l, ledger.Settle(d, "p", provider.Answer{Class: provider.NotSent}, ledger.Doubts{Wait: time.Minute, Blind: true}))
		},
		"expired": func(d ledger.Delivery) {
			notifiertest.Record(t, l, ledger.Settle(d, "p", provider.Answer{Class: provider.Unknown}, ledger.Doubts{Wait: time.Minute, Blind: true}))
			notifiertest.Exec(t, p.pool, `UPDATE delivery SET expires_at = now() - interval '1 minute', next_attempt_at = now() - interval '1 minute' WHERE event_id = $1`, d.EventID)
			notifiertest.Sweep(t, l)
		},
	}
	for name, bring := range rows {
		plans := planOf(ledger.Email)
		notifiertest.Plan(t, l, plans)
		d := notifiertest.Claim(t, l, ledger.Email, 1)[0]
		bring(d)
		if err := p.mail(t, d.EventID, "processed", uuid.NewString()); err != nil {
			t.Fatal(err)
		}
		if got := look(t, p.pool, d.EventID, ledger.Email); got.State != ledger.Accepted {
			t.Errorf("%s: is %s", name, got.State)
		}
		// What the sender then says about its call changes nothing any more.
		notifiertest.Record(t, l, ledger.Settle(d, "p", provider.Answer{Class: provider.Unknown, Reason: "NO_ANSWER_IN_TIME"}, ledger.Doubts{Wait: time.Minute, Blind: true}))
		if got := look(t, p.pool, d.EventID, ledger.Email); got.State != ledger.Accepted || got.Reason != "" {
			t.Errorf("%s: the sender's doubt made it %s %s", name, got.State, got.Reason)
		}
	}
	notifiertest.Due(t, p.pool)
	if again, err := l.Claim(t.Context(), ledger.Email, 10, time.Minute); err != nil || len(again) != 0 {
		t.Errorf("%d deliveries are sent again: %v", len(again), err)
	}
}

// TestForgedStaleAndRepeatedReports: none has an effect.
func TestForgedStaleAndRepeatedReports(t *testing.T) {
	t.Parallel()
	p := newPostman(t)
	event := sent(t, p.ledger, ledger.Email, ledger.SMS)
	body := fmt.Sprintf(`[{"event":"bounce","sg_event_id":"b","delivery_id":"%s.EMAIL"}]`, event)
	good := p.sign(t, body, 0)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(good.GetTimestamp() + body))
	theirs, err := ecdsa.SignASN1(rand.Reader, stranger, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*notifierpb.ReportSendGridRequest)) *notifierpb.ReportSendGridRequest {
		changed := p.sign(t, body, 0)
		change(changed)
		return changed
	}
	mails := map[string]struct {
		req    *notifierpb.ReportSendGridRequest
		reason error
	}{
		"no signature":       {with(func(r *notifierpb.ReportSendGridRequest) { r.Signature = "" }), errReportForged},
		"no base64":          {with(func(r *notifierpb.ReportSendGridRequest) { r.Signature = "!" }), errReportForged},
		"another key":        {&notifierpb.ReportSendGridRequest{Body: good.GetBody(), Timestamp: good.GetTimestamp(), Signature: base64.StdEncoding.EncodeToString(theirs)}, errReportForged},
		"another body":       {with(func(r *notifierpb.ReportSendGridRequest) { r.Body = append(r.Body, ' ') }), errReportForged},
		"another time":       {with(func(r *notifierpb.ReportSendGridRequest) { r.Timestamp += "0" }), errReportForged},
		"26 hours old":       {p.sign(t, body, 26*time.Hour), errReportStale},
		"from the future":    {p.sign(t, body, -10*time.Minute), errReportStale},
		"signed, unreadable": {p.sign(t, `{"event":`, 0), errReportMalformed},
	}
	for name, row := range mails {
		if _, err := p.ReportSendGrid(t.Context(), row.req); !equalRefusal(err, row.reason) {
			t.Errorf("%s: %v, want %v", name, err, row.reason)
		}
	}
	texts := map[string]struct {
		req    *notifierpb.ReportTwilioRequest
		reason error
	}{
		"no signature":     {&notifierpb.ReportTwilioRequest{DeliveryId: event.String() + ".SMS", Body: []byte(textForm("failed").Encode())}, errReportForged},
		"another delivery": {&notifierpb.ReportTwilioRequest{DeliveryId: event.String() + ".SMS", Body: []byte(textForm("failed").Encode()), Signature: p.signText(uuid.NewString()+".SMS", textForm("failed")).GetSignature()}, errReportForged},
		"another status":   {&notifierpb.ReportTwilioRequest{DeliveryId: event.String() + ".SMS", Body: []byte(textForm("failed").Encode()), Signature: p.signText(event.String()+".SMS", textForm("sent")).GetSignature()}, errReportForged},
		"another account":  {p.signText(event.String()+".SMS", url.Values{"AccountSid": {"AC1"}, "MessageSid": {"SM1"}, "MessageStatus": {"failed"}}), errReportForged},
		"a value twice":    {p.signText(event.String()+".SMS", url.Values{"AccountSid": {"AC0"}, "MessageSid": {"SM1"}, "MessageStatus": {"failed", "sent"}}), errReportMalformed},
	}
	for name, row := range texts {
		if _, err := p.ReportTwilio(t.Context(), row.req); !equalRefusal(err, row.reason) {
			t.Errorf("SMS, %s: %v, want %v", name, err, row.reason)
		}
	}
	for _, channel := range ledger.Channels {
		if got := look(t, p.pool, event, channel); got.State != ledger.Accepted {
			t.Errorf("%s is %s by a report that was refused", channel, got.State)
		}
	}
	// Repeated: the second has no effect, even if the row was changed since.
	for range 3 {
		if _, err := p.ReportSendGrid(t.Context(), good); err != nil {
			t.Fatal(err)
		}
	}
	notifiertest.Exec(t, p.pool, `UPDATE delivery SET state = 'accepted' WHERE event_id = $1`, event)
	if _, err := p.ReportSendGrid(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if got := look(t, p.pool, event, ledger.Email); got.State != ledger.Accepted {
		t.Errorf("a repeated report had an effect: %s", got.State)
	}
	for _, result := range []string{"forged", "stale", "repeated"} {
		if n, _ := notifiertest.Counted(t, "messagerie.notifier.reports", "provider", "sendgrid", "result", result); n == 0 {
			t.Errorf("no figure of %s reports", result)
		}
	}
}

func equalRefusal(got, want error) bool {
	return status.Code(got) == status.Code(want) && got != nil && strings.Contains(got.Error(), want.Error())
}

func TestTextReports(t *testing.T) {
	t.Parallel()
	p := newPostman(t)
	rows := []struct {
		statuses string
		code     string
		state    ledger.State
		reason   string
	}{
		{"queued sent", "", ledger.Accepted, ""},
		{"sent delivered", "", ledger.Delivered, ""},
		{"delivered sent", "", ledger.Delivered, ""},
		{"undelivered", "30003", ledger.Bounced, "TWILIO_30003"},
		{"failed", "", ledger.Bounced, "TWILIO_failed"},
		{"invented", "", ledger.Accepted, ""},
	}
	for _, row := range rows {
		event := sent(t, p.ledger, ledger.SMS)
		for _, status := range strings.Fields(row.statuses) {
			form := textForm(status)
			form.Set("MessageSid", "SM"+event.String())
			if row.code != "" {
				form.Set("ErrorCode", row.code)
			}
			for range 2 {
				if _, err := p.ReportTwilio(t.Context(), p.signText(event.String()+".SMS", form)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := look(t, p.pool, event, ledger.SMS); got.State != row.state || got.Reason != row.reason {
			t.Errorf("%s: %s %s, want %s %s", row.statuses, got.State, got.Reason, row.state, row.reason)
		}
	}
}

// Reports about other systems' mails of the same account, and about deliveries
// that the ledger lost, are taken and change nothing.
func TestReportsAboutNothingOfOurs(t *testing.T) {
	t.Parallel()
	p := newPostman(t)
	for _, body := range []string{
		`[]`, `[{"event":"delivered","sg_event_id":"1"}]`, `[{"event":"delivered","sg_event_id":"1","delivery_id":"nonsense"}]`,
		`[{"event":"delivered","sg_event_id":"2","delivery_id":"` + uuid.NewString() + `.EMAIL"}]`,
		`[{"event":"delivered","sg_event_id":"3","delivery_id":"` + uuid.NewString() + `.FAX"}]`,
	} {
		if _, err := p.ReportSendGrid(t.Context(), p.sign(t, body, 0)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	off := &Server{ledger: p.ledger, counts: p.counts}
	if _, err := off.ReportSendGrid(t.Context(), p.sign(t, `[]`, 0)); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("not configured: %v", err)
	}
	if _, err := off.ReportTwilio(t.Context(), p.signText("e.SMS", textForm("sent"))); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("not configured: %v", err)
	}
}

// Calls that wait are stored together, and each gets its own answer; a call that
// comes after the end is told to come again.
func TestReportsShareATransaction(t *testing.T) {
	t.Parallel()
	p := newPostman(t)
	idle, err := New(p.ledger, "", p.twilio, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const calls = 50
	var events []uuid.UUID
	var answers []func() (struct{}, error)
	for range calls {
		event := sent(t, p.ledger, ledger.SMS)
		report := ledger.Report{Provider: "p", ReportID: event.String(), EventID: event, Channel: ledger.SMS, State: ledger.Delivered}
		await, err := idle.reports[provider.NameTwilio].Enqueue(t.Context(), filing{[]ledger.Report{report}, trace.SpanFromContext(t.Context())})
		if err != nil {
			t.Fatal(err)
		}
		events, answers = append(events, event), append(answers, await)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		idle.Run(ctx)
	}()
	for _, await := range answers {
		if _, err := await(); err != nil {
			t.Error(err)
		}
	}
	end()
	<-ended
	var transactions, stored int
	if err := p.pool.QueryRow(t.Context(), `SELECT count(DISTINCT xmin::text), count(*) FROM report`).Scan(&transactions, &stored); err != nil {
		t.Fatal(err)
	}
	if transactions != 1 || stored != calls {
		t.Errorf("%d reports in %d transactions, want %d in 1", stored, transactions, calls)
	}
	if _, err := idle.ReportTwilio(t.Context(), p.signText(events[0].String()+".SMS", textForm("read"))); status.Code(err) != codes.Unavailable {
		t.Errorf("after the end: %v", err)
	}
}

func TestWebhookKeys(t *testing.T) {
	t.Parallel()
	other, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []any{&other.PublicKey, &wide.PublicKey} {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseKey(base64.StdEncoding.EncodeToString(der)); err == nil {
			t.Errorf("a %T was taken", key)
		}
	}
	if _, err := ParseKey("%"); err == nil {
		t.Error("no base64 was taken")
	}
}

// The trace that began with somebody's click ends with the provider's report, once.
func TestAReportIsInItsDeliverysTrace(t *testing.T) {
	t.Parallel()
	p := newPostman(t)
	plans := planOf(ledger.Email)
	id := uuid.New()
	plans[0].TraceContext = fmt.Sprintf("00-%x-00f067aa0ba902b7-01", id[:])
	notifiertest.Plan(t, p.ledger, plans)
	ctx, call := otel.Tracer(scope).Start(t.Context(), "webhook")
	body := fmt.Sprintf(`[{"sg_event_id":"%[1]s-1","event":"processed","delivery_id":"%[1]s.EMAIL"},{"sg_event_id":"%[1]s-2","event":"delivered","delivery_id":"%[1]s.EMAIL"}]`, plans[0].EventID)
	for range 2 {
		if _, err := p.ReportSendGrid(ctx, p.sign(t, body, 0)); err != nil {
			t.Fatal(err)
		}
	}
	call.End()
	var reports, linked int
	for _, span := range notifiertest.Spans() {
		switch {
		case span.SpanContext.TraceID() == trace.TraceID(id):
			reports++
			if span.Parent.SpanID().String() != "00f067aa0ba902b7" || len(span.Links) != 1 || span.Links[0].SpanContext.SpanID() != call.SpanContext().SpanID() {
				t.Errorf("%s: parent %s, links %v", span.Name, span.Parent.SpanID(), span.Links)
			}
		case span.SpanContext.SpanID() == call.SpanContext().SpanID():
			linked = len(span.Links)
			if linked == 1 && span.Links[0].SpanContext.TraceID() != trace.TraceID(id) {
				t.Errorf("the call is linked to %s", span.Links[0].SpanContext.TraceID())
			}
		}
	}
	if reports != 1 || linked != 1 {
		t.Errorf("%d spans of reports and %d links of the call, want one of each", reports, linked)
	}
}

// A report that no table takes fails alone, however often its provider repeats it.
func TestBadReportFailsAlone(t *testing.T) {
	t.Parallel()
	p := newPostman(t)
	idle, err := New(p.ledger, "", p.twilio, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const calls = 8
	refused := make([]error, calls)
	var answered, running sync.WaitGroup
	for i := range calls {
		id, form := sent(t, p.ledger, ledger.SMS).String()+".SMS", textForm("delivered")
		form.Set("MessageSid", fmt.Sprint("SM", i))
		if i == 3 {
			form.Set("MessageSid", "SM\x00")
		}
		answered.Go(func() { _, refused[i] = idle.ReportTwilio(context.WithoutCancel(t.Context()), p.signText(id, form)) })
	}
	notifiertest.Eventually(t, "all wait", func() bool { return idle.reports[provider.NameTwilio].Waiting() == calls })
	ctx, end := context.WithCancel(t.Context())
	running.Go(func() { idle.Run(ctx) })
	answered.Wait()
	end()
	running.Wait()
	for i, err := range refused {
		if (err != nil) != (i == 3) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

// What a report may name is bounded: the ledger keeps it as long as the report.
func TestReportsAreBounded(t *testing.T) {
	t.Parallel()
	name, delivery := strings.Repeat("x", 200), uuid.NewString()
	for _, row := range []struct {
		id, message string
		taken       bool
	}{
		{name, name, true}, {name + "x", "", false}, {"1", name + "x", false}, {"", name, false},
	} {
		e := sendGridEvent{ID: row.id, MessageID: row.message, Kind: "delivered", DeliveryID: delivery + ".EMAIL"}
		if _, taken := e.report(); taken != row.taken {
			t.Errorf("ids of %d and %d characters: taken %t", len(row.id), len(row.message), taken)
		}
	}
	for sid, want := range map[string]bool{"": false, name[:64]: true, name[:65]: false} {
		if _, taken := twilioReport(delivery+".SMS", map[string]string{"MessageStatus": "sent", "MessageSid": sid}); taken != want {
			t.Errorf("a sid of %d characters: taken %t", len(sid), taken)
		}
	}
}
