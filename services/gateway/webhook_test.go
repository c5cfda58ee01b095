package gateway

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
)

// hooks is the notifier, as far as reports go.
type hooks struct {
	notifierpb.UnimplementedWebhookServiceServer
	mu     sync.Mutex
	mails  []*notifierpb.ReportSendGridRequest
	texts  []*notifierpb.ReportTwilioRequest
	answer error
}

func (h *hooks) ReportSendGrid(_ context.Context, req *notifierpb.ReportSendGridRequest) (*notifierpb.ReportSendGridResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mails = append(h.mails, req)
	return &notifierpb.ReportSendGridResponse{}, h.answer
}

func (h *hooks) ReportTwilio(_ context.Context, req *notifierpb.ReportTwilioRequest) (*notifierpb.ReportTwilioResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, req)
	return &notifierpb.ReportTwilioResponse{}, h.answer
}

func (h *hooks) answers(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = err
}

// Reports arrive byte for byte, with what their signatures are in, and nothing
// else of the request.
func TestWebhooksPassOn(t *testing.T) {
	t.Parallel()
	s := start(t)
	const mail = "[{\"event\":\"delivered\"}]\r\n \x00\xff"
	got := s.rest(t, "nobody", "POST", "/webhooks/sendgrid", mail,
		"X-Twilio-Email-Event-Webhook-Signature", "c2ln", "X-Twilio-Email-Event-Webhook-Timestamp", "1700000000")
	if got.code != http.StatusOK || got.body != "" {
		t.Errorf("SendGrid: %d %q", got.code, got.body)
	}
	if len(s.hooks.mails) != 1 || string(s.hooks.mails[0].GetBody()) != mail || s.hooks.mails[0].GetSignature() != "c2ln" || s.hooks.mails[0].GetTimestamp() != "1700000000" {
		t.Errorf("SendGrid: %v", s.hooks.mails)
	}
	got = s.rest(t, "nobody", "POST", "/webhooks/twilio/"+anID+".SMS", "MessageStatus=sent&To=%2B336", "Content-Type", "application/x-www-form-urlencoded", "X-Twilio-Signature", "bWFj")
	if got.code != http.StatusOK {
		t.Errorf("Twilio: %d %q", got.code, got.body)
	}
	if len(s.hooks.texts) != 1 || s.hooks.texts[0].GetDeliveryId() != anID+".SMS" || string(s.hooks.texts[0].GetBody()) != "MessageStatus=sent&To=%2B336" || s.hooks.texts[0].GetSignature() != "bWFj" {
		t.Errorf("Twilio: %v", s.hooks.texts)
	}
}

func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	s := start(t)
	rows := []struct {
		answer error
		want   int
	}{
		{nil, http.StatusOK},
		{status.Error(codes.PermissionDenied, "forged"), http.StatusForbidden},
		{status.Error(codes.InvalidArgument, "unreadable"), http.StatusForbidden},
		{status.Error(codes.FailedPrecondition, "off"), http.StatusNotFound},
		{status.Error(codes.Unavailable, "10.0.0.7:5432 refused"), http.StatusServiceUnavailable},
		{status.Error(codes.Internal, "10.0.0.7:5432 refused"), http.StatusInternalServerError},
	}
	for _, row := range rows {
		s.hooks.answers(row.answer)
		for _, path := range []string{"/webhooks/sendgrid", "/webhooks/twilio/x"} {
			got := s.rest(t, "nobody", "POST", path, "body")
			if got.code != row.want || strings.Contains(got.body, "10.0.0.7") {
				t.Errorf("%s, %v: %d %s, want %d", path, row.answer, got.code, got.body, row.want)
			}
			if got.code == http.StatusServiceUnavailable && got.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
}

func TestWebhookRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.CORSOrigins = []string{"https://front.example.org"} })
	rows := []struct {
		verb, path, body string
		want             int
	}{
		{"POST", "/webhooks/sendgrid", strings.Repeat("x", maxSendGridBytes), http.StatusOK},
		{"POST", "/webhooks/sendgrid", strings.Repeat("x", maxSendGridBytes+1), http.StatusRequestEntityTooLarge},
		{"POST", "/webhooks/twilio/x", strings.Repeat("x", maxTwilioBytes+1), http.StatusRequestEntityTooLarge},
		{"GET", "/webhooks/sendgrid", "", http.StatusMethodNotAllowed},
		{"OPTIONS", "/webhooks/sendgrid", "", http.StatusMethodNotAllowed},
		{"POST", "/webhooks/sendgrid/", "x", http.StatusNotFound},
		{"POST", "/webhooks/other", "x", http.StatusNotFound},
		// What is no text reaches the notifier all the same, which judges it.
		{"POST", "/webhooks/twilio/%ff", "x", http.StatusOK},
		{"POST", "/webhooks/twilio/%00", "x", http.StatusForbidden},
	}
	for _, row := range rows {
		got := s.rest(t, "nobody", row.verb, row.path, row.body, "Origin", "https://front.example.org")
		if got.code != row.want {
			t.Errorf("%s %s with %d bytes: %d %s, want %d", row.verb, row.path, len(row.body), got.code, got.body, row.want)
		}
		if strings.HasPrefix(row.path, sendGridPath) && row.path == sendGridPath && got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s allows pages", row.verb, row.path)
		}
	}
}

// Reports have limits of their own: strangers cannot use up those of the providers
// by calling methods, nor the other way round.
func TestWebhookRateLimit(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) {
		cfg.WebhookRate, cfg.WebhookBurst = 0.01, 2
		cfg.RatePerAddress, cfg.BurstPerAddress = 0.01, 2
	})
	for i, want := range []int{200, 200, 429} {
		if got := s.rest(t, "nobody", "POST", sendGridPath, "x"); got.code != want {
			t.Errorf("report %d: %d, want %d", i, got.code, want)
		}
	}
	if got := s.rest(t, "nobody", "GET", "/v1/conversations", ""); got.code != http.StatusUnauthorized {
		t.Errorf("a call: %d", got.code)
	}
}

// Without the notifier, the gateway is ready once it has waited for it, and passes calls
// to the others.
func TestWithoutNotifier(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.NotifierAddr, cfg.ReadyPatience = "passthrough:///127.0.0.1:1", 0 })
	if got := s.rest(t, "nobody", "GET", "/readyz", ""); got.code != http.StatusOK {
		t.Errorf("readyz: %d %s", got.code, got.body)
	}
	if err := s.grpc.Invoke(s.as(t, "member"), "/messagerie.messaging.v1.MessagingService/ListConversations", &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Error(err)
	}
	begun := time.Now()
	if got := s.rest(t, "nobody", "POST", sendGridPath, "x"); got.code != http.StatusServiceUnavailable || time.Since(begun) > patience {
		t.Errorf("a report: %d %s", got.code, got.body)
	}
}

const patience = 20 * time.Second

// What the metric says of a report, by what became of it.
func TestWebhookOutcomes(t *testing.T) {
	t.Parallel()
	// An earlier notifier knows of no reports.
	if got := outcomeOf(providerError(status.Error(codes.Unimplemented, "unknown service"))); got != "off" {
		t.Errorf("without webhooks: %q", got)
	}
	for want, err := range map[string]error{
		"taken":   nil,
		"refused": providerError(status.Error(codes.PermissionDenied, "not signed")),
		"off":     providerError(status.Error(codes.FailedPrecondition, "no key")),
		"away":    providerError(status.Error(codes.Unavailable, "no connection")),
		"limited": door.Limited(time.Second),
		"failed":  providerError(status.Error(codes.Internal, "internal error")),
	} {
		if got := outcomeOf(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}
