package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
)

// issuerTimeout bounds the call for a machine's token, which has no other limit.
const issuerTimeout = 10 * time.Second

// connection is how the gateway is reached and who is calling.
type connection struct {
	Gateway string `default:"127.0.0.1:9090" env:"MESSAGERIE_GATEWAY" help:"The gateway's gRPC port, host:port."`
	TLS     bool   `env:"MESSAGERIE_TLS" help:"Encrypt the connection. Required for any host but this one."`

	Token     string `env:"MESSAGERIE_TOKEN" help:"Your access token. Prefer --token-file or the variable: other users can see a command line."`
	TokenFile string `env:"MESSAGERIE_TOKEN_FILE" type:"existingfile" help:"A file that holds your access token."`

	TokenURL         string `name:"token-url" env:"MESSAGERIE_TOKEN_URL" help:"For a machine: the issuer's token endpoint (client credentials)."`
	ClientID         string `name:"client-id" env:"MESSAGERIE_CLIENT_ID" help:"For a machine: its client id."`
	ClientSecretFile string `env:"MESSAGERIE_CLIENT_SECRET_FILE" type:"existingfile" help:"For a machine: a file that holds its client secret."`
}

// session is one run of a command.
type session struct {
	ctx       context.Context //nolint:containedctx // of the one command that runs
	out       io.Writer
	in        io.Reader
	json      bool
	conn      *grpc.ClientConn
	notifier  notifierpb.OperatorServiceClient
	timelines notifierpb.AgentServiceClient
	messaging messagingpb.OperatorServiceClient
	agents    messagingpb.AgentServiceClient
	// kms is how a KMS is reached; nil: as any server.
	kms http.RoundTripper
}

// open prepares the connection. It calls nobody yet, except the issuer for a machine's token.
func (c connection) open(s *session) error {
	if !c.TLS && !onThisHost(c.Gateway) {
		return fmt.Errorf("%w: a token would go to %s unencrypted: use --tls", errUsage, c.Gateway)
	}
	token, err := c.token(s.ctx)
	if err != nil {
		return err
	}
	transport := insecure.NewCredentials()
	if c.TLS {
		transport = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	s.conn, err = grpc.NewClient(c.Gateway, grpc.WithTransportCredentials(transport), grpc.WithPerRPCCredentials(bearer(token)))
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", c.Gateway, err)
	}
	s.notifier = notifierpb.NewOperatorServiceClient(s.conn)
	s.timelines = notifierpb.NewAgentServiceClient(s.conn)
	s.messaging = messagingpb.NewOperatorServiceClient(s.conn)
	s.agents = messagingpb.NewAgentServiceClient(s.conn)
	return nil
}

// close ends the connection, if there is one.
func (s *session) close() {
	if s.conn != nil {
		_ = s.conn.Close() // nothing is under way
	}
}

func onThisHost(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// staysSecret reports whether nobody between here and an issuer can read what is sent to it.
func staysSecret(tokenURL string) bool {
	u, err := url.Parse(tokenURL)
	if err != nil {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && onThisHost(net.JoinHostPort(u.Hostname(), u.Port()))
}

// token returns the caller's token, from the one source that was given.
func (c connection) token(ctx context.Context) (string, error) {
	given := 0
	for _, source := range []string{c.Token, c.TokenFile, c.TokenURL} {
		if source != "" {
			given++
		}
	}
	switch {
	case given == 0:
		return "", fmt.Errorf("%w: say who you are: MESSAGERIE_TOKEN, --token-file, or --token-url with --client-id and --client-secret-file", errUsage)
	case given > 1:
		return "", fmt.Errorf("%w: give one of --token, --token-file and --token-url", errUsage)
	case c.Token != "":
		return c.Token, nil
	case c.TokenFile != "":
		content, err := os.ReadFile(c.TokenFile)
		token := strings.TrimSpace(string(content))
		if err == nil && token == "" {
			return "", fmt.Errorf("%s is empty", c.TokenFile)
		}
		return token, err
	case c.ClientID == "" || c.ClientSecretFile == "":
		return "", fmt.Errorf("%w: --token-url needs --client-id and --client-secret-file", errUsage)
	case !staysSecret(c.TokenURL):
		return "", fmt.Errorf("%w: the secret would go to the issuer unencrypted: --token-url must be https", errUsage)
	}
	secret, err := os.ReadFile(c.ClientSecretFile)
	if err != nil {
		return "", err
	}
	machine := clientcredentials.Config{TokenURL: c.TokenURL, ClientID: c.ClientID, ClientSecret: strings.TrimSpace(string(secret))}
	issuer := &http.Client{Timeout: issuerTimeout}
	token, err := machine.Token(context.WithValue(ctx, oauth2.HTTPClient, issuer))
	var refusal *oauth2.RetrieveError
	if errors.As(err, &refusal) {
		// Its text has the issuer's whole answer.
		return "", fmt.Errorf("the issuer gives no token: %s", refusal.Response.Status)
	}
	if err != nil {
		return "", fmt.Errorf("fetching a token: %w", err)
	}
	return token.AccessToken, nil
}

// bearer is a token that is sent with each call, also without TLS: open has made sure that
// it then stays on this host.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (bearer) RequireTransportSecurity() bool { return false }
