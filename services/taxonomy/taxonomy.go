// Package taxonomy serves what a member chooses from before writing (theme, topic,
// reason) and the online services that may answer faster: the guide's steps 2 and
// 3. It counts, without knowing whose they are, what members do with a proposal and
// their searches, with the words of those that ended without a choice (searched.go).
//
// The taxonomy is data: a YAML file (catalogue.yaml documents it by example),
// checked whole when the process starts, stored as a numbered version, and never
// changed after. The highest number is current. Replicas follow what one of them
// has published within a few seconds.
//
// Answers come from memory. A process that has started goes on answering while its database
// is away, except for older versions, which only this system's own processes ask for and
// keep, and for the counts, which miss what happens meanwhile. It cannot start without the
// database.
package taxonomy

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrations are the schema of the service's database.
var Migrations, _ = fs.Sub(migrationFiles, "migrations")

// Default is the taxonomy served when no other file is given.
//
//go:embed catalogue.yaml
var Default []byte

// Config is read from TAXONOMY_*.
type Config struct {
	chassis.Process
	rpc.ServerConfig
	auth.Config

	// DatabaseURL is PostgreSQL, as postgres://… or key=value pairs.
	DatabaseURL string `env:"DATABASE_URL,required"`
	// Migrate brings the schema up to date at start. Without it, a schema older
	// than the binary ends the process.
	Migrate bool `env:"MIGRATE" envDefault:"true"`
	// CataloguePath is the taxonomy file; empty takes the built-in one.
	CataloguePath string `env:"CATALOGUE_PATH"`
	// Refresh is how often the database is asked for a newer version.
	Refresh time.Duration `env:"REFRESH" envDefault:"5s"`
	// OutcomeRetention is how long the daily counts of what became of proposals and of
	// searches are kept, at least 366 days, as far as figures reach back, and the words of
	// searches after their month. 0 keeps all.
	OutcomeRetention time.Duration `env:"OUTCOME_RETENTION" envDefault:"9528h"`
	// Reports bounds expensive queries: TAXONOMY_REPORTS_*. Max is how many statistics of
	// suggestions and searches are read at once, for which the database gets as many connections.
	Reports report.Config `envPrefix:"REPORTS_"`
}

// Validate reports all faults that types do not show, those of the file included.
func (c Config) Validate() error {
	_, _, err := c.file()
	err = errors.Join(err, c.MTLS.Validate(), c.Reports.Validate(), postgres.CheckURL("DATABASE_URL", c.DatabaseURL))
	if c.OutcomeRetention != 0 && c.OutcomeRetention < leastOutcomes {
		err = errors.Join(err, fmt.Errorf("OUTCOME_RETENTION must be 0 or at least %s", leastOutcomes))
	}
	if c.Refresh <= 0 {
		err = errors.Join(err, errors.New("REFRESH must be more than 0"))
	}
	return err
}

// file reads and checks the taxonomy file.
func (c Config) file() (*taxonomyfile.File, []byte, error) {
	name, content := "catalogue.yaml (built in)", Default
	if c.CataloguePath != "" {
		var err error
		if content, err = os.ReadFile(c.CataloguePath); err != nil {
			return nil, nil, fmt.Errorf("reading the taxonomy: %w", err)
		}
		name = c.CataloguePath
	}
	f, err := taxonomyfile.Parse(name, content)
	return f, content, err
}

// Run serves until ctx is done, then lets calls under way end.
func Run(ctx context.Context, cfg Config) error {
	f, content, err := cfg.file()
	if err != nil {
		return err
	}
	pool, err := postgres.OpenSchema(ctx, cfg.DatabaseURL, Migrations, cfg.Migrate)
	if err != nil {
		return err
	}
	defer postgres.Close(pool)
	s := &store{pool: pool}
	if err := postgres.AtStart(ctx, func(ctx context.Context) error { return s.publish(ctx, int(f.Version.Value), content) }); err != nil {
		return err
	}
	if err := postgres.AtStart(ctx, s.refresh); err != nil {
		return err
	}
	bounds := cfg.Reports.WithDefaults()
	reportPool, err := postgres.Open(ctx, cfg.DatabaseURL, postgres.Reports(bounds.Max, bounds.Timeout))
	if err != nil {
		return err
	}
	defer postgres.Close(reportPool)
	return serve(ctx, cfg, s, &store{pool: reportPool})
}

// serve answers from s, and expensive queries from apart. The health of its port is SERVING
// from the beginning: s has a version.
func serve(ctx context.Context, cfg Config, s, apart *store) error {
	figures, err := report.New("figures", cfg.Reports)
	if err != nil {
		return err
	}
	defer figures.Close()
	impl := &server{store: s, apart: apart, figures: figures, maxAge: cfg.Reports.MaxAge}
	unregister, err := impl.instrument()
	if err != nil {
		return err
	}
	defer unregister()
	verifier := auth.NewVerifier(cfg.Config)
	grpcServer, err := rpc.NewServer(cfg.ServerConfig, verifier)
	if err != nil {
		return err
	}
	rpc.AlsoCheck(grpcServer, impl.outcomeFaults)
	taxonomypb.RegisterTaxonomyServiceServer(grpcServer, impl)
	taxonomypb.RegisterCatalogueServiceServer(grpcServer, impl)
	taxonomypb.RegisterOperatorServiceServer(grpcServer, impl)

	// Readiness does not depend on the database: answers come from memory, and turning away
	// all replicas at once would be an outage.
	admin := &chassis.Admin{}
	admin.Check("issuers", verifier.Ready)
	group, ctx := errgroup.WithContext(ctx)
	// Probes and the refresh go on until the last call has ended.
	back, endBack := context.WithCancel(context.WithoutCancel(ctx))
	defer endBack()
	group.Go(func() error { return admin.Serve(back, cfg.AdminAddr) })
	group.Go(func() error { return s.follow(back, cfg.Refresh) })
	group.Go(func() error {
		s.keepMonths(back)
		return nil
	})
	group.Go(func() error {
		postgres.Forget(back,
			postgres.Term{What: "outcomes", Keep: cfg.OutcomeRetention, Step: s.forgetOutcomes},
			postgres.Term{What: "months of outcomes", Keep: leastOutcomes, Step: s.forgetMonths},
			postgres.Term{What: "keys of outcomes", Keep: keyTerm, Step: s.forgetKeys},
			postgres.Term{What: "secrets of searched words", Keep: monthGrace, Step: s.forgetSecrets},
			postgres.Term{What: "searched words that too few members had", Keep: monthGrace, Step: s.forgetPending},
			postgres.Term{What: "searched words", Keep: cfg.OutcomeRetention, Step: s.forgetWords},
			postgres.Term{What: "counts of searches", Keep: cfg.OutcomeRetention, Step: s.forgetSearches})
		return nil
	})
	group.Go(func() error {
		defer endBack()
		return admin.Linger(ctx, cfg.DrainDelay, func(ctx context.Context) error { return grpcServer.Serve(ctx, cfg.DrainTimeout) })
	})
	return group.Wait()
}

// instrument makes this service's own metrics.
func (s *server) instrument() (unregister func(), err error) {
	meter := otel.Meter("taxonomy")
	s.suggestions, err = meter.Int64Counter("messagerie.suggestions",
		metric.WithDescription("Selections for which an online service was looked up, by audience and whether one was found."))
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	s.outcomes, err = meter.Int64Counter("messagerie.suggestion.outcomes",
		metric.WithDescription("What members did with the online services they were proposed, by audience and outcome."))
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	s.searches, err = meter.Int64Counter("messagerie.searches",
		metric.WithDescription("Members' searches, by audience and whether one of what was found was chosen."))
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	s.skipped, err = meter.Int64Counter("messagerie.search.words.skipped",
		metric.WithDescription("Words of searches that were not noted because their month has as many as it may."))
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	version, err := meter.Int64ObservableGauge("messagerie.taxonomy.version", metric.WithDescription("The current version of the taxonomy."))
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, observe metric.Observer) error {
		observe.ObserveInt64(version, int64(s.store.current.Load().whole.GetVersion()))
		return nil
	}, version)
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	s.beginCounting(context.Background())
	return func() { _ = registration.Unregister() }, nil
}

// beginCounting counts nothing, once for each set of labels: Prometheus's increase()
// does not see the event with which a series comes into being.
func (s *server) beginCounting(ctx context.Context) {
	s.skipped.Add(ctx, 0)
	for number, name := range taxonomypb.Audience_name {
		if number == int32(taxonomypb.Audience_AUDIENCE_UNSPECIFIED) {
			continue
		}
		audience := attribute.String("audience", name)
		for _, found := range []bool{true, false} {
			s.suggestions.Add(ctx, 0, metric.WithAttributes(audience, attribute.Bool("found", found)))
		}
		for _, chosen := range []bool{true, false} {
			s.searches.Add(ctx, 0, metric.WithAttributes(audience, attribute.Bool("chosen", chosen)))
		}
		for outcome, name := range taxonomypb.SuggestionOutcome_name {
			if outcome != int32(taxonomypb.SuggestionOutcome_SUGGESTION_OUTCOME_UNSPECIFIED) {
				s.outcomes.Add(ctx, 0, metric.WithAttributes(audience, attribute.String("outcome", name)))
			}
		}
	}
}
