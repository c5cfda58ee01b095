package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/tls/certprovider"
	"google.golang.org/grpc/credentials/tls/certprovider/pemfile"
	"google.golang.org/grpc/security/advancedtls"
)

// certificateRefresh is how often certificate files are read again: cert-manager writes a
// new pair days before the old one expires.
const certificateRefresh = time.Minute

// MutualTLS is this process's part in mutual TLS between the system's services:
// servers take calls only from callers with a certificate of the authority, clients call
// only servers whose certificate bears the name they dialled. Three PEM files, read again
// each minute; all empty: plain text, for a cluster whose mesh or network encrypts.
type MutualTLS struct {
	// CertPath and KeyPath are this process's certificate, with the names by which
	// others dial it, and its key, in one folder.
	CertPath string `env:"CERT_PATH"`
	KeyPath  string `env:"KEY_PATH"`
	// CAPath is the authority that signs the certificates of all services.
	CAPath string `env:"CA_PATH"`
	// Peers are the names (DNS, in their certificates) of those that may call this
	// server. Empty: all that the authority has signed.
	Peers []string `env:"PEERS"`
}

func (m MutualTLS) empty() bool { return m.CertPath == "" && m.KeyPath == "" && m.CAPath == "" }

// Validate reports files that are missing, unreadable or do not go together.
func (m MutualTLS) Validate() error {
	if m.empty() {
		if len(m.Peers) > 0 {
			return errors.New("MTLS_PEERS is set without MTLS_CERT_PATH, MTLS_KEY_PATH and MTLS_CA_PATH")
		}
		return nil
	}
	if m.CertPath == "" || m.KeyPath == "" || m.CAPath == "" {
		return errors.New("MTLS_CERT_PATH, MTLS_KEY_PATH and MTLS_CA_PATH go together: one is missing")
	}
	var faults []error
	if _, err := tls.LoadX509KeyPair(m.CertPath, m.KeyPath); err != nil {
		faults = append(faults, fmt.Errorf("reading MTLS_CERT_PATH and MTLS_KEY_PATH: %w", err))
	}
	if filepath.Dir(m.CertPath) != filepath.Dir(m.KeyPath) {
		faults = append(faults, errors.New("MTLS_CERT_PATH and MTLS_KEY_PATH must be in one folder, where they are replaced together"))
	}
	return errors.Join(append(faults, checkAuthority("MTLS_CA_PATH", m.CAPath))...)
}

func checkAuthority(setting, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading %s: %w", setting, err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(content) {
		return fmt.Errorf("reading %s: %s holds no certificate in PEM", setting, path)
	}
	return nil
}

// Client returns how to dial other services: over mutual TLS, or in plain text if it is not
// configured.
func (m MutualTLS) Client() (grpc.DialOption, error) {
	if m.empty() {
		return grpc.WithTransportCredentials(insecure.NewCredentials()), nil
	}
	identity, roots, err := m.providers()
	if err != nil {
		return nil, err
	}
	return clientOption(&advancedtls.Options{
		IdentityOptions: advancedtls.IdentityCertificateOptions{IdentityProvider: identity},
		RootOptions:     advancedtls.RootCertificateOptions{RootProvider: roots},
	})
}

// TLSClient returns how to dial a server whose certificate an authority has signed, without
// presenting one; in plain text if the path is empty.
func TLSClient(caPath string) (grpc.DialOption, error) {
	if caPath == "" {
		return grpc.WithTransportCredentials(insecure.NewCredentials()), nil
	}
	roots, err := pemfile.NewProvider(pemfile.Options{RootFile: caPath, RefreshDuration: certificateRefresh})
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", caPath, err)
	}
	return clientOption(&advancedtls.Options{RootOptions: advancedtls.RootCertificateOptions{RootProvider: roots}})
}

func clientOption(options *advancedtls.Options) (grpc.DialOption, error) {
	options.VerificationType = advancedtls.CertAndHostVerification
	options.MinTLSVersion, options.MaxTLSVersion = tls.VersionTLS12, tls.VersionTLS13
	creds, err := advancedtls.NewClientCreds(options)
	if err != nil {
		return nil, fmt.Errorf("setting up TLS: %w", err)
	}
	return grpc.WithTransportCredentials(creds), nil
}

// server returns the credentials of a server that asks for certificates, or nil.
func (m MutualTLS) server() (credentials.TransportCredentials, error) {
	if m.empty() {
		return nil, nil //nolint:nilnil // plain text is a choice
	}
	identity, roots, err := m.providers()
	if err != nil {
		return nil, err
	}
	creds, err := advancedtls.NewServerCreds(&advancedtls.Options{
		IdentityOptions:            advancedtls.IdentityCertificateOptions{IdentityProvider: identity},
		RootOptions:                advancedtls.RootCertificateOptions{RootProvider: roots},
		RequireClientCert:          true,
		VerificationType:           advancedtls.CertVerification,
		AdditionalPeerVerification: m.admit,
		MinTLSVersion:              tls.VersionTLS13,
		MaxTLSVersion:              tls.VersionTLS13,
	})
	if err != nil {
		return nil, fmt.Errorf("setting up mutual TLS: %w", err)
	}
	return creds, nil
}

// admit refuses services of the same authority that are not among the peers.
func (m MutualTLS) admit(params *advancedtls.HandshakeVerificationInfo) (*advancedtls.PostHandshakeVerificationResults, error) {
	if len(m.Peers) == 0 || slices.ContainsFunc(params.Leaf.DNSNames, func(name string) bool { return slices.Contains(m.Peers, name) }) {
		return &advancedtls.PostHandshakeVerificationResults{}, nil
	}
	return nil, fmt.Errorf("certificate of %v: none of the names is among MTLS_PEERS", params.Leaf.DNSNames)
}

func (m MutualTLS) providers() (identity, roots certprovider.Provider, err error) {
	identity, err = pemfile.NewProvider(pemfile.Options{CertFile: m.CertPath, KeyFile: m.KeyPath, RefreshDuration: certificateRefresh})
	if err != nil {
		return nil, nil, fmt.Errorf("watching %s: %w", m.CertPath, err)
	}
	roots, err = pemfile.NewProvider(pemfile.Options{RootFile: m.CAPath, RefreshDuration: certificateRefresh})
	if err != nil {
		return nil, nil, fmt.Errorf("watching %s: %w", m.CAPath, err)
	}
	return identity, roots, nil
}

// ServerCertificate returns a TLS configuration that presents the certificate of two PEM
// files, read again each minute, and asks callers for none. While a pair cannot be read, or
// does not match because it is being replaced, the previous one is presented.
func ServerCertificate(certPath, keyPath string) (*tls.Config, error) {
	w := &watchedPair{certPath: certPath, keyPath: keyPath}
	if err := w.read(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return w.current(hello.Context()), nil },
	}, nil
}

// watchedPair is a certificate and key on disk. grpc's own watcher wants both in one
// folder.
type watchedPair struct {
	certPath, keyPath string

	mu   sync.Mutex
	cert *tls.Certificate
	seen time.Time
}

func (w *watchedPair) read() error {
	cert, err := tls.LoadX509KeyPair(w.certPath, w.keyPath)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	w.cert, w.seen = &cert, time.Now()
	return nil
}

func (w *watchedPair) current(ctx context.Context) *tls.Certificate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.seen) > certificateRefresh {
		w.seen = time.Now()
		if err := w.read(); err != nil {
			slog.ErrorContext(ctx, "reading the certificate again; the previous one is presented", "error", err)
		}
	}
	return w.cert
}
