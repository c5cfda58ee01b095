package rpc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// authority signs certificates, as cert-manager does in a cluster.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	key := newKey(t)
	return authority{parse(t, sign(t, template, template, key, key)), key}
}

// issue writes a pair for the names and returns what a process is configured with.
func (a authority) issue(t *testing.T, names ...string) MutualTLS {
	t.Helper()
	dir, key := t.TempDir(), newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return MutualTLS{
		CertPath: writePEM(t, dir, "tls.crt", "CERTIFICATE", sign(t, template, a.cert, key, a.key)),
		KeyPath:  writePEM(t, dir, "tls.key", "PRIVATE KEY", der),
		CAPath:   writePEM(t, dir, "ca.crt", "CERTIFICATE", a.cert.Raw),
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func writePEM(t *testing.T, dir, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveTLS runs a server and returns its port.
func serveTLS(t *testing.T, own MutualTLS) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := NewServer(ServerConfig{Listener: lis, MTLS: own}, auth.NewVerifier(auth.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(t.Context(), time.Second) }()
	t.Cleanup(func() { <-served })
	_, port, _ := net.SplitHostPort(lis.Addr().String())
	return port
}

// ask calls the server under the name localhost.
func ask(t *testing.T, port string, secured grpc.DialOption) error {
	t.Helper()
	conn, err := Dial("localhost:"+port, nil, secured)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	return err
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	stranger := theirs.issue(t, "gateway")
	stranger.CAPath = ours.issue(t, "x").CAPath // trusts the server, is trusted by nobody
	for _, row := range []struct {
		name      string
		server    MutualTLS
		peers     []string
		client    MutualTLS
		wantTaken bool
	}{
		{"both of one authority", ours.issue(t, "localhost"), nil, ours.issue(t, "gateway"), true},
		{"a peer that is named", ours.issue(t, "localhost"), []string{"web", "gateway"}, ours.issue(t, "gateway"), true},
		{"a peer that is not named", ours.issue(t, "localhost"), []string{"web"}, ours.issue(t, "gateway"), false},
		{"a client of another authority", ours.issue(t, "localhost"), nil, stranger, false},
		{"a server of another authority", theirs.issue(t, "localhost"), nil, ours.issue(t, "gateway"), false},
		{"a server under another name", ours.issue(t, "taxonomy"), nil, ours.issue(t, "gateway"), false},
		{"a client in plain text", ours.issue(t, "localhost"), nil, MutualTLS{}, false},
		{"a server in plain text", MutualTLS{}, nil, ours.issue(t, "gateway"), false},
		{"both in plain text", MutualTLS{}, nil, MutualTLS{}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.server.Peers = row.peers
			secured, err := row.client.Client()
			if err != nil {
				t.Fatal(err)
			}
			err = ask(t, serveTLS(t, row.server), secured)
			if row.wantTaken != (err == nil) || err != nil && status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTLSClient_ShowsNoCertificate(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	own := ours.issue(t, "localhost")
	secured, err := TLSClient(own.CAPath)
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(t, serveTLS(t, own), secured); status.Code(err) != codes.Unavailable {
		t.Errorf("a server of mutual TLS took it: %v", err)
	}
}

func TestServerCertificate(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	own := ours.issue(t, "localhost")
	config, err := ServerCertificate(own.CertPath, own.KeyPath)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = config
	server.StartTLS()
	defer server.Close()
	for name, trusted := range map[string]bool{own.CAPath: true, newAuthority(t).issue(t, "x").CAPath: false} {
		roots := x509.NewCertPool()
		content, err := os.ReadFile(name)
		if err != nil || !roots.AppendCertsFromPEM(content) {
			t.Fatal(err)
		}
		conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12})
		if trusted != (err == nil) {
			t.Errorf("trusted %v: %v", trusted, err)
		}
		if err == nil {
			conn.Close()
		}
	}
	if _, err := ServerCertificate(own.CertPath, ours.issue(t, "b").KeyPath); err == nil {
		t.Error("another's key was taken")
	}
}

func TestMutualTLS_Validate(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	good, other := ours.issue(t, "a"), ours.issue(t, "b")
	for _, row := range []struct {
		name, want string
		cfg        MutualTLS
	}{
		{"nothing", "", MutualTLS{}},
		{"all", "", good},
		{"no key", "go together", MutualTLS{CertPath: good.CertPath, CAPath: good.CAPath}},
		{"another's key", "MTLS_KEY_PATH", MutualTLS{CertPath: good.CertPath, KeyPath: other.KeyPath, CAPath: good.CAPath}},
		{"in two folders", "in one folder", MutualTLS{CertPath: good.CertPath, KeyPath: other.KeyPath, CAPath: good.CAPath}},
		{"no such file", "MTLS_CA_PATH", MutualTLS{CertPath: good.CertPath, KeyPath: good.KeyPath, CAPath: "/nowhere"}},
		{"an authority that is a key", "MTLS_CA_PATH", MutualTLS{CertPath: good.CertPath, KeyPath: good.KeyPath, CAPath: good.KeyPath}},
		{"peers of nothing", "MTLS_PEERS", MutualTLS{Peers: []string{"gateway"}}},
	} {
		err := row.cfg.Validate()
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

// A certificate that is replaced while the process runs is shown from the next
// minute on; half a replacement is not.
func TestWatchedPair(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	content := func(path string) []byte {
		bytes, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	ours := newAuthority(t)
	old, next := ours.issue(t, "localhost"), ours.issue(t, "localhost")
	put("tls.crt", content(old.CertPath))
	put("tls.key", content(old.KeyPath))
	nextCert, nextKey := content(next.CertPath), content(next.KeyPath)
	synctest.Test(t, func(t *testing.T) {
		w := &watchedPair{certPath: filepath.Join(dir, "tls.crt"), keyPath: filepath.Join(dir, "tls.key")}
		if err := w.read(); err != nil {
			t.Fatal(err)
		}
		first := w.current(t.Context()).Certificate[0]
		put("tls.crt", nextCert)
		<-time.After(2 * certificateRefresh)
		if !bytes.Equal(w.current(t.Context()).Certificate[0], first) {
			t.Error("a certificate without its key is shown")
		}
		put("tls.key", nextKey)
		if !bytes.Equal(w.current(t.Context()).Certificate[0], first) {
			t.Error("the files are read at each handshake")
		}
		<-time.After(2 * certificateRefresh)
		if bytes.Equal(w.current(t.Context()).Certificate[0], first) {
			t.Error("the new certificate is not shown")
		}
	})
}
