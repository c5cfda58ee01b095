package messaging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reading"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
)

// instruments are the figures of this service's domain. None has a member, a
// conversation or a text as a label.
type instruments struct {
	submissions metric.Int64Counter
	batchSizes  metric.Int64Histogram
	changeSizes metric.Int64Histogram
	purged      metric.Int64Counter
	outbox      metric.Registration
	queue       metric.Registration
	readers     metric.Registration
	labels      *labelSets
}

// newInstruments measures the queue through the reports' pool, and the outbox from where
// the relay begins.
func newInstruments(db, reportPool *pgxpool.Pool, begin func() uuid.UUID, keys *vault.Vault) (*instruments, error) {
	meter := otel.Meter("messaging")
	submissions, err1 := meter.Int64Counter("messagerie.submissions",
		metric.WithDescription("Submissions by audience and outcome (stored, replayed, refused, failed)."))
	sizes, err2 := meter.Int64Histogram("messagerie.commit.size", metric.WithUnit("{submission}"),
		metric.WithDescription("Submissions written by one transaction."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
	changes, err5 := meter.Int64Histogram("messagerie.change.size", metric.WithUnit("{change}"),
		metric.WithDescription("Agents' changes written by one transaction."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128))
	waiting, err3 := meter.Int64ObservableGauge("messagerie.outbox.events",
		metric.WithDescription("Events that the broker has not acknowledged; from 10 000 on about."))
	age, err4 := meter.Float64ObservableGauge("messagerie.outbox.age", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest of them."))
	aside, err6 := meter.Int64ObservableGauge("messagerie.outbox.set.aside",
		metric.WithDescription("Events that the broker refuses while it takes others, up to 10 000."))
	vaulted, err7 := meter.Int64ObservableGauge("messagerie.vault.reachable",
		metric.WithDescription("1: the vault answers; 0: only members whose keys are in memory go on."))
	purged, err8 := meter.Int64Counter("messagerie.conversations.purged",
		metric.WithDescription("Conversations that were deleted because their term had passed."))
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8); err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	registration, err := meter.RegisterCallback(func(ctx context.Context, observe metric.Observer) error {
		reachable := int64(1)
		if keys.Reachable(ctx) != nil {
			reachable = 0
		}
		observe.ObserveInt64(vaulted, reachable)
		found, err := outbox.New(db).Figures(ctx, begin())
		if err != nil {
			slog.WarnContext(ctx, "measuring the outbox", "error", err)
			return nil // the other figures are still worth having
		}
		observe.ObserveInt64(waiting, found.Waiting)
		observe.ObserveFloat64(age, found.Oldest)
		observe.ObserveInt64(aside, found.SetAside)
		return nil
	}, waiting, age, aside, vaulted)
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	queue, err := measureQueue(meter, reportPool)
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	readers, err := measureReaders(meter, reportPool)
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	return &instruments{submissions, sizes, changes, purged, registration, queue, readers, &labelSets{}}, nil
}

// queuePatience bounds a scrape's wait behind reports, below what Prometheus waits.
const queuePatience = 5 * time.Second

// measureQueue measures what waits for agents, at each scrape.
func measureQueue(meter metric.Meter, db *pgxpool.Pool) (metric.Registration, error) {
	conversations, err1 := meter.Int64ObservableGauge("messagerie.queue.conversations",
		metric.WithDescription("Conversations that wait for an agent, by status."))
	age, err2 := meter.Float64ObservableGauge("messagerie.queue.age", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest of them that nobody has answered."))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return meter.RegisterCallback(func(ctx context.Context, observe metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, queuePatience)
		defer cancel()
		found, err := waiting.Everywhere(ctx, db)
		if err != nil {
			slog.WarnContext(ctx, "measuring the queue", "error", err)
			return nil // the other figures are still worth having
		}
		for _, status := range lifecycle.WaitingStatuses {
			observe.ObserveInt64(conversations, found.Counts[status], metric.WithAttributes(attribute.String("status", status.String())))
		}
		observe.ObserveFloat64(age, found.Unanswered)
		return nil
	}, conversations, age)
}

// measureReaders measures how many of the fund read much more than usual, at each scrape; who
// they are is for supervisors alone.
func measureReaders(meter metric.Meter, db *pgxpool.Pool) (metric.Registration, error) {
	readers, err := meter.Int64ObservableGauge("messagerie.unusual.readers",
		metric.WithDescription("Agents and machines that have read five times as much as usual in the last 24 hours."))
	if err != nil {
		return nil, err
	}
	return meter.RegisterCallback(func(ctx context.Context, observe metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, queuePatience)
		defer cancel()
		n, err := reading.CountUnusual(ctx, db)
		if err != nil {
			slog.WarnContext(ctx, "measuring readers", "error", err)
			return nil // the other figures are still worth having
		}
		observe.ObserveInt64(readers, n)
		return nil
	}, readers)
}

func (i *instruments) submitted(ctx context.Context, audience taxonomypb.Audience, outcome string) {
	i.submissions.Add(ctx, 1, i.labels.of(audience, outcome))
}

// begin counts nothing, once for each audience and outcome: Prometheus's rate() does
// not see the event with which a series comes into being, and a share of failures is
// no figure until there is a series of them.
func (i *instruments) begin(ctx context.Context) {
	i.purged.Add(ctx, 0)
	for number := range taxonomypb.Audience_name {
		audience := taxonomypb.Audience(number)
		if audience == taxonomypb.Audience_AUDIENCE_UNSPECIFIED {
			continue
		}
		for _, outcome := range []string{"stored", "replayed", "refused", "failed"} {
			i.submissions.Add(ctx, 0, i.labels.of(audience, outcome))
		}
	}
}

// labelSets keeps the sets of labels, of which there are few: making one anew for each
// submission was a fourteenth of its cost.
type labelSets struct{ made sync.Map }

type labelKey struct {
	audience taxonomypb.Audience
	outcome  string
}

func (l *labelSets) of(audience taxonomypb.Audience, outcome string) metric.MeasurementOption {
	key := labelKey{audience, outcome}
	made, ok := l.made.Load(key)
	if !ok {
		made, _ = l.made.LoadOrStore(key, metric.WithAttributeSet(
			attribute.NewSet(attribute.String("audience", audience.String()), attribute.String("outcome", outcome))))
	}
	option, _ := made.(metric.MeasurementOption)
	return option
}

func (i *instruments) stop() {
	if err := errors.Join(i.outbox.Unregister(), i.queue.Unregister(), i.readers.Unregister()); err != nil {
		slog.Warn("unregistering instruments", "error", err)
	}
}
