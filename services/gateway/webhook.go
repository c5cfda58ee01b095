package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
)

const (
	// sendGridPath and twilioPath are where the providers report. Twilio's goes on
	// with the delivery's id.
	sendGridPath = "/webhooks/sendgrid"
	twilioPath   = "/webhooks/twilio/"
	// maxSendGridBytes is above a full set of SendGrid's events (768 KiB);
	// maxTwilioBytes is far above a callback.
	maxSendGridBytes = 1 << 20
	maxTwilioBytes   = 64 << 10
	// reportsBegun is how many reports of one address may be received at once: they are
	// read before it is known whether they are genuine. reportsAll bounds those of all, as
	// each may be a megabyte. The oldest is ended for a new one.
	reportsBegun = 16
	reportsAll   = 32
)

var (
	errReport       = rpc.Refuse(codes.PermissionDenied, errorpb.ErrorReason_REPORT_REFUSED, "the report is not signed by the provider, or too old")
	errReportLarge  = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_REQUEST_TOO_LARGE, "the report is too large")
	errNoWebhook    = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_PATH_UNKNOWN, "reports of this provider are not taken here")
	errWebhookVerb  = rpc.Refuse(codes.Unimplemented, errorpb.ErrorReason_HTTP_METHOD_NOT_ALLOWED, "reports are posted")
	errReportBroken = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_BODY_UNREADABLE, "the body broke off")
)

// webhooks passes the providers' reports on, byte for byte, to the notifier, which alone can
// verify them: the gateway holds no provider's secret. A report has no token, so its rate is
// limited by address, separately from callers', as providers send from few addresses.
type webhooks struct {
	notifier  notifierpb.WebhookServiceClient
	addresses *fair.Rates
	// begun are the reports being received, by address; all are those of everybody.
	begun, all *fair.Queue
	timeout    time.Duration
	reports    metric.Int64Counter
}

func newWebhooks(conn grpc.ClientConnInterface, cfg Config, timeout time.Duration) (*webhooks, error) {
	reports, err := otel.Meter("gateway").Int64Counter("messagerie.gateway.webhooks",
		metric.WithDescription("Reports of providers by provider and answer (taken, refused, limited, away, off, failed)."))
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	// Prometheus's rate() does not see the event with which a series comes into being,
	// and an alert asks for the first of these.
	for _, provider := range []string{"sendgrid", "twilio"} {
		for _, outcome := range []string{"taken", "away", "failed"} {
			reports.Add(context.Background(), 0, metric.WithAttributes(attribute.String("provider", provider), attribute.String("outcome", outcome)))
		}
	}
	return &webhooks{
		notifier:  notifierpb.NewWebhookServiceClient(conn),
		addresses: fair.NewRates(cfg.WebhookRate, cfg.WebhookBurst),
		begun:     fair.NewQueue(reportsBegun), all: fair.NewQueue(reportsAll),
		timeout: timeout, reports: reports,
	}, nil
}

// isWebhook reports whether a path is one of the providers'.
func isWebhook(path string) bool { return path == sendGridPath || strings.HasPrefix(path, twilioPath) }

// serveWebhook takes one report. 200 means that the notifier has stored it; a
// provider that gets anything else sends it again.
func (s *rest) serveWebhook(w *answer.Writer, r *http.Request) {
	provider, route := "sendgrid", sendGridPath
	if r.URL.Path != sendGridPath {
		provider, route = "twilio", twilioPath+"{delivery_id}"
	}
	w.Route = route
	err := s.webhooks.take(w, r, provider, s.door.Address(r.RemoteAddr, r.Header.Values("X-Forwarded-For")))
	s.webhooks.count(r.Context(), provider, err)
	if err != nil {
		if errors.Is(err, errWebhookVerb) {
			w.Header().Set("Allow", "POST")
		}
		answer.Refuse(w, r, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (h *webhooks) take(w http.ResponseWriter, r *http.Request, provider, address string) error {
	conn, _ := r.Context().Value(connKey{}).(*fair.Conn)
	conn.Asked()
	conn.Reports(true)
	if wait := h.addresses.Take(address, time.Now()); wait > 0 {
		conn.Hold(r.Context(), conn.Refused(wait))
		return door.Limited(wait)
	}
	if r.Method != http.MethodPost {
		return errWebhookVerb
	}
	body, err := h.read(w, r, provider, address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout)
	defer cancel()
	return providerError(h.pass(ctx, r, provider, body))
}

// read reads a report. If an address sends too many at once, the oldest is ended.
func (h *webhooks) read(w http.ResponseWriter, r *http.Request, provider, address string) ([]byte, error) {
	most := int64(maxSendGridBytes)
	if provider == "twilio" {
		most = maxTwilioBytes
	}
	end := func() { _ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) }
	defer h.begun.Enter(address, end)()
	defer h.all.Enter("", end)()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, errReportLarge
	case err != nil:
		return nil, errReportBroken.Because(err)
	}
	return body, nil
}

func (h *webhooks) pass(ctx context.Context, r *http.Request, provider string, body []byte) error {
	if provider == "twilio" {
		_, err := h.notifier.ReportTwilio(ctx, &notifierpb.ReportTwilioRequest{
			DeliveryId: readable(strings.TrimPrefix(r.URL.Path, twilioPath)), Body: body, Signature: readable(r.Header.Get("X-Twilio-Signature")),
		})
		return err
	}
	_, err := h.notifier.ReportSendGrid(ctx, &notifierpb.ReportSendGridRequest{
		Body: body, Signature: readable(r.Header.Get("X-Twilio-Email-Event-Webhook-Signature")), Timestamp: readable(r.Header.Get("X-Twilio-Email-Event-Webhook-Timestamp")),
	})
	return err
}

// readable returns a part of a report as protobuf can carry it. What is not UTF-8 does not
// come from a provider, and once changed no signature matches it.
func readable(part string) string { return strings.ToValidUTF8(part, "\ufffd") }

// providerError turns the notifier's refusal into what a provider, or a forger, may
// know: not which part of a report was wrong.
func providerError(err error) error {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.InvalidArgument:
		return errReport.Because(err)
	case codes.FailedPrecondition, codes.Unimplemented:
		return errNoWebhook.Because(err)
	default:
		return door.PublicError(err)
	}
}

// answersOf are the outcomes that the metric distinguishes.
var answersOf = map[codes.Code]string{
	codes.OK: "taken", codes.PermissionDenied: "refused", codes.ResourceExhausted: "limited",
	codes.Unavailable: "away", codes.DeadlineExceeded: "away", codes.NotFound: "off",
}

func (h *webhooks) count(ctx context.Context, provider string, err error) {
	h.reports.Add(ctx, 1, metric.WithAttributes(attribute.String("provider", provider), attribute.String("outcome", outcomeOf(err))))
}

func outcomeOf(err error) string {
	code := codes.OK
	if err != nil {
		st, _ := rpc.StatusOf(context.Background(), err)
		code = st.Code()
	}
	if known := answersOf[code]; known != "" {
		return known
	}
	return "failed"
}
