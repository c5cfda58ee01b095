package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// MachineConfig is how a process of this system proves what it is when it calls
// another. Embed it. Give either the path of a token (a Kubernetes projected
// service account token, read again as it is renewed) or client credentials.
type MachineConfig struct {
	// TokenPath is a file that holds a bearer token.
	TokenPath string `env:"TOKEN_PATH"`
	// TokenURL is the issuer's token endpoint (RFC 6749, 4.4).
	TokenURL string `env:"TOKEN_URL"`
	// ClientID and ClientSecret are this process's credentials there.
	ClientID     string `env:"CLIENT_ID"`
	ClientSecret string `env:"CLIENT_SECRET"`
}

// tokenReread is well below the lifetime of a projected token (10 minutes at
// least).
const tokenReread = time.Minute

// Check returns what is missing, as an error.
func (c MachineConfig) Check() error {
	switch {
	case c.TokenPath != "" && c.TokenURL != "":
		return errors.New("TOKEN_PATH and TOKEN_URL are both set: keep one")
	case c.TokenPath == "" && c.TokenURL == "":
		return errors.New("neither TOKEN_PATH nor TOKEN_URL is set: this process needs an identity of its own")
	case c.TokenURL != "" && (c.ClientID == "" || c.ClientSecret == ""):
		return errors.New("TOKEN_URL needs CLIENT_ID and CLIENT_SECRET")
	}
	return nil
}

// TokenSource returns a source of this process's token, fetched when needed and
// kept until shortly before it expires. It is safe for concurrent use.
func (c MachineConfig) TokenSource() oauth2.TokenSource {
	if c.TokenPath != "" {
		return oauth2.ReuseTokenSource(nil, tokenFile(c.TokenPath))
	}
	// The source keeps this context for its whole life.
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Timeout: issuerTimeout})
	credentials := clientcredentials.Config{TokenURL: c.TokenURL, ClientID: c.ClientID, ClientSecret: c.ClientSecret}
	return credentials.TokenSource(ctx)
}

type tokenFile string

func (path tokenFile) Token() (*oauth2.Token, error) {
	raw, err := os.ReadFile(string(path))
	if err != nil {
		return nil, fmt.Errorf("reading this process's token: %w", err)
	}
	return &oauth2.Token{AccessToken: strings.TrimSpace(string(raw)), Expiry: time.Now().Add(tokenReread)}, nil
}
