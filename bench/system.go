package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/dev/oidc"
	"github.com/ma-messagerie/messagerie/services/gateway"
	"github.com/ma-messagerie/messagerie/services/messaging"
	"github.com/ma-messagerie/messagerie/services/taxonomy"
)

// serve runs one service as its own main does. The services of the system are
// children of this program with a name as argument, so that each is a process of
// its own and can be profiled.
func serve(name string) error {
	if path := os.Getenv("BENCH_CPU_FILE"); path != "" { //nolint:forbidigo // from the parent, see system.start
		file, err := os.Create(path) //nolint:gosec // as its own parent asked
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	switch name {
	case "gateway":
		chassis.Main(name, gateway.Run)
	case "messaging":
		chassis.Main(name, messaging.Run)
	case "taxonomy":
		chassis.Main(name, taxonomy.Run)
	default:
		return fmt.Errorf("no service is named %q", name)
	}
	return nil
}

// startOrder is the order of system.children.
var startOrder = []string{"taxonomy", "messaging", "gateway"}

// system is the gateway with what stands behind a submission, each a process.
type system struct {
	http, grpc string
	tokens     []string
	children   []*exec.Cmd
	undo       []func()
}

// startSystem starts everything on an empty database and returns when the gateway
// is ready. Rate limits and the access log are off.
func (r *rig) startSystem(ctx context.Context, label string) (_ *system, err error) {
	s := &system{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	addrs, err := freePorts(6)
	if err != nil {
		return nil, err
	}
	s.http, s.grpc = addrs[0], addrs[1]
	provider, err := s.startIssuer(addrs[2], filepath.Join(r.dir, "oidc"))
	if err != nil {
		return nil, err
	}
	for _, who := range []string{"jeanne", "marc"} {
		token, err := provider.Token(who)
		if err != nil {
			return nil, err
		}
		s.tokens = append(s.tokens, token)
	}
	nats, err := r.startBroker(true)
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, nats.stop)
	database, drop, err := r.schema(ctx)
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, drop)
	catalogue := fmt.Sprintf("bench_taxonomy_%d", r.databases)
	if err := r.cluster.CreateDatabase(ctx, catalogue); err != nil {
		return nil, err
	}
	if err := s.startServices(r, label, provider, addrs, nats.url(), database, r.cluster.URL(catalogue)); err != nil {
		return nil, err
	}
	return s, s.awaitReady(ctx)
}

func (s *system) startServices(r *rig, label string, provider *oidc.Provider, addrs []string, nats, database, catalogue string) error {
	issuers, err := json.Marshal(provider.Issuers())
	if err != nil {
		return err
	}
	keyset, err := messaging.NewKeyset()
	if err != nil {
		return err
	}
	machine, err := provider.Machine("messaging")
	if err != nil {
		return err
	}
	settings := map[string][]string{
		"taxonomy": {"TAXONOMY_GRPC_ADDR=" + addrs[3], "TAXONOMY_DATABASE_URL=" + catalogue},
		"messaging": {
			"MESSAGING_GRPC_ADDR=" + addrs[4], "MESSAGING_DATABASE_URL=" + database, "MESSAGING_NATS_URL=" + nats, "MESSAGING_KEYSET=" + keyset,
			"MESSAGING_TAXONOMY_ADDR=" + addrs[3], "MESSAGING_TOKEN_URL=" + machine.TokenURL, "MESSAGING_CLIENT_ID=" + machine.ClientID,
			"MESSAGING_CLIENT_SECRET=" + machine.ClientSecret,
		},
		"gateway": {
			"GATEWAY_HTTP_ADDR=" + s.http, "GATEWAY_GRPC_ADDR=" + s.grpc, "GATEWAY_TAXONOMY_ADDR=" + addrs[3], "GATEWAY_MESSAGING_ADDR=" + addrs[4],
			"GATEWAY_NOTIFIER_ADDR=127.0.0.1:1", "GATEWAY_RATE_PER_CALLER=0", "GATEWAY_RATE_PER_ADDRESS=0", "GATEWAY_ACCESS_LOG=false",
		},
	}
	for _, name := range startOrder {
		prefix := map[string]string{"taxonomy": "TAXONOMY_", "messaging": "MESSAGING_", "gateway": "GATEWAY_"}[name]
		environ := append(settings[name], prefix+"ISSUERS="+string(issuers), prefix+"ADMIN_ADDR=127.0.0.1:0", prefix+"LOG_LEVEL=WARN")
		if r.cfg.Profile != "" {
			environ = append(environ, "BENCH_CPU_FILE="+filepath.Join(r.cfg.Profile, label+"-"+name+".cpu"))
		}
		if err := s.start(name, environ); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) start(name string, environ []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, name) //nolint:noctx,gosec // stop ends it; ourselves
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	s.children = append(s.children, cmd)
	return nil
}

// startIssuer serves the development's OIDC provider.
func (s *system) startIssuer(addr, state string) (*oidc.Provider, error) {
	provider, err := oidc.New(oidc.Config{BaseURL: "http://" + addr, StateDir: state})
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Addr: addr, Handler: provider, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.ListenAndServe() }()
	s.undo = append(s.undo, func() { _ = srv.Close() })
	return provider, nil
}

// awaitReady asks the gateway until it and what is behind it are ready.
func (s *system) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := &http.Client{Timeout: time.Second}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the gateway: %w", err)
		case <-ticker.C:
		}
	}
}

// stop ends the services, the gateway first, then what they used.
func (s *system) stop() error {
	var faults []error
	for i := len(s.children) - 1; i >= 0; i-- {
		faults = append(faults, s.children[i].Process.Signal(syscall.SIGTERM), s.children[i].Wait())
	}
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	return errors.Join(faults...)
}

// broker is a NATS server of this process with its store in a folder of its own.
type broker struct {
	*server.Server
	dir string
}

// startBroker starts one that fsyncs before each acknowledgement, or, lazily,
// every two minutes, which is the broker's default.
func (r *rig) startBroker(syncAlways bool) (*broker, error) {
	dir, err := os.MkdirTemp(r.dir, "nats-")
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, SyncAlways: syncAlways, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, err
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("the broker does not answer")
	}
	return &broker{srv, dir}, nil
}

func (b *broker) url() string { return b.ClientURL() }

func (b *broker) stop() {
	b.Shutdown()
	b.WaitForShutdown()
	_ = os.RemoveAll(b.dir)
}

// freePorts returns addresses that were free a moment ago.
func freePorts(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		lis, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once
		if err != nil {
			return nil, err
		}
		defer lis.Close()
		addrs[i] = lis.Addr().String()
	}
	return addrs, nil
}
