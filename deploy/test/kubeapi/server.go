package kubeapi

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Server is a running API server with its etcd.
type Server struct {
	address string
	token   string
	client  *http.Client
	running []*process
}

// process is a child; gone is closed when it has ended.
type process struct {
	*exec.Cmd
	output bytes.Buffer
	gone   chan struct{}
}

// Start runs both in a folder, which is the caller's to remove, and waits until the
// server is ready.
func Start(ctx context.Context, binaries, dir string) (*Server, error) {
	ports, err := freePorts(ctx, 3)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("making a token: %w", err)
	}
	s := &Server{address: "https://127.0.0.1:" + ports[2], token: hex.EncodeToString(secret)}
	if err := s.credentials(dir); err != nil {
		return nil, err
	}
	etcd := "http://127.0.0.1:" + ports[0]
	err = s.run(filepath.Join(binaries, "etcd"), "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", "http://127.0.0.1:"+ports[1], "--log-level", "error")
	if err == nil {
		err = s.run(filepath.Join(binaries, "kube-apiserver"), "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--secure-port", ports[2],
			"--cert-dir", filepath.Join(dir, "certificates"), "--token-auth-file", filepath.Join(dir, "tokens.csv"), "--authorization-mode", "RBAC",
			"--service-account-key-file", filepath.Join(dir, "key.pem"), "--service-account-signing-key-file", filepath.Join(dir, "key.pem"),
			"--service-account-issuer", "https://kubernetes.default.svc", "--service-cluster-ip-range", "10.96.0.0/16",
			// There is no controller that makes each namespace's default account.
			"--disable-admission-plugins", "ServiceAccount")
	}
	if err == nil {
		err = s.wait(ctx)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// credentials writes a token for one administrator and the key that signs service
// accounts' tokens.
func (s *Server) credentials(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "key.pem"), block, 0o600),
		os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(s.token+`,admin,admin,system:masters`+"\n"), 0o600),
	)
}

func (s *Server) run(name string, args ...string) error {
	p := &process{Cmd: exec.Command(name, args...), gone: make(chan struct{})} //nolint:gosec,noctx // what was built; Stop ends it
	p.Stdout, p.Stderr = &p.output, &p.output
	if err := p.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", filepath.Base(name), err)
	}
	s.running = append(s.running, p)
	go func() {
		_ = p.Wait() // what it wrote says more
		close(p.gone)
	}()
	return nil
}

// startTimeout is for a machine that does much else.
const startTimeout = 2 * time.Minute

func (s *Server) wait(ctx context.Context) error {
	// The server signs its own certificate at each start; the token is for it alone.
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // loopback
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if status, _, err := s.do(ctx, http.MethodGet, "/readyz", nil); err == nil && status.code == http.StatusOK {
			return nil
		}
		select {
		case <-again.C:
		case <-s.running[0].gone:
			return errors.New("etcd ended: " + s.running[0].output.String())
		case <-s.running[1].gone:
			return errors.New("kube-apiserver ended: " + s.running[1].output.String())
		case <-ctx.Done():
			return fmt.Errorf("waiting for the API server: %w", ctx.Err())
		}
	}
}

// Stop ends both, the API server first.
func (s *Server) Stop() {
	for i := len(s.running) - 1; i >= 0; i-- {
		p := s.running[i]
		_ = p.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.gone:
		case <-time.After(10 * time.Second):
			_ = p.Process.Kill()
			<-p.gone
		}
	}
	s.running = nil
}

func freePorts(ctx context.Context, n int) ([]string, error) {
	var ports []string
	for range n {
		lis, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a port: %w", err)
		}
		defer lis.Close()
		ports = append(ports, strconv.Itoa(lis.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}
