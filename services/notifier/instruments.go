package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

const scope = "github.com/ma-messagerie/messagerie/services/notifier"

// instruments are the metrics of this service. None has a member, a conversation or an
// address as a label.
type instruments struct {
	events     metric.Int64Counter
	deliveries metric.Int64Counter
	late       metric.Int64Counter
	calls      metric.Float64Histogram
	delay      metric.Float64Histogram
	repaired   metric.Int64Counter
	foreign    metric.Int64Counter
	backlog    metric.Registration
}

// measureTimeout bounds a scrape's wait behind operators' questions, below what
// Prometheus waits.
const measureTimeout = 5 * time.Second

func newInstruments(l *ledger.Ledger) (*instruments, error) {
	meter := otel.Meter(scope)
	events, err1 := meter.Int64Counter("messagerie.notifier.events",
		metric.WithDescription("Events received by type and result (planned, ignored, set_aside)."))
	deliveries, err2 := meter.Int64Counter("messagerie.notifier.deliveries",
		metric.WithDescription("Outcomes recorded by channel and state."))
	late, err3 := meter.Int64Counter("messagerie.notifier.late",
		metric.WithDescription("Outcomes that came after their delivery was claimed again; an accepted one may be a duplicate."))
	calls, err4 := meter.Float64Histogram("messagerie.notifier.call.duration", metric.WithUnit("s"),
		metric.WithDescription("Attempts by channel, provider and outcome, the rendering included; none where there was nobody to send to."),
		metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30))
	delay, err5 := meter.Float64Histogram("messagerie.notifier.delay", metric.WithUnit("s"),
		metric.WithDescription("From what happened to the claim of the attempt that was accepted."),
		metric.WithExplicitBucketBoundaries(.01, .025, .05, .1, .25, .5, 1, 5, 30, 60, 300, 900, 3600, 14400, 86400))
	rows, err6 := meter.Int64ObservableGauge("messagerie.notifier.waiting",
		metric.WithDescription("Deliveries that have not ended, by channel and state."))
	overdue, err7 := meter.Float64ObservableGauge("messagerie.notifier.overdue", metric.WithUnit("s"),
		metric.WithDescription("How long the oldest of them has been due."))
	repaired, err9 := meter.Int64Counter("messagerie.notifier.repaired",
		metric.WithDescription("Deliveries planned from the event log, because the broker had not brought their events."))
	foreign, err10 := meter.Int64Counter("messagerie.notifier.foreign",
		metric.WithDescription("Slots of ten seconds in which the ledger has events that the event log does not know."))
	lag, err11 := meter.Float64ObservableGauge("messagerie.notifier.reconcile.lag", metric.WithUnit("s"),
		metric.WithDescription("How far the part of the event log that the ledger is known to have is behind."))
	letters, err12 := meter.Int64ObservableGauge("messagerie.notifier.deadletters",
		metric.WithDescription("Dead letters that nobody has replayed or dropped."))
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err9, err10, err11, err12); err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	backlog, err := meter.RegisterCallback(func(ctx context.Context, observe metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, measureTimeout)
		defer cancel()
		list, err := l.Waiting(ctx)
		if err != nil {
			slog.WarnContext(ctx, "measuring the ledger", "error", err)
			return nil // the other figures are still worth having
		}
		observeWaiting(list, func(w ledger.Waiting, labels metric.MeasurementOption) {
			observe.ObserveInt64(rows, w.Rows, labels)
			observe.ObserveFloat64(overdue, w.Overdue, labels)
		})
		behind, err1 := l.ReconcileLag(ctx)
		dead, err2 := l.DeadLetterCount(ctx)
		if err := errors.Join(err1, err2); err != nil {
			slog.WarnContext(ctx, "measuring the ledger", "error", err)
			return nil
		}
		observe.ObserveFloat64(lag, behind.Seconds())
		observe.ObserveInt64(letters, dead)
		return nil
	}, rows, overdue, lag, letters)
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	i := &instruments{events, deliveries, late, calls, delay, repaired, foreign, backlog}
	i.begin(context.Background())
	return i, nil
}

// ends are the states in which an attempt can end.
var ends = []ledger.State{ledger.Accepted, ledger.Refused, ledger.Retry, ledger.Unknown, ledger.Suppressed, ledger.Expired}

// begin counts nothing, once, wherever an alert or a share must see the first of
// something. Prometheus's increase() and rate() compare two samples, so of a series
// that comes into being with its first event they do not see that event; foreign
// events come once, if ever.
func (i *instruments) begin(ctx context.Context) {
	i.repaired.Add(ctx, 0)
	i.foreign.Add(ctx, 0)
	for _, channel := range ledger.Channels {
		for _, s := range ends {
			i.deliveries.Add(ctx, 0, stateLabels(channel, s))
			i.late.Add(ctx, 0, stateLabels(channel, s))
		}
	}
}

// observeWaiting reports every channel and state, those without rows as 0, so
// that a gauge falls back when its last row has ended.
func observeWaiting(list []ledger.Waiting, observe func(ledger.Waiting, metric.MeasurementOption)) {
	found := make(map[[2]string]ledger.Waiting, len(list))
	for _, w := range list {
		found[[2]string{string(w.Channel), string(w.State)}] = w
	}
	for _, channel := range ledger.Channels {
		for _, s := range []ledger.State{ledger.Planned, ledger.Sending, ledger.Retry, ledger.Unknown} {
			observe(found[[2]string{string(channel), string(s)}],
				metric.WithAttributes(attribute.String("channel", string(channel)), attribute.String("state", string(s))))
		}
	}
}

func (i *instruments) event(ctx context.Context, kind, result string) {
	i.events.Add(ctx, 1, metric.WithAttributes(attribute.String("type", kind), attribute.String("result", result)))
}

func (i *instruments) call(ctx context.Context, channel ledger.Channel, provider string, c provider.Class, took time.Duration) {
	i.calls.Record(ctx, took.Seconds(), metric.WithAttributes(
		attribute.String("channel", string(channel)), attribute.String("provider", provider), attribute.String("outcome", string(c))))
}

// recorded counts what the ledger took, and apart from it what came too late.
func (i *instruments) recorded(ctx context.Context, outcomes, late []ledger.Outcome) {
	for _, o := range outcomes {
		if slices.ContainsFunc(late, func(l ledger.Outcome) bool { return l.Delivery.AttemptID == o.Delivery.AttemptID }) {
			continue
		}
		i.deliveries.Add(ctx, 1, stateLabels(o.Delivery.Channel, o.State))
		if o.Class == provider.Accepted {
			i.delay.Record(ctx, o.Delivery.ClaimedAt.Sub(o.Delivery.OccurredAt).Seconds(),
				metric.WithAttributes(attribute.String("channel", string(o.Delivery.Channel))))
		}
	}
	for _, o := range late {
		slog.WarnContext(ctx, "an outcome came after its lease", "delivery", o.Delivery.ID(), "outcome", o.Class)
		i.late.Add(ctx, 1, stateLabels(o.Delivery.Channel, o.State))
	}
}

func (i *instruments) swept(ctx context.Context, done ledger.Swept) {
	for channel, n := range done.Expired {
		i.deliveries.Add(ctx, n, stateLabels(channel, ledger.Expired))
	}
	for channel, n := range done.Lapsed {
		i.deliveries.Add(ctx, n, stateLabels(channel, ledger.Unknown))
	}
}

func stateLabels(channel ledger.Channel, s ledger.State) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("channel", string(channel)), attribute.String("state", string(s)))
}

func (i *instruments) stop() {
	if err := i.backlog.Unregister(); err != nil {
		slog.Warn("unregistering instruments", "error", err)
	}
}
