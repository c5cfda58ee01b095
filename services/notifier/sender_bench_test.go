package notifier

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/letter"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// benchWorkers is how many sends are under way at once.
const benchWorkers = 64

// benchTelemetry is what a process without a collector has; TestMain keeps every
// span in memory.
var benchTelemetry = sync.OnceValue(func() error {
	_, err := chassis.StartTelemetry(context.Background(), "bench", slog.LevelWarn, io.Discard)
	return err
})

// sink stands in for SendGrid: TLS, HTTP/1.1, reads a mail and accepts it.
type sink struct {
	*httptest.Server
	mails, conns atomic.Int64
	// first is the body of the first mail.
	first     []byte
	firstOnce sync.Once
}

func newSink(b *testing.B) *sink {
	b.Helper()
	if err := benchTelemetry(); err != nil {
		b.Fatal(err)
	}
	s := &sink{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.firstOnce.Do(func() { s.first, _ = io.ReadAll(r.Body) })
		_, _ = io.Copy(io.Discard, r.Body)
		s.mails.Add(1)
		w.Header().Set("X-Message-Id", "sg-1")
		w.WriteHeader(http.StatusAccepted)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.StartTLS()
	b.Cleanup(s.Close)
	// The product's client believes the system's authorities, which Go reads at
	// the first need: benchmarks run alone, as -run '^$' has it.
	path := filepath.Join(b.TempDir(), "authority.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Setenv("SSL_CERT_FILE", path)
	return s
}

func (s *sink) settings() provider.SendGrid {
	return provider.SendGrid{BaseURL: s.URL, APIKey: "k", From: "no-reply@example.org", FromName: "Ma messagerie"}
}

// benchMail is an acknowledgement as it is sent.
func benchMail(b *testing.B) provider.Email {
	b.Helper()
	m, err := letter.Composer{Site: "messagerie.example.org"}.Mail(ledger.Delivery{EventType: ledger.MessageSubmitted}, member("fr"))
	if err != nil {
		b.Fatal(err)
	}
	m.DeliveryID = uuid.NewString() + ".EMAIL"
	return m
}

// send makes b.N sends, 64 at a time, and reports their rate and how many
// connections they took.
func (s *sink) send(b *testing.B, one func(context.Context) error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	b.ResetTimer()
	for range benchWorkers {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := one(b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
	b.ReportMetric(float64(s.conns.Load())*1000/float64(b.N), "conns/1000")
}

// BenchmarkProvider compares the client of SendGrid with plain posts of the body
// it makes. Give it a count: -benchtime 30000x.
func BenchmarkProvider(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		s, m := newSink(b), benchMail(b)
		mails := provider.NewSendGrid(s.settings(), benchWorkers, 10*time.Second)
		s.send(b, func(ctx context.Context) error {
			if a := mails.Mail(ctx, m); a.Class != provider.Accepted {
				return fmt.Errorf("%+v", a)
			}
			return nil
		})
	})
	b.Run("plain", func(b *testing.B) {
		s := newSink(b)
		provider.NewSendGrid(s.settings(), 1, 10*time.Second).Mail(b.Context(), benchMail(b))
		body := s.first
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchWorkers}, Timeout: 10 * time.Second}
		b.Cleanup(client.CloseIdleConnections)
		s.send(b, func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v3/mail/send", bytes.NewReader(body))
			if err != nil {
				return err
			}
			req.Header.Set("Authorization", "Bearer k")
			req.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		})
	})
}

// everybody is the messaging service: whoever is asked for can be reached.
type everybody struct {
	messagingpb.UnimplementedRecipientServiceServer
}

func (everybody) BatchGetRecipients(_ context.Context, req *messagingpb.BatchGetRecipientsRequest) (*messagingpb.BatchGetRecipientsResponse, error) {
	resp := &messagingpb.BatchGetRecipientsResponse{}
	for _, id := range req.GetConversationIds() {
		to := member("fr")
		to.ConversationId = id
		resp.Recipients = append(resp.Recipients, to)
	}
	return resp, nil
}

// BenchmarkNotifier sends one e-mail for each of b.N events that wait at the
// broker: intake, ledger, recipients, rendering, provider and record. It ends when
// the ledger has all outcomes. Give it a count: -benchtime 20000x.
//
// The events announce replies: an acknowledgement would also send an SMS, which
// waits for the morning when the benchmark runs at night. Of a reply nobody here wants one,
// as most members: its row is planned and ended, too.
func BenchmarkNotifier(b *testing.B) {
	s := newSink(b)
	cfg := benchConfig(b, s)
	fillBroker(b, cfg)
	pool, err := postgres.Open(b.Context(), cfg.DatabaseURL)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	ended := make(chan error, 1)
	b.ResetTimer()
	go func() { ended <- Run(ctx, cfg) }()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for accepted := 0; accepted < b.N; {
		select {
		case err := <-ended:
			b.Fatal("the notifier has ended: ", err)
		case <-ticker.C:
		}
		if s.mails.Load() < int64(b.N) {
			continue // the database has better to do than to count
		}
		if err := pool.QueryRow(ctx, `SELECT count(*) FROM delivery WHERE state = 'accepted'`).Scan(&accepted); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	if n := s.mails.Load(); n != int64(b.N) {
		b.Fatalf("%d mails for %d events", n, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "notifications/s")
}

func benchConfig(b *testing.B, s *sink) Config {
	b.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(insecure.NewCredentials()))
	messagingpb.RegisterRecipientServiceServer(server, everybody{})
	healthpb.RegisterHealthServer(server, health.NewServer()) // our clients ask
	go func() { _ = server.Serve(lis) }()
	b.Cleanup(server.Stop)
	issuer := testenv.NewIssuer(b, auth.RealmMachine)
	return Config{
		Process:       chassis.Process{DrainTimeout: 10 * time.Second},
		ServerConfig:  rpc.ServerConfig{Addr: "127.0.0.1:0"},
		MachineConfig: auth.MachineConfig{TokenURL: issuer.Issuer.URL + "/token", ClientID: "notifier", ClientSecret: "secret"},
		Bus:           bus.Config{URL: testenv.NATS(b).URL, Replicas: 1, MaxBytes: 1 << 30},
		SendGrid:      s.settings(),
		Twilio:        provider.Twilio{BaseURL: s.URL, AccountSID: "AC0", AuthToken: "t", From: "+33639980000"},
		DatabaseURL:   testenv.Postgres(b, Migrations),
		MessagingAddr: "passthrough:///" + lis.Addr().String(),
		SiteAddress:   "messagerie.example.org",
		Workers:       benchWorkers, CallTimeout: 10 * time.Second, Lease: 45 * time.Second, AmbiguityWait: 3 * time.Minute, Poll: time.Second,
		WebhookMaxAge: 25 * time.Hour,
	}
}

// fillBroker publishes b.N replies.
func fillBroker(b *testing.B, cfg Config) {
	b.Helper()
	events, err := bus.Connect("bench", cfg.Bus, bus.Stream{
		Name: eventspb.StreamName, Subjects: []string{eventspb.SubjectPrefix + ">"}, MaxAge: eventspb.MaxAge, DuplicateWindow: eventspb.DuplicateWindow,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer events.Close()
	if err := events.EnsureStream(b.Context()); err != nil {
		b.Fatal(err)
	}
	batch := make([]bus.Event, b.N)
	for i := range batch {
		id, conversation := uuid.NewString(), uuid.NewString()
		data, err := proto.Marshal(&eventspb.ReplyPosted{Origin: &eventspb.Origin{EventId: id, ConversationId: conversation, Reference: "MSA-7K2M9QXP", Caisse: "armorique"}, Final: true})
		if err != nil {
			b.Fatal(err)
		}
		batch[i] = bus.Event{
			ID: id, Type: eventspb.CEType(eventspb.DefaultDomain, eventspb.TypeReplyPosted), Source: "/messaging", Subject: eventspb.Subject(eventspb.TypeReplyPosted, "armorique"),
			Entity: conversation, Time: time.Now(), Data: data,
		}
	}
	for _, err := range events.Publish(b.Context(), batch) {
		if err != nil {
			b.Fatal(err)
		}
	}
}
