package webhook

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/migrations"
)

// counted is what a counter has for labels, given as names and values, and whether
// it has them at all.
func counted(t *testing.T, name string, labels ...string) (n int64, known bool) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := meters.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var pairs []attribute.KeyValue
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, attribute.String(labels[i], labels[i+1]))
	}
	set := attribute.NewSet(pairs...)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok || m.Name != name {
				continue
			}
			for _, point := range sum.DataPoints {
				if point.Attributes.Equals(&set) {
					return point.Value, true
				}
			}
		}
	}
	return 0, false
}

func exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(context.WithoutCancel(t.Context()), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// row is what a test looks at.
type row struct {
	State    ledger.State
	Attempts int
	Unknowns int
	Reason   string
	// Wait is next_attempt_at minus now, in whole seconds rounded up; -1 for none.
	Wait int
}

func look(t testing.TB, pool *pgxpool.Pool, event uuid.UUID, channel ledger.Channel) row {
	t.Helper()
	rows, err := pool.Query(context.WithoutCancel(t.Context()), `
		SELECT state, attempts, unknowns, reason, COALESCE(ceil(EXTRACT(epoch FROM next_attempt_at - updated_at)), -1)::int AS wait
		FROM delivery WHERE event_id = $1 AND channel = $2`, event, channel)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[row])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func planOf(channels ...ledger.Channel) []ledger.Plan {
	event, conversation := uuid.New(), uuid.New()
	plans := make([]ledger.Plan, len(channels))
	for i, channel := range channels {
		plans[i] = ledger.Plan{EventID: event, Channel: channel, EventType: ledger.MessageSubmitted, ConversationID: conversation, Caisse: "armorique"}
	}
	return plans
}

func mustPlan(t testing.TB, l *ledger.Ledger, plans []ledger.Plan) int64 {
	t.Helper()
	n, err := l.Plan(t.Context(), plans)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustClaim(t testing.TB, l *ledger.Ledger, channel ledger.Channel, n int) []ledger.Delivery {
	t.Helper()
	claimed, err := l.Claim(t.Context(), channel, n, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return claimed
}

func mustRecord(t testing.TB, l *ledger.Ledger, outcomes ...ledger.Outcome) (late []ledger.Outcome) {
	t.Helper()
	late, err := l.Record(t.Context(), outcomes)
	if err != nil {
		t.Fatal(err)
	}
	return late
}

func mustSweep(t testing.TB, l *ledger.Ledger) {
	t.Helper()
	if _, err := l.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// lapse ends the leases of all that is being sent.
func lapse(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `UPDATE delivery SET lease_until = now() WHERE state = 'sending'`)
}

// due ends all waits.
func due(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `UPDATE delivery SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL`)
}

// canaries are in every recipient of these tests, and may be in no log line and
// in no span of any of them.
var canaries = []string{"canary.", "+3363998", "%2B3363998", "Jeanne Canary"} // with the plus: clocks have any digits

var logs = &safeBuffer{}

var meters = metric.NewManualReader()

var spans = tracetest.NewInMemoryExporter()

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(meters)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	result := m.Run()
	told := logs.String() + measured() + fmt.Sprintf("%+v", spans.GetSpans())
	for _, canary := range canaries {
		if i := strings.Index(told, canary); i >= 0 {
			fmt.Printf("FAIL: a log line or a span holds %q: …%s…\n", canary, told[max(0, i-300):min(len(told), i+100)])
			result = max(result, 1)
		}
	}
	os.Exit(result)
}

// measured is every figure there is, with its labels.
func measured() string {
	var figures metricdata.ResourceMetrics
	if err := meters.Collect(context.Background(), &figures); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%+v", figures)
}

func ledgerAndPool(t *testing.T) (*ledger.Ledger, *pgxpool.Pool) {
	t.Helper()
	pool, err := postgres.Open(t.Context(), testenv.Postgres(t, migrations.Files))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return ledger.New(pool, ledger.Doubts{Wait: 3 * time.Minute, Blind: true}), pool
}

// eventually waits for a condition by looking at it.
func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for !true() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited %s until %s", patience, what)
		}
	}
}

const patience = 30 * time.Second
