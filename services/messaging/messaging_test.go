package messaging

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// What is written in these tests, and who writes it. None of it may be in the
// database in clear, nor in an event, a log line, a span or a figure.
const (
	memberText  = "Bonjour, canari-du-membre : où en est mon dossier ?"
	agentText   = "Réponse canari-de-l'agent : votre dossier est complet."
	memberEmail = "jeanne@canari.example"
	memberPhone = "+33639989999"
	// memberNumber is as the issuer writes it; stored or told it may be in its normal form.
	memberName, memberNumber, normalNumber = "Jeanne Canari", "C4-N4R1-517", "C4N4R1517"
)

var (
	secrets = []string{"canari-du-membre", "canari-de-l'agent", "canari.example", memberPhone, memberName, memberNumber, normalNumber}
	// An agent's name is in the database, since a colleague may see it, but
	// nowhere else.
	forbidden = append(secrets[:len(secrets):len(secrets)], "Canari (agent)")

	logs   = &safeBuffer{}
	meters = metric.NewManualReader()
	spans  = tracetest.NewInMemoryExporter()
)

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

// TestMain listens to everything that the tests make the service say.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(meters)))
	result := m.Run()
	output := logs.String() + measured() + fmt.Sprintf("%+v", spans.GetSpans())
	for _, secret := range forbidden {
		if i := strings.Index(output, secret); i >= 0 {
			fmt.Printf("FAIL: a log line, a span or a figure holds %q: …%s…\n", secret, output[max(0, i-300):min(len(output), i+100)])
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

// stage is everything around the service, and its newest process.
type stage struct {
	cfg                       Config
	pool                      *pgxpool.Pool
	broker                    *testenv.Broker
	taxonomy                  *messagingtest.Taxonomy
	members, agents, machines *testenv.Issuer
	*process
}

// process is one Run with clients of it.
type process struct {
	messaging  messagingpb.MessagingServiceClient
	agent      messagingpb.AgentServiceClient
	recipients messagingpb.RecipientServiceClient
	events     messagingpb.EventLogServiceClient
	addr       string
	// cancel is what SIGTERM does; stop waits for the end too.
	cancel, stop func()
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{
		broker:  testenv.NATS(t),
		members: testenv.NewIssuer(t, auth.RealmMember), agents: testenv.NewIssuer(t, auth.RealmAgent), machines: testenv.NewIssuer(t, auth.RealmMachine),
	}
	s.taxonomy = &messagingtest.Taxonomy{Issuer: s.machines.Issuer}
	s.taxonomy.Current.Store(1)
	s.taxonomy.Serve(t)
	keyset, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	s.cfg = Config{
		Process:       chassis.Process{DrainTimeout: 10 * time.Second},
		Config:        auth.Config{Issuers: auth.Issuers{s.members.Issuer, s.agents.Issuer, s.machines.Issuer}},
		EventDomain:   eventspb.DefaultDomain,
		MachineConfig: auth.MachineConfig{TokenURL: s.machines.Issuer.URL + "/token", ClientID: "messaging", ClientSecret: "secret"},
		Bus:           bus.Config{URL: s.broker.URL, Replicas: 1, MaxBytes: 64 << 20},
		DatabaseURL:   testenv.Postgres(t, Migrations),
		Migrate:       true,
		TaxonomyAddr:  "passthrough:///" + s.taxonomy.Addr,
		// Tests ask for a version when they need it; the refresh must not help.
		TaxonomyRefresh: time.Hour,
		Keyset:          keyset,
		VaultURL:        testenv.Postgres(t, VaultMigrations),
		ClaimLease:      time.Minute,
		RelayPoll:       50 * time.Millisecond,
	}
	if err := s.cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s.pool = messagingtest.Open(t, s.cfg.DatabaseURL)
	return s
}

// running is a stage with a process on it.
func running(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.start(t)
	return s
}

// start runs the service until stop is called or the test ends, and returns when
// it answers.
func (s *stage) start(t *testing.T) *process {
	t.Helper()
	conn := s.launch(t)
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	return s.process
}

// launch is start without waiting, with clients that go by the options.
func (s *stage) launch(t *testing.T, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.cfg
	cfg.Listener = lis
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	conn, err := rpc.Dial("passthrough:///"+lis.Addr().String(), nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	s.process = &process{
		messaging: messagingpb.NewMessagingServiceClient(conn), agent: messagingpb.NewAgentServiceClient(conn), recipients: messagingpb.NewRecipientServiceClient(conn),
		events: messagingpb.NewEventLogServiceClient(conn),
		addr:   lis.Addr().String(), cancel: cancel,
		stop: sync.OnceFunc(func() {
			cancel()
			conn.Close()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(messagingtest.Patience):
				t.Error("the service does not end")
			}
		}),
	}
	t.Cleanup(s.stop)
	return conn
}

// caller is somebody with a token.
type caller struct {
	*stage
	token string
}

// call is the context of a call, with an idempotency key if one is given.
func (c caller) call(t *testing.T, key ...string) context.Context {
	pairs := []string{"authorization", "Bearer " + c.token}
	for _, k := range key {
		pairs = append(pairs, "idempotency-key", k)
	}
	return metadata.AppendToOutgoingContext(t.Context(), pairs...)
}

// member is a private person and employer of the caisse msa-75, unless the claims
// say otherwise.
func (s *stage) member(t *testing.T, name string, claims ...map[string]any) caller {
	t.Helper()
	all := map[string]any{
		"sub": name, "name": memberName, "member_number": memberNumber, "email": memberEmail, "phone_number": memberPhone, "locale": "fr-FR",
		"caisse": "msa-75", "profiles": []string{"PARTICULIER", "EMPLOYEUR"},
	}
	return caller{s, s.members.Token(t, merged(all, claims))}
}

// clerk is an agent of the caisse msa-75 for all queues, unless the claims say
// otherwise.
func (s *stage) clerk(t *testing.T, name string, claims ...map[string]any) caller {
	t.Helper()
	all := map[string]any{"sub": name, "name": name + " Canari (agent)", "caisse": "msa-75", "queues": []string{auth.AllQueues}, "roles": []string{auth.RoleAgent}}
	return caller{s, s.agents.Token(t, merged(all, claims))}
}

// machine is another process of this system.
func (s *stage) machine(t *testing.T) caller {
	t.Helper()
	return caller{s, s.machines.Token(t, map[string]any{"sub": "notifier", "roles": []string{auth.RoleService}})}
}

func merged(all map[string]any, claims []map[string]any) map[string]any {
	for _, some := range claims {
		for name, value := range some {
			all[name] = value
		}
	}
	return all
}

// question is a submission that is accepted.
func question() *messagingpb.SubmitMessageRequest {
	return &messagingpb.SubmitMessageRequest{
		Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", Topic: "allocations", Reason: "paiement-absent",
		TaxonomyVersion: 1, Text: memberText,
	}
}

// submit sends a question under a new key and returns the conversation.
func (c caller) submit(t *testing.T, changes ...func(*messagingpb.SubmitMessageRequest)) *messagingpb.Conversation {
	t.Helper()
	req := question()
	for _, change := range changes {
		change(req)
	}
	resp, err := c.messaging.SubmitMessage(c.call(t, uuid.NewString()), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetConversation()
}

// see returns a conversation as its member sees it.
func (c caller) see(t *testing.T, id string) *messagingpb.Conversation {
	t.Helper()
	resp, err := c.messaging.GetConversation(c.call(t), &messagingpb.GetConversationRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetConversation()
}

// claim takes a conversation in charge.
func (c caller) claim(t *testing.T, id string) *messagingpb.Conversation {
	t.Helper()
	resp, err := c.agent.ClaimConversation(c.call(t), &messagingpb.ClaimConversationRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetConversation()
}

// closingText is what a member reads of why their conversation was closed.
const closingText = "Votre demande est réglée au téléphone."

// ofAgentsAlone leaves out what members do not see of a conversation.
var ofAgentsAlone = protocmp.IgnoreFields(&messagingpb.Conversation{}, "last_message_id", "answered", "member", "wait_time")

// last is the id of the last message of a conversation; a made-up one where there is none.
func (s *stage) last(t *testing.T, id string) string {
	t.Helper()
	last := uuid.NewString()
	err := s.pool.QueryRow(t.Context(), `SELECT id FROM message WHERE conversation_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1`, id).Scan(&last)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	return last
}

// reply answers a conversation under a new key.
func (c caller) reply(t *testing.T, id string, final bool) *messagingpb.Conversation {
	t.Helper()
	resp, err := c.agent.PostReply(c.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, LastMessageId: c.last(t, id), Text: agentText, Final: final})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetConversation()
}

// refused checks the refusal that a caller got. An empty field expects no violation of
// one. It returns the metadata of the reason.
func refused(t *testing.T, err error, code codes.Code, reason, field string) map[string]string {
	t.Helper()
	var gotReason, gotField string
	var meta map[string]string
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			gotReason, meta = detail.GetReason(), detail.GetMetadata()
		case *errdetails.BadRequest:
			gotField = detail.GetFieldViolations()[0].GetField()
			if violated := detail.GetFieldViolations()[0].GetReason(); violated != reason {
				t.Errorf("violation %q, want %q", violated, reason)
			}
		}
	}
	if status.Code(err) != code || gotReason != reason || gotField != field {
		t.Errorf("got %v %q on %q, want %v %q on %q (%v)", status.Code(err), gotReason, gotField, code, reason, field, err)
	}
	return meta
}

// rows is how many rows each table has that a submission or a reply writes to.
func (s *stage) rows(t *testing.T) string {
	t.Helper()
	var counts string
	if err := s.pool.QueryRow(t.Context(), `SELECT concat_ws(' ',
		'member', (SELECT count(*) FROM member), 'conversation', (SELECT count(*) FROM conversation),
		'message', (SELECT count(*) FROM message), 'event_log', (SELECT count(*) FROM event_log))`).Scan(&counts); err != nil {
		t.Fatal(err)
	}
	return counts
}

// count runs a query that counts.
func (s *stage) count(t *testing.T, sql string, args ...any) (n int) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// dump is every row of every table as text; partitions are part of theirs.
func (s *stage) dump(t *testing.T, without ...string) string {
	t.Helper()
	return dumpOf(t, s.pool, without...)
}

func dumpOf(t *testing.T, pool *pgxpool.Pool, without ...string) string {
	t.Helper()
	names, err := pool.Query(t.Context(), `SELECT relname::text FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND NOT (relname = ANY (COALESCE($1::text[], '{}'))) ORDER BY 1`, without)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(names, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, table := range tables {
		rows, err := pool.Query(t.Context(), `SELECT t::text FROM `+pgx.Identifier{table}.Sanitize()+` t`)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, table, lines)
	}
	return all.String()
}

// holdsSecret returns which secret is in a text, or in the hexadecimal form in
// which PostgreSQL writes bytes.
func holdsSecret(text string) string {
	for _, secret := range secrets {
		if strings.Contains(text, secret) || strings.Contains(text, hex.EncodeToString([]byte(secret))) {
			return secret
		}
	}
	return ""
}

// published waits until the outbox is empty and returns what the stream holds.
func (s *stage) published(t *testing.T) []*jetstream.RawStreamMsg {
	t.Helper()
	messagingtest.Eventually(t, "the outbox is empty", func() bool { return s.count(t, `SELECT count(*) FROM outbox`) == 0 })
	return s.streamed(t)
}

// streamed is what the stream holds now.
func (s *stage) streamed(t *testing.T) []*jetstream.RawStreamMsg {
	t.Helper()
	conn, err := nats.Connect(s.broker.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), eventspb.StreamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	msgs := make([]*jetstream.RawStreamMsg, stream.CachedInfo().State.LastSeq)
	for i := range msgs {
		if msgs[i], err = stream.GetMsg(t.Context(), uint64(i)+1); err != nil {
			t.Fatal(err)
		}
	}
	return msgs
}

func TestConfig_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := chassis.Load[Config]("MESSAGING_", []string{
		"MESSAGING_ISSUERS=[]", "MESSAGING_DATABASE_URL=postgres://x", "MESSAGING_VAULT_URL=vault", "MESSAGING_ERASURE_RETENTION=24h", "MESSAGING_KEYSET={}", "MESSAGING_DEFAULT_CAISSE=MSA 75", "MESSAGING_EVENT_DOMAIN=https://example.org",
		"MESSAGING_CLAIM_LEASE=0s", "MESSAGING_RELAY_POLL=-1s", "MESSAGING_TAXONOMY_REFRESH=soon", "MESSAGING_EVENT_LOG_RETENTION=359h",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, fault := range []string{"TOKEN_PATH", "key set", "DEFAULT_CAISSE", "EVENT_DOMAIN", "CLAIM_LEASE", "RELAY_POLL", "VAULT_URL", "ERASURE_RETENTION", "TaxonomyRefresh", "EVENT_LOG_RETENTION"} {
		if !strings.Contains(err.Error(), fault) {
			t.Errorf("%s is not in:\n%v", fault, err)
		}
	}
	if _, err := chassis.Load[Config]("MESSAGING_", nil); err == nil || !strings.Contains(err.Error(), "DATABASE_URL") || !strings.Contains(err.Error(), "KEYSET") || !strings.Contains(err.Error(), "ISSUERS") {
		t.Errorf("what is required is not in: %v", err)
	}
	keyset, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	for name, given := range map[string]struct{ keyset, path, fault string }{
		"both": {keyset, "/keyset", "exactly one of KEYSET_PATH and KEYSET"}, "no file": {"", "/no/such/file", "/no/such/file"},
	} {
		_, err := chassis.Load[Config]("MESSAGING_", []string{"MESSAGING_KEYSET=" + given.keyset, "MESSAGING_KEYSET_PATH=" + given.path, "MESSAGING_EVENT_LOG_RETENTION=359h"})
		if err == nil || !strings.Contains(err.Error(), given.fault) || !strings.Contains(err.Error(), "EVENT_LOG_RETENTION") || strings.Contains(err.Error(), "primaryKeyId") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, kek := range []string{"hcvault://", "https://kms/transit/keys/k", "hcvault://kms:8200/transit/k", "hcvault://kms:8200/keys/", "hcvault://u:p@kms:8200/transit/keys/k", "hcvault://kms:8200/transit/keys/k?x=1"} {
		if _, err := chassis.Load[Config]("MESSAGING_", []string{"MESSAGING_KEYSET_KEK=" + kek}); err == nil || !strings.Contains(err.Error(), "KEYSET_KEK is not") || !strings.Contains(err.Error(), "KEYSET_KEK_TOKEN") {
			t.Errorf("%s: %v", kek, err)
		}
	}
	cfg, err := chassis.Load[Config]("MESSAGING_", []string{
		"MESSAGING_ISSUERS=[]", "MESSAGING_DATABASE_URL=postgres://x", "MESSAGING_VAULT_URL=postgres://y", "MESSAGING_KEYSET=" + keyset, "MESSAGING_TOKEN_PATH=/token",
	})
	if err != nil || cfg.ClaimLease != 15*time.Minute || cfg.DefaultCaisse != "" || !cfg.Migrate {
		t.Errorf("the least configuration: %v, %+v", err, cfg.ClaimLease)
	}
}

func TestRun_RefusesAnOlderSchema(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.DatabaseURL, s.cfg.Migrate = testenv.Postgres(t, nil), false
	// It waits for a migration that may be under way: not for ever.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := Run(ctx, s.cfg); err == nil || !strings.Contains(err.Error(), "MIGRATE=true") {
		t.Errorf("got %v", err)
	}
	s.cfg.Migrate = true
	s.start(t)
	s.member(t, "jeanne").submit(t)
}

// What SIGTERM does, in the middle of everything: whatever was answered with
// success is stored, and its event gets out, by this process or by the next.
func TestRun_EndLosesNothingAnswered(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	p := s.start(t)
	const callers, enough = 32, 300
	var mu sync.Mutex
	var answered []string
	var wg sync.WaitGroup
	for i := range callers {
		c := s.member(t, fmt.Sprint("m", i))
		wg.Go(func() {
			for {
				resp, err := p.messaging.SubmitMessage(c.call(t, uuid.NewString()), question())
				if err != nil {
					if code := status.Code(err); code != codes.Unavailable {
						t.Errorf("a caller got %v", err)
					}
					return
				}
				mu.Lock()
				answered = append(answered, resp.GetConversation().GetId())
				if len(answered) == enough {
					p.cancel()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	p.stop()
	if n := s.count(t, `SELECT count(*) FROM conversation c JOIN message m ON m.conversation_id = c.id WHERE c.id = ANY($1::uuid[])`, answered); n != len(answered) || n < enough {
		t.Errorf("%d of %d answered submissions are stored", n, len(answered))
	}
	all := s.count(t, `SELECT count(*) FROM conversation`)
	s.start(t)
	if n := len(eventIDs(t, s)); n != all {
		t.Errorf("%d events on the stream for %d conversations", n, all)
	}
}

// A call under way when the end comes is answered, however long it has taken to
// get as far as the committer.
func TestRun_EndAnswersCallsUnderWay(t *testing.T) {
	t.Parallel()
	s := running(t)
	release := s.hold(t, `LOCK TABLE member IN SHARE MODE`)
	jeanne, answer := s.member(t, "jeanne"), make(chan error, 1)
	go func() {
		_, err := s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), question())
		answer <- err
	}()
	s.blocked(t)
	s.cancel()
	messagingtest.Eventually(t, "the service takes no new calls", func() bool {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	release()
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

// hold runs a statement in a transaction that stays open until release is called.
func (s *stage) hold(t *testing.T, sql string, args ...any) (release func()) {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// However slow the machine is, the lock is let go by the test alone.
	if _, err := tx.Exec(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// blocked waits until somebody waits for a lock that hold has taken.
func (s *stage) blocked(t *testing.T) {
	t.Helper()
	messagingtest.Eventually(t, "a session waits for a lock", func() bool {
		return s.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
	})
}

// The newest version comes by itself, without a caller who asks for it.
func TestRun_FollowsTheTaxonomy(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.TaxonomyRefresh = 20 * time.Millisecond
	s.start(t)
	jeanne := s.member(t, "jeanne")
	jeanne.submit(t)
	s.taxonomy.Current.Store(2)
	messagingtest.Eventually(t, "the old version is refused", func() bool {
		_, err := s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), question())
		return status.Code(err) == codes.InvalidArgument
	})
	_, err := s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), question())
	if meta := refused(t, err, codes.InvalidArgument, "TAXONOMY_VERSION_OUTDATED", "taxonomyVersion"); meta["given"] != "1" || meta["current"] != "2" {
		t.Errorf("versions %v", meta)
	}
	// Beside another fault it is one of two: such a message cannot have been stored before.
	bad := question()
	bad.Text = "Un caractère\u202e interdit."
	_, err = s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), bad)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("an old version and a bad text: %v", err)
	}
	got := jeanne.submit(t, func(r *messagingpb.SubmitMessageRequest) { r.TaxonomyVersion = 2 })
	if got.GetTheme().GetLabel() != "Famille v2" || got.GetTaxonomyVersion() != 2 {
		t.Errorf("got %v", got)
	}
}

// While the database is away, calls are UNAVAILABLE: callers retry with the same key.
func TestRun_DatabaseAway(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	link := newLink(t, s.pool.Config().ConnConfig)
	s.cfg.DatabaseURL = link.url
	s.start(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id := jeanne.submit(t).GetId()
	link.cut()
	key := uuid.NewString()
	_, submitErr := s.messaging.SubmitMessage(jeanne.call(t, key), question())
	for name, err := range map[string]error{
		"submit": submitErr,
		"list":   second(s.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{})),
		"get":    second(s.messaging.GetConversation(jeanne.call(t), &messagingpb.GetConversationRequest{Id: id})),
		"queue":  second(s.agent.ListConversations(claire.call(t), &messagingpb.AgentServiceListConversationsRequest{})),
		"claim":  second(s.agent.ClaimConversation(claire.call(t), &messagingpb.ClaimConversationRequest{Id: id})),
		"reply":  second(s.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: agentText})),
	} {
		t.Log(name)
		refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE", "")
	}
	link.restore(t)
	messagingtest.Eventually(t, "the database is back", func() bool {
		_, err := s.messaging.SubmitMessage(jeanne.call(t, key), question())
		return err == nil
	})
	if n := s.count(t, `SELECT count(*) FROM conversation`); n != 2 {
		t.Errorf("%d conversations", n)
	}
}

// link is a TCP connection to a database that can be cut.
type link struct {
	url, addr string
	to        *pgx.ConnConfig

	mu    sync.Mutex
	down  bool
	lis   net.Listener
	conns []net.Conn
}

func newLink(t *testing.T, to *pgx.ConnConfig) *link {
	t.Helper()
	l := &link{addr: "127.0.0.1:0", to: to}
	l.restore(t)
	host, port, err := net.SplitHostPort(l.addr)
	if err != nil {
		t.Fatal(err)
	}
	l.url = fmt.Sprintf("host=%s port=%s user=%s password='%s' dbname=%s sslmode=disable", host, port, to.User, to.Password, to.Database)
	t.Cleanup(l.cut)
	return l
}

// restore listens, on the same address as before.
func (l *link) restore(t *testing.T) {
	t.Helper()
	lis, err := net.Listen("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.lis, l.addr, l.down = lis, lis.Addr().String(), false
	l.mu.Unlock()
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			l.forward(conn)
		}
	}()
}

func (l *link) forward(client net.Conn) {
	network, address := pgconn.NetworkAddress(l.to.Host, l.to.Port)
	server, err := net.Dial(network, address)
	if err != nil {
		client.Close()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down { // accepted in the moment of the cut
		client.Close()
		server.Close()
		return
	}
	l.conns = append(l.conns, client, server)
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			client.Close()
			server.Close()
		}()
	}
}

// cut ends all connections and takes no new ones.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	l.lis.Close()
	for _, conn := range l.conns {
		conn.Close()
	}
	l.conns = nil
}
