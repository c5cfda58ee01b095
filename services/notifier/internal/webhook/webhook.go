// Package webhook takes the providers' reports about what became of deliveries.
//
// What is promised: a report changes something only if the provider signed it and
// it is not older than a time that is set, and it does so once, however often it comes and
// in whatever order. It is answered with success after it is stored.
//
// How: SendGrid signs time and body (ECDSA); the time is compared with the
// database's clock; each event has an id. Twilio signs its callback's address,
// which ends in the delivery's id, and all values (HMAC-SHA1). It signs no time:
// what protects against a repeated callback is that (message, status) is stored
// once, and that states only go forward. Calls that come while a transaction is under way
// share the next, each provider's apart; a report that the database refuses fails alone.
//
// When it breaks: while the database cannot be reached reports are refused, and the
// providers repeat theirs for a day.
package webhook

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
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

// scope names the service's instruments and spans.
const scope = "github.com/ma-messagerie/messagerie/services/notifier"

// Server is WebhookService.
type Server struct {
	notifierpb.UnimplementedWebhookServiceServer
	ledger *ledger.Ledger
	counts metric.Int64Counter
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
	// storeTimeout bounds one.
	storeTimeout = 5 * time.Second
)

// New returns the service. It takes SendGrid's reports if their key is set, and Twilio's
// if there is an address to which it calls back. A report is believed for maxAge.
func New(l *ledger.Ledger, sendGridKey string, twilio provider.Twilio, maxAge time.Duration) (*Server, error) {
	counts, err := otel.Meter(scope).Int64Counter("messagerie.notifier.reports",
		metric.WithDescription("Providers' reports by provider and result (applied, no_change, repeated, forged, stale, unmatched, ignored)."))
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	// An alert must see the first of them: a series that begins with it shows no increase.
	for _, by := range []string{provider.NameSendGrid, provider.NameTwilio} {
		for _, result := range []string{reportForged, reportStale} {
			counts.Add(context.Background(), 0, labels(by, result))
		}
	}
	w := &Server{ledger: l, counts: counts, twilio: twilio, maxAge: maxAge, reports: make(map[string]*batch.Group[filing, struct{}])}
	for _, by := range []string{provider.NameSendGrid, provider.NameTwilio} {
		w.reports[by] = batch.New(batch.Config[filing, struct{}]{
			Do: func(ctx context.Context, calls []filing) ([]batch.Result[struct{}], error) {
				return w.file(ctx, by, calls)
			},
			Most: maxReports, Weight: func(f filing) int { return len(f.reports) }, Queue: maxFilings,
			Timeout: storeTimeout, Divide: postgres.IsBadRow,
		})
	}
	if sendGridKey == "" {
		return w, nil
	}
	if w.sendGridKey, err = ParseKey(sendGridKey); err != nil {
		return nil, fmt.Errorf("SENDGRID_WEBHOOK_KEY %w", err)
	}
	return w, nil
}

// file stores a provider's reports in one transaction. If the database does not take it,
// no call is answered with success, and the provider repeats.
func (w *Server) file(ctx context.Context, by string, calls []filing) ([]batch.Result[struct{}], error) {
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
func (w *Server) store(ctx context.Context, by string, reports []ledger.Report) error {
	if len(reports) == 0 {
		return nil
	}
	_, err := w.reports[by].Submit(ctx, filing{reports, trace.SpanFromContext(ctx)})
	if errors.Is(err, batch.ErrStopped) || errors.Is(err, batch.ErrCrowded) {
		return ledger.ErrUnavailable // the provider repeats it
	}
	return ledger.StatusOf(err)
}

func (w *Server) count(ctx context.Context, by string, reports int, done ledger.Reported) {
	w.add(ctx, by, reportApplied, done.Moved)
	w.add(ctx, by, reportRepeated, reports-done.Fresh)
	w.add(ctx, by, reportUnmatched, done.Unmatched)
	w.add(ctx, by, reportNothing, done.Fresh-done.Moved-done.Unmatched)
	if done.Unmatched > 0 {
		slog.WarnContext(ctx, "reports about deliveries that are not in the ledger", "provider", by, "reports", done.Unmatched)
	}
}

// add counts n reports that ended so.
func (w *Server) add(ctx context.Context, by, result string, n int) {
	if n > 0 {
		w.counts.Add(ctx, int64(n), labels(by, result))
	}
}

func labels(by, result string) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("provider", by), attribute.String("result", result))
}

// Run stores what comes until ctx is done, and what waits then. Stop the server first.
func (w *Server) Run(ctx context.Context) {
	var groups sync.WaitGroup
	for _, reports := range w.reports {
		groups.Go(func() { reports.Run(ctx) })
	}
	groups.Wait()
}
