package messaging

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reference"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// benchBody has 300 characters, about what a member writes.
const benchBody = "Bonjour, je n'ai pas reçu le remboursement de ma consultation du 3 mars chez mon médecin traitant. " +
	"La feuille de soins a été envoyée par courrier le lendemain, avec l'ordonnance et la facture du laboratoire. " +
	"Pouvez-vous me dire où en est mon dossier et s'il vous manque une pièce ? Merci beaucoup. "

// benchStore is a store and what composes submissions for it, on a database of
// the benchmark's own. `make bench` names a PostgreSQL that fsyncs; the one of
// the tests does not, so figures of a plain `go test -bench` flatter.
//
// TestMain keeps every span in memory: here, telemetry is what a process without
// a collector has.
func benchStore(b *testing.B) *server {
	b.Helper()
	if err := benchTelemetry(); err != nil {
		b.Fatal(err)
	}
	pool, err := postgres.Open(b.Context(), testenv.Postgres(b, Migrations))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	return newBenchServer(b, pool)
}

// benchTelemetry is for the rest of the process: benchmarks run after the tests.
var benchTelemetry = sync.OnceValue(func() error {
	_, err := chassis.StartTelemetry(context.Background(), "bench", slog.LevelWarn, io.Discard)
	return err
})

func newBenchServer(b *testing.B, pool *pgxpool.Pool) *server {
	b.Helper()
	return &server{store: newStore(pool), vault: messagingtest.Vault(b, pool), references: reference.New(pool)}
}

// benchSubmission composes a submission as the service does: reference, derived key,
// sealed text and event are made anew.
func (s *server) benchSubmission(ctx context.Context, member string) (*submission, error) {
	choice := func(code, label string) *messagingpb.Choice { return &messagingpb.Choice{Code: code, Label: label} }
	chosen := &taxonomy.Selection{
		Version: 1, Theme: choice("sante", "Santé"), Topic: choice("remboursement", "Mes remboursements"), Reason: choice("attente", "Un remboursement que j'attends"),
		Queue: &taxonomypb.Queue{Code: "sante-prestations", Label: "Service santé, prestations", AnswerDays: 5},
	}
	sub, err := s.compose(ctx, &auth.Identity{Subject: member}, uuid.New(), "msa-75", chosen,
		text.Text{Body: benchBody, Chars: 300}, taxonomypb.Audience_PARTICULIER)
	if err != nil {
		return nil, err
	}
	return sub.submission, nil
}

// BenchmarkStore stores submissions for 64 callers at once, each composed,
// encrypted and durably committed. Give it a count: -benchtime 50000x.
func BenchmarkStore(b *testing.B) {
	const callers = 64
	s := benchStore(b)
	c := newCommitter(s.store, func() {}, metricnoop.Int64Histogram{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	b.Cleanup(func() { cancel(); running.Wait() })
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	b.ResetTimer()
	for i := range callers {
		member := "organisation:" + uuid.NewSHA1(uuid.NameSpaceURL, []byte{byte(i)}).String()
		group.Go(func() {
			for left.Add(-1) >= 0 {
				sub, err := s.benchSubmission(ctx, member)
				if err == nil {
					_, err = c.Submit(ctx, sub)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submissions/s")
}
