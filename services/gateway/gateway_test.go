package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
)

// TestDrainLosesNoCall ends the gateway while a call of each protocol waits at
// the service.
func TestDrainLosesNoCall(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.DrainDelay = 3 * time.Second })
	entered, held := make(chan struct{}, 2), make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	s.submit = func(context.Context, *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error) {
		entered <- struct{}{}
		<-held
		return &messagingpb.SubmitMessageResponse{}, nil
	}
	grpcDone, restDone := make(chan error, 1), make(chan reply, 1)
	client := messagingpb.NewMessagingServiceClient(s.grpc)
	go func() {
		_, err := client.SubmitMessage(s.as(t, "member"), &messagingpb.SubmitMessageRequest{Audience: 1, Theme: "x"})
		grpcDone <- err
	}()
	go func() {
		restDone <- s.rest(t, "member", "POST", "/v1/conversations", `{"audience":"PARTICULIER","theme":"x"}`)
	}()
	<-entered
	<-entered
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()

	// It goes on serving while it says that it is not ready.
	awaitReady(t, s, http.StatusServiceUnavailable)
	if _, err := client.ListConversations(s.as(t, "member"), &messagingpb.ListConversationsRequest{}); err != nil {
		t.Errorf("call before the drain's delay is over: %v", err)
	}
	awaitClosed(t, s.url)
	select {
	case <-stopped:
		t.Error("ended with calls under way")
	default:
	}
	release()
	if err := <-grpcDone; err != nil {
		t.Errorf("gRPC call under way: %v", err)
	}
	if got := <-restDone; got.code != http.StatusOK {
		t.Errorf("REST call under way: %d %s", got.code, got.body)
	}
	<-stopped
}

func awaitReady(t *testing.T, s *stack, code int) {
	t.Helper()
	for t.Context().Err() == nil {
		if got := s.rest(t, "nobody", "GET", "/readyz", ""); got.code == code {
			return
		}
	}
}

func awaitClosed(t *testing.T, url string) {
	t.Helper()
	for t.Context().Err() == nil {
		var dialer net.Dialer
		conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			return
		}
		conn.Close()
	}
}

func TestServiceAway(t *testing.T) {
	t.Parallel()
	lis := listen(t)
	away := lis.Addr().String()
	lis.Close()
	s := start(t, func(cfg *Config) { cfg.MessagingAddr = away })
	_, err := messagingpb.NewMessagingServiceClient(s.grpc).ListConversations(s.as(t, "member"), &messagingpb.ListConversationsRequest{})
	if st := status.Convert(err); answer.ReasonOf(st) != errorpb.ErrorReason_SERVICE_UNAVAILABLE || strings.Contains(st.String(), "127.0.0.1") {
		t.Errorf("gRPC: %v", err)
	}
	got := s.rest(t, "member", "GET", "/v1/conversations", "")
	if got.code != 503 || got.header.Get("Retry-After") == "" || strings.Contains(got.body, "127.0.0.1") {
		t.Errorf("REST: %d %s", got.code, got.body)
	}
	if got := s.rest(t, "nobody", "GET", "/v1/taxonomy?audience=PARTICULIER", ""); got.code != 200 {
		t.Errorf("the other service: %d %s", got.code, got.body)
	}
	if got := s.rest(t, "nobody", "GET", "/readyz", ""); got.code != 503 || strings.Contains(got.body, "127.0.0.1") {
		t.Errorf("ready: %d %s", got.code, got.body)
	}
	if got := s.rest(t, "nobody", "GET", "/livez", ""); got.code != 200 {
		t.Errorf("live: %d %s", got.code, got.body)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	awaitReady(t, start(t), http.StatusOK)
}

func TestTLSOnBothPorts(t *testing.T) {
	t.Parallel()
	certPath, keyPath, pool := certificate(t)
	var grpcAddr string
	s := start(t, func(cfg *Config) {
		cfg.TLSCertPath, cfg.TLSKeyPath = certPath, keyPath
		grpcAddr = cfg.Listener.Addr().String()
	})
	trust := &tls.Config{RootCAs: pool, ServerName: "example.com"}
	conn, err := grpc.NewClient(grpcAddr, grpc.WithTransportCredentials(credentials.NewTLS(trust)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := taxonomypb.NewTaxonomyServiceClient(conn).GetTaxonomy(t.Context(), &taxonomypb.GetTaxonomyRequest{Audience: 1}); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(s.url, "http:", "https:", 1)+"/livez", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		t.Errorf("HTTP: %s over %s", resp.Status, resp.Proto)
	}
}

// certificate writes that of net/http/httptest, for example.com, to files.
func certificate(t *testing.T) (certPath, keyPath string, pool *x509.CertPool) {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	cert := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pool = x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return write("cert.pem", "CERTIFICATE", cert.Certificate[0]), write("key.pem", "PRIVATE KEY", key), pool
}

func TestTakenPortIsNamed(t *testing.T) {
	t.Parallel()
	taken := listen(t)
	defer taken.Close()
	cfg := Config{TaxonomyAddr: "127.0.0.1:1", MessagingAddr: "127.0.0.1:1", NotifierAddr: "127.0.0.1:1", HTTPAddr: taken.Addr().String()}
	cfg.Listener = listen(t)
	err := Run(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) || !strings.Contains(err.Error(), "GATEWAY_HTTP_ADDR") {
		t.Errorf("error is %v", err)
	}
	if _, err := healthpb.NewHealthClient(dial(t, cfg.Listener.Addr().String())).Check(t.Context(), &healthpb.HealthCheckRequest{}); err == nil {
		t.Error("the other port is still served")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	minimal := []string{
		`G_ISSUERS=[{"url":"https://idp.example.org","realm":"member","audiences":["messagerie"]}]`,
		"G_TAXONOMY_ADDR=dns:///taxonomy:9090", "G_MESSAGING_ADDR=dns:///messaging:9090", "G_NOTIFIER_ADDR=dns:///notifier:9090",
	}
	cfg, err := chassis.Load[Config]("G_", minimal)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.HTTPAddr != ":8080" || cfg.Addr != ":9090" || cfg.CallTimeout != 10*time.Second || cfg.RatePerCaller != 20 || cfg.BurstPerCaller != 60 || !cfg.AccessLog {
		t.Errorf("defaults are %+v", cfg)
	}
	full := append(minimal, "G_TRUSTED_PROXIES=10.0.0.0/8,2001:db8::/32", "G_CORS_ORIGINS=https://a.example.org,http://localhost:*")
	if cfg, err = chassis.Load[Config]("G_", full); err != nil || len(cfg.TrustedProxies) != 2 || len(cfg.CORSOrigins) != 2 {
		t.Errorf("lists are %v %v, %v", cfg.TrustedProxies, cfg.CORSOrigins, err)
	}
	wrong := append(minimal[:1:1], "G_TLS_CERT_PATH=x", "G_RATE_PER_CALLER=-1", "G_BURST_PER_ADDRESS=0", "G_CORS_ORIGINS=https://a.example.org/", "G_CALL_TIMEOUT=-1s", "G_WEBHOOK_RATE=-1")
	_, err = chassis.Load[Config]("G_", wrong)
	for _, name := range []string{"TAXONOMY_ADDR", "MESSAGING_ADDR", "NOTIFIER_ADDR", "WEBHOOK_RATE", "TLS_KEY_PATH", "RATE_PER_CALLER", "BURST_PER_ADDRESS", "CORS_ORIGINS", "CALL_TIMEOUT"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in the error: %v", name, err)
		}
	}
}
