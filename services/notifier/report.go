package notifier

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	twilioclient "github.com/twilio/twilio-go/client"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// webhooks is WebhookService: what the providers report about deliveries that
// they took.
//
// What is promised: a report changes something only if the provider signed it and
// it is not older than maxAge, and it does so once, however often it comes and in
// whatever order. It is answered with success after it is stored.
//
// How: SendGrid signs time and body (ECDSA); the time is held against the
// database's clock; each event has an id. Twilio signs its callback's address,
// which ends in the delivery's id, and all values (HMAC-SHA1). It signs no time:
// what protects against a repeated callback is that (message, status) is stored
// once, and that states only go forward.
type webhooks struct {
	notifierpb.UnimplementedWebhookServiceServer
	ledger *ledger.Ledger
	counts *instruments
	// reports stores what calls bring, by provider: those that come while a transaction is
	// under way share the next.
	reports map[string]*batch.Group[filing, struct{}]

	// sendGridKey is nil where SendGrid's reports are not taken.
	sendGridKey *ecdsa.PublicKey
	twilio      provider.Twilio
	maxAge      time.Duration
}

// Refusals of reports. They say nothing that would help in making a better
// forgery.
var (
	errReportForged    = rpc.Refuse(codes.PermissionDenied, errorpb.ErrorReason_REPORT_NOT_SIGNED, "the signature does not verify")
	errReportStale     = rpc.Refuse(codes.PermissionDenied, errorpb.ErrorReason_REPORT_STALE, "the report is too old, or from the future")
	errReportMalformed = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_REPORT_MALFORMED, "the report cannot be read")
	errNoWebhook       = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_WEBHOOK_NOT_CONFIGURED, "reports of this provider are not taken")
)

// Results of reports, as the metric has them.
const (
	reportApplied   = "applied"   // moved a delivery
	reportNothing   = "no_change" // stored; the delivery was further already
	reportRepeated  = "repeated"
	reportForged    = "forged"
	reportStale     = "stale"
	reportUnmatched = "unmatched" // no such delivery in the ledger
	reportIgnored   = "ignored"   // about nothing of ours, or nothing of use
)

// parseWebhookKey reads the key as SendGrid shows it: DER in base64.
func parseWebhookKey(text string) (*ecdsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not base64")
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("is not a public key")
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("is not an ECDSA key on P-256")
	}
	return key, nil
}

// ReportSendGrid takes one call of SendGrid's event webhook.
func (w *webhooks) ReportSendGrid(ctx context.Context, req *notifierpb.ReportSendGridRequest) (*notifierpb.ReportSendGridResponse, error) {
	if w.sendGridKey == nil {
		return nil, errNoWebhook
	}
	if !signedBySendGrid(w.sendGridKey, req) {
		w.counts.report(ctx, provider.NameSendGrid, reportForged, 1)
		return nil, errReportForged
	}
	at, err := strconv.ParseInt(req.GetTimestamp(), 10, 64)
	if err != nil {
		return nil, errReportMalformed.Because(err)
	}
	fresh, err := w.ledger.Fresh(ctx, at, w.maxAge)
	if err != nil {
		return nil, statusOf(err)
	}
	if !fresh {
		w.counts.report(ctx, provider.NameSendGrid, reportStale, 1)
		return nil, errReportStale
	}
	var events []sendGridEvent
	if err := json.Unmarshal(req.GetBody(), &events); err != nil {
		// Its text would repeat what was in the body.
		return nil, errReportMalformed
	}
	var reports []ledger.Report
	for _, e := range events {
		if r, ok := e.report(); ok {
			reports = append(reports, r)
		}
	}
	w.counts.report(ctx, provider.NameSendGrid, reportIgnored, len(events)-len(reports))
	return &notifierpb.ReportSendGridResponse{}, w.store(ctx, provider.NameSendGrid, reports)
}

// signedBySendGrid checks the signature over the time stamp and the body.
func signedBySendGrid(key *ecdsa.PublicKey, req *notifierpb.ReportSendGridRequest) bool {
	signature, err := base64.StdEncoding.DecodeString(req.GetSignature())
	if err != nil {
		return false
	}
	hash := sha256.New()
	hash.Write([]byte(req.GetTimestamp()))
	hash.Write(req.GetBody())
	return ecdsa.VerifyASN1(key, hash.Sum(nil), signature)
}

// sendGridEvent is one event of the webhook, as far as it is read. The address in
// it is not.
type sendGridEvent struct {
	ID         string `json:"sg_event_id"`
	MessageID  string `json:"sg_message_id"`
	Kind       string `json:"event"`
	DeliveryID string `json:"delivery_id"`
}

// sendGridStates are the events that say something about a delivery. Each of them
// also proves that SendGrid took the mail, even "dropped": it answers 202 first and
// then finds the address on one of its lists.
var sendGridStates = map[string]ledger.State{
	"processed": ledger.Accepted, "deferred": ledger.Accepted, "delivered": ledger.Delivered,
	"bounce": ledger.Bounced, "dropped": ledger.Bounced, "spamreport": ledger.Complained,
}

func (e sendGridEvent) report() (ledger.Report, bool) {
	event, way, ok := parseDeliveryID(e.DeliveryID)
	reached := sendGridStates[e.Kind]
	if !ok || reached == "" || e.ID == "" || len(e.ID) > 200 || len(e.MessageID) > 200 {
		return ledger.Report{}, false
	}
	r := ledger.Report{Provider: provider.NameSendGrid, ReportID: e.ID, EventID: event, Channel: way, State: reached, MessageID: e.MessageID}
	if reached == ledger.Bounced || reached == ledger.Complained {
		r.Reason = "SENDGRID_" + strings.ToUpper(e.Kind)
	}
	return r, true
}

// parseDeliveryID undoes delivery.id.
func parseDeliveryID(id string) (event uuid.UUID, way ledger.Channel, ok bool) {
	name, suffix, _ := strings.Cut(id, ".")
	event, err := uuid.Parse(name)
	way = ledger.Channel(suffix)
	return event, way, err == nil && len(name) == 36 && (way == ledger.Email || way == ledger.SMS)
}

// ReportTwilio takes one status callback of Twilio.
func (w *webhooks) ReportTwilio(ctx context.Context, req *notifierpb.ReportTwilioRequest) (*notifierpb.ReportTwilioResponse, error) {
	if w.twilio.StatusCallback == "" {
		return nil, errNoWebhook
	}
	form, err := url.ParseQuery(string(req.GetBody()))
	if err != nil {
		return nil, errReportMalformed
	}
	values := make(map[string]string, len(form))
	for key := range form {
		values[key] = form.Get(key)
		if len(form[key]) > 1 {
			// Only the first would be signed.
			return nil, errReportMalformed
		}
	}
	validator := twilioclient.NewRequestValidator(w.twilio.AuthToken)
	if !validator.Validate(w.twilio.Callback(req.GetDeliveryId()), values, req.GetSignature()) || values["AccountSid"] != w.twilio.AccountSID {
		w.counts.report(ctx, provider.NameTwilio, reportForged, 1)
		return nil, errReportForged
	}
	r, ok := twilioReport(req.GetDeliveryId(), values)
	if !ok {
		w.counts.report(ctx, provider.NameTwilio, reportIgnored, 1)
		return &notifierpb.ReportTwilioResponse{}, nil
	}
	return &notifierpb.ReportTwilioResponse{}, w.store(ctx, provider.NameTwilio, []ledger.Report{r})
}

// twilioStates are the statuses that say something about a delivery. A failed one
// was taken, and given back.
var twilioStates = map[string]ledger.State{
	"accepted": ledger.Accepted, "queued": ledger.Accepted, "sending": ledger.Accepted, "sent": ledger.Accepted,
	"delivered": ledger.Delivered, "read": ledger.Delivered, "undelivered": ledger.Bounced, "failed": ledger.Bounced,
}

func twilioReport(deliveryID string, values map[string]string) (ledger.Report, bool) {
	event, way, ok := parseDeliveryID(deliveryID)
	reached := twilioStates[values["MessageStatus"]]
	sid := values["MessageSid"]
	if !ok || reached == "" || sid == "" || len(sid) > 64 {
		return ledger.Report{}, false
	}
	r := ledger.Report{Provider: provider.NameTwilio, ReportID: sid + "." + values["MessageStatus"], EventID: event, Channel: way, State: reached, MessageID: sid}
	if reached == ledger.Bounced {
		r.Reason = "TWILIO_" + values["MessageStatus"]
		if code, err := strconv.Atoi(values["ErrorCode"]); err == nil {
			r.Reason = "TWILIO_" + strconv.Itoa(code)
		}
	}
	return r, true
}

// filing is the reports of one call.
type filing struct {
	reports []ledger.Report
	span    trace.Span // of the call
}

const (
	// maxReports is about how many reports one transaction stores.
	maxReports = 500
	// maxFilings is how many calls wait for one.
	maxFilings = 256
)

func newWebhooks(book *ledger.Ledger, counts *instruments, cfg Config) (*webhooks, error) {
	w := &webhooks{
		ledger: book, counts: counts, twilio: cfg.Twilio, maxAge: cfg.WebhookMaxAge,
		reports: make(map[string]*batch.Group[filing, struct{}]),
	}
	for _, by := range []string{provider.NameSendGrid, provider.NameTwilio} {
		w.reports[by] = batch.New(batch.Config[filing, struct{}]{
			Do: func(ctx context.Context, calls []filing) ([]batch.Result[struct{}], error) {
				return w.file(ctx, by, calls)
			},
			Most: maxReports, Weight: func(f filing) int { return len(f.reports) }, Queue: maxFilings,
			Timeout: databaseTimeout, Divide: postgres.IsBadRow,
		})
	}
	if cfg.SendGrid.WebhookKey == "" {
		return w, nil
	}
	var err error
	if w.sendGridKey, err = parseWebhookKey(cfg.SendGrid.WebhookKey); err != nil {
		return nil, fmt.Errorf("SENDGRID_WEBHOOK_KEY %w", err)
	}
	return w, nil
}

// file stores a provider's reports in one transaction. If the database does not take it,
// no call is answered with success, and the provider repeats.
func (w *webhooks) file(ctx context.Context, by string, calls []filing) ([]batch.Result[struct{}], error) {
	var reports []ledger.Report
	for _, f := range calls {
		reports = append(reports, f.reports...)
	}
	began := time.Now()
	done, err := w.ledger.Report(ctx, reports)
	if err != nil {
		return nil, err
	}
	w.count(ctx, by, len(reports), done)
	for _, f := range calls {
		f.trace(ctx, done.Traces, began)
	}
	return make([]batch.Result[struct{}], len(calls)), nil
}

// trace ends the deliveries' traces: each report that was news gets a span in the
// trace of its delivery, which began at somebody's click. The provider's call is a
// trace of its own, because it is about the deliveries of many; the two are linked,
// both ways. traces has the deliveries' by report.
func (f filing) trace(ctx context.Context, traces map[string]string, began time.Time) {
	for _, r := range f.reports {
		parent, ok := traces[r.ReportID]
		if !ok {
			continue
		}
		delete(traces, r.ReportID) // the same report in a second call is no news
		ctx := propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent})
		id := ledger.Delivery{EventID: r.EventID, Channel: r.Channel}.ID()
		ctx, span := otel.Tracer(scope).Start(ctx, "report "+string(r.Channel), trace.WithTimestamp(began),
			trace.WithLinks(trace.Link{SpanContext: f.span.SpanContext()}), trace.WithAttributes(
				attribute.String("messagerie.delivery", id), attribute.String("messagerie.provider", r.Provider),
				attribute.String("messagerie.state", string(r.State))))
		slog.DebugContext(ctx, "report", "delivery", id, "provider", r.Provider, "state", string(r.State))
		f.span.AddLink(trace.Link{SpanContext: span.SpanContext()})
		span.End()
	}
}

// store has reports stored, and returns when they are.
func (w *webhooks) store(ctx context.Context, provider string, reports []ledger.Report) error {
	if len(reports) == 0 {
		return nil
	}
	_, err := w.reports[provider].Submit(ctx, filing{reports, trace.SpanFromContext(ctx)})
	if errors.Is(err, batch.ErrStopped) || errors.Is(err, batch.ErrCrowded) {
		return errUnavailable // the provider repeats it
	}
	return statusOf(err)
}

func (w *webhooks) count(ctx context.Context, provider string, reports int, done ledger.Reported) {
	w.counts.report(ctx, provider, reportApplied, done.Moved)
	w.counts.report(ctx, provider, reportRepeated, reports-done.Fresh)
	w.counts.report(ctx, provider, reportUnmatched, done.Unmatched)
	w.counts.report(ctx, provider, reportNothing, done.Fresh-done.Moved-done.Unmatched)
	if done.Unmatched > 0 {
		slog.WarnContext(ctx, "reports about deliveries that are not in the ledger", "provider", provider, "reports", done.Unmatched)
	}
}
