package taxonomy

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

var testTime = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func reasonOf(err error) string {
	var refusal *rpc.Error
	if errors.As(err, &refusal) {
		return refusal.Reason.String()
	}
	return ""
}

// service is a running taxonomy service.
type service struct {
	taxonomypb.TaxonomyServiceClient
	taxonomypb.CatalogueServiceClient
	admin taxonomypb.OperatorServiceClient
	stop  func() error
	// token is a machine's, member, neighbour and agent are those of persons.
	token, member, neighbour, agent, supervisor, operator string
	// memberToken is the token of any other member.
	memberToken func(subject string) string
}

// run starts the service on a database and returns it once it answers.
func run(t testing.TB, database, content string) (*service, error) {
	t.Helper()
	machines := testenv.NewIssuer(t, auth.RealmMachine)
	members, agents := testenv.NewIssuer(t, auth.RealmMember), testenv.NewIssuer(t, auth.RealmAgent)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{DatabaseURL: database, Migrate: true, Refresh: 20 * time.Millisecond, OutcomeRetention: leastOutcomes}
	cfg.Listener, cfg.DrainTimeout = lis, 5*time.Second
	cfg.Issuers = auth.Issuers{machines.Issuer, members.Issuer, agents.Issuer}
	if content != "" {
		cfg.CataloguePath = filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(cfg.CataloguePath, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	conn, err := rpc.Dial(lis.Addr().String(), nil, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{
		TaxonomyServiceClient: taxonomypb.NewTaxonomyServiceClient(conn), CatalogueServiceClient: taxonomypb.NewCatalogueServiceClient(conn),
		token:     machines.Token(t, map[string]any{"sub": "messaging", "roles": []string{auth.RoleService}}),
		member:    members.Token(t, map[string]any{"sub": "jeanne", "profiles": []string{"PARTICULIER"}}),
		neighbour: members.Token(t, map[string]any{"sub": "luc", "profiles": []string{"PARTICULIER"}}),
		agent:     agents.Token(t, map[string]any{"sub": "paul", "roles": []string{auth.RoleAgent}}),
		admin:     taxonomypb.NewOperatorServiceClient(conn),

		operator:   agents.Token(t, map[string]any{"sub": "olga", "roles": []string{auth.RoleOperator}}),
		supervisor: agents.Token(t, map[string]any{"sub": "sofiane", "roles": []string{auth.RoleAgent, auth.RoleSupervisor}}),
		memberToken: func(subject string) string {
			return members.Token(t, map[string]any{"sub": subject, "profiles": []string{"PARTICULIER"}})
		},
	}
	s.stop = sync.OnceValue(func() error { cancel(); conn.Close(); return <-ended })
	t.Cleanup(func() { _ = s.stop() })
	answered := make(chan error, 1)
	go func() {
		// Replicas that migrate at once wait seconds for each other's lock.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := s.GetTaxonomy(ctx, &taxonomypb.GetTaxonomyRequest{Audience: taxonomypb.Audience_PARTICULIER})
		answered <- err
	}()
	select {
	case err := <-answered:
		return s, err
	case err := <-ended:
		ended <- err
		return s, err
	}
}

func (s *service) asMachine(ctx context.Context) context.Context { return bearing(ctx, s.token) }
func (s *service) asMember(ctx context.Context) context.Context  { return bearing(ctx, s.member) }
func (s *service) asAgent(ctx context.Context) context.Context   { return bearing(ctx, s.agent) }

// keyed is a call with an idempotency key.
func keyed(ctx context.Context, key uuid.UUID) context.Context {
	return metadata.AppendToOutgoingContext(ctx, rpc.IdempotencyKeyName, key.String())
}

func bearing(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func TestGetTaxonomy(t *testing.T) {
	t.Parallel()
	s, err := run(t, testenv.Postgres(t, nil), "")
	if err != nil {
		t.Fatal(err)
	}
	var header metadata.MD
	resp, err := s.GetTaxonomy(t.Context(), &taxonomypb.GetTaxonomyRequest{Audience: taxonomypb.Audience_EMPLOYEUR}, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetVersion() != 3 || resp.GetDepth() != taxonomypb.Depth_TOPIC || resp.GetTextLimits().GetMax() != 750 || resp.GetDocumentDepositUrl() == "" {
		t.Errorf("got version %d, depth %s", resp.GetVersion(), resp.GetDepth())
	}
	if got := header.Get("etag"); len(got) != 1 || got[0] != `"v3-employeur"` {
		t.Errorf("etag %q", got)
	}
	if got := header.Get("cache-control"); len(got) != 1 {
		t.Errorf("cache-control %q", got)
	}
	for _, theme := range resp.GetThemes() {
		if theme.GetCode() == "exploitation" || theme.GetCode() == "sante" {
			t.Errorf("an employer sees %s", theme.GetCode())
		}
	}
	_, err = s.GetTaxonomy(t.Context(), &taxonomypb.GetTaxonomyRequest{})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("without an audience: %v", err)
	}
}

// The tree that one audience gets holds nothing that is not open to it.
func TestGetTaxonomy_OnlyWhatTheAudienceMaySee(t *testing.T) {
	t.Parallel()
	f, err := taxonomyfile.Parse("f.yaml", []byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	c := newCatalogue(f, testTime)
	outline := func(a taxonomypb.Audience) string {
		var out []string
		for _, theme := range c.answers[a].GetThemes() {
			out = append(out, theme.GetCode())
			for _, topic := range theme.GetTopics() {
				out = append(out, "/"+topic.GetCode())
				for _, reason := range topic.GetReasons() {
					out = append(out, "//"+reason.GetCode())
				}
			}
		}
		return strings.Join(out, " ")
	}
	if got := outline(taxonomypb.Audience_PARTICULIER); got != "famille /aides //absent //montant //autre commun /compte //adresse //autre" {
		t.Errorf("particulier: %s", got)
	}
	if got := outline(taxonomypb.Audience_EMPLOYEUR); got != "commun /compte //siege //autre /contrat /autre" {
		t.Errorf("employeur: %s", got)
	}
	if c.answers[taxonomypb.Audience_EXPLOITANT] != nil {
		t.Error("an audience that the file does not name is served")
	}
}

func TestGetCatalogue(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	first, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	ctx := first.asMachine(t.Context())
	if _, err := first.GetCatalogue(t.Context(), &taxonomypb.GetCatalogueRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	resp, err := first.GetCatalogue(ctx, &taxonomypb.GetCatalogueRequest{})
	if err != nil || resp.GetCatalogue().GetVersion() != 3 || len(resp.GetCatalogue().GetAudiences()) != 2 || resp.GetCatalogue().GetTextLimits().GetMax() == 0 || resp.GetCatalogue().GetQueues()[0].GetPostalAddress() != "1 rue de l’Abbesse, 35000 Rennes" {
		t.Fatalf("got %v, %v", resp, err)
	}
	resp, err = first.GetCatalogue(ctx, &taxonomypb.GetCatalogueRequest{KnownVersion: 3})
	if err != nil || !resp.GetUnchanged() || resp.GetCatalogue() != nil {
		t.Errorf("got %v, %v", resp, err)
	}
	_, err = first.GetCatalogue(ctx, &taxonomypb.GetCatalogueRequest{Version: 2})
	if status.Code(err) != codes.NotFound {
		t.Errorf("a version never published: %v", err)
	}

	// Another replica, started with a newer file, publishes; the first follows.
	if _, err := run(t, database, strings.Replace(sound, "version: 3", "version: 4", 1)); err != nil {
		t.Fatal(err)
	}
	for resp.GetCurrentVersion() != 4 {
		if resp, err = first.GetCatalogue(ctx, &taxonomypb.GetCatalogueRequest{KnownVersion: 3}); err != nil {
			t.Fatal(err)
		}
	}
	resp, err = first.GetCatalogue(ctx, &taxonomypb.GetCatalogueRequest{Version: 3})
	if err != nil || resp.GetCatalogue().GetVersion() != 3 || resp.GetCurrentVersion() != 4 {
		t.Errorf("the older version: %v, %v", resp, err)
	}
}

func TestPublish_Rules(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	start := func(content string) (*service, error) {
		s, err := run(t, database, content)
		if err == nil {
			t.Cleanup(func() {
				if err := s.stop(); err != nil {
					t.Error(err)
				}
			})
		}
		return s, err
	}
	if _, err := start(sound); err != nil {
		t.Fatal(err)
	}
	if _, err := start(sound); err != nil {
		t.Errorf("the same file again: %v", err)
	}
	_, err := start(strings.Replace(sound, "label: Famille", "label: Foyer", 1))
	if err == nil || !strings.Contains(err.Error(), "raise `version` to 4") {
		t.Errorf("the same version with other content: %v", err)
	}
	older, err := start(strings.Replace(sound, "version: 3", "version: 2", 1))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := older.GetTaxonomy(t.Context(), &taxonomypb.GetTaxonomyRequest{Audience: taxonomypb.Audience_PARTICULIER})
	if err != nil || resp.GetVersion() != 3 {
		t.Errorf("an older file is served as version %d, %v", resp.GetVersion(), err)
	}
	if _, err := start("version: x"); err == nil {
		t.Error("a file with faults starts")
	}
}

func TestRun_ReplicasAtOnce(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := run(t, database, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var versions int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM taxonomy_version`).Scan(&versions); err != nil || versions != 1 {
		t.Errorf("%d versions stored, %v", versions, err)
	}
}

// Run's migration makes replicas queue; once the schema is there they publish in
// the same instant.
func TestPublish_AtOnce(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, Migrations)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		// A replica has connections of its own, and this opens the first.
		pool, err := postgres.Open(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		wg.Go(func() {
			<-start
			for version := range 10 {
				next := version + 1
				if err := (&store{pool: pool}).publish(t.Context(), next, []byte(sound)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	close(start)
	wg.Wait()
}

// The current version is served from memory while the database is away, and what
// is published once it is back is followed.
func TestRun_DatabaseAway(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	if _, err := run(t, database, sound); err != nil {
		t.Fatal(err)
	}
	s, err := run(t, database, strings.Replace(sound, "version: 3", "version: 4", 1))
	if err != nil {
		t.Fatal(err)
	}
	ctx := s.asMachine(t.Context())
	allow := cut(t, database)

	resp, err := s.GetTaxonomy(t.Context(), &taxonomypb.GetTaxonomyRequest{Audience: taxonomypb.Audience_PARTICULIER})
	if err != nil || resp.GetVersion() != 4 {
		t.Errorf("got version %d, %v", resp.GetVersion(), err)
	}
	suggested, err := s.ResolveSuggestion(t.Context(), &taxonomypb.ResolveSuggestionRequest{
		Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille", Topic: "aides", Reason: "absent",
	})
	if err != nil || len(suggested.GetServices()) != 1 {
		t.Errorf("got %v, %v", suggested, err)
	}
	if whole, err := s.GetCatalogue(ctx, &taxonomypb.GetCatalogueRequest{Version: 4}); err != nil || whole.GetCatalogue() == nil {
		t.Errorf("the current version, whole: %v", err)
	}
	if _, err := s.GetCatalogue(ctx, &taxonomypb.GetCatalogueRequest{Version: 3}); status.Code(err) != codes.Unavailable {
		t.Errorf("an older version: %v", err)
	}

	allow()
	if _, err := run(t, database, strings.Replace(sound, "version: 3", "version: 5", 1)); err != nil {
		t.Fatal(err)
	}
	for resp.GetVersion() != 5 {
		if resp, err = s.GetTaxonomy(t.Context(), &taxonomypb.GetTaxonomyRequest{Audience: taxonomypb.Audience_PARTICULIER}); err != nil {
			t.Fatal(err)
		}
	}
}

// cut ends all sessions of a database and lets no new one begin until the
// function it returns is called.
func cut(t *testing.T, database string) (allow func()) {
	t.Helper()
	cfg, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	name := cfg.Database
	cfg.Database = "postgres"
	execute := func(sql string, args ...any) {
		t.Helper()
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	execute(`ALTER DATABASE ` + name + ` WITH ALLOW_CONNECTIONS false`)
	execute(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1`, name)
	return func() { t.Helper(); execute(`ALTER DATABASE ` + name + ` WITH ALLOW_CONNECTIONS true`) }
}

func TestRun_OldSchema(t *testing.T) {
	t.Parallel()
	cfg := Config{DatabaseURL: testenv.Postgres(t, nil), Refresh: time.Second}
	// It waits for a migration that may be under way: not for ever.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := Run(ctx, cfg)
	if err == nil || !strings.Contains(err.Error(), "is at version 0 and this binary needs 5") {
		t.Errorf("got %v", err)
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	err := Config{CataloguePath: filepath.Join(t.TempDir(), "none.yaml"), Refresh: -1}.Validate()
	if err == nil || !strings.Contains(err.Error(), "none.yaml") || !strings.Contains(err.Error(), "REFRESH") {
		t.Errorf("got %v", err)
	}
}
