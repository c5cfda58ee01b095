// Package providers runs the stand-ins alone, for a system whose parts are
// processes of their own, such as that of docker-compose.yml: the OpenID provider
// with personas, and the inbox that takes e-mails and SMS.
//
// They let in anybody who knows a persona's name, and must not be reachable from
// anywhere but the developer's machine.
package providers

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/dev/inbox"
	"github.com/ma-messagerie/messagerie/dev/oidc"
)

// Config is read from PROVIDERS_*.
type Config struct {
	chassis.Process

	// StateDir keeps the keys and the messages.
	StateDir string `env:"STATE_DIR" envDefault:"/state/providers"`
	// OIDCAddr is where the OpenID provider listens, OIDCURL what browsers and the
	// system's processes alike call it: the issuers are below it. A name below
	// localhost is this machine to a browser, and may be another to a container.
	OIDCAddr string `env:"OIDC_ADDR" envDefault:":5556"`
	OIDCURL  string `env:"OIDC_URL" envDefault:"http://oidc.localhost:5556"`
	// WebURLs are the origins of the pages, to which people are sent back.
	WebURLs []string `env:"WEB_URLS" envDefault:"http://localhost:8000,http://127.0.0.1:8000"`
	// InboxAddr is where the inbox listens.
	InboxAddr string `env:"INBOX_ADDR" envDefault:":8025"`
	// SendGridWebhook is where the inbox reports what became of mails; of SMS, the
	// address comes with each. Empty: nowhere.
	SendGridWebhook string `env:"SENDGRID_WEBHOOK"`
}

// Credentials that the stand-ins accept, and no others. They are no secrets.
const (
	sendGridKey = "SG.development"
	twilioSID   = "AC00000000000000000000000000000000"
	twilioToken = "development"
)

// drain is short: a webhook's answer or a page is all that can be under way.
const drain = 2 * time.Second

func (c Config) openOIDC() (*oidc.Provider, error) {
	return oidc.New(oidc.Config{BaseURL: c.OIDCURL, StateDir: filepath.Join(c.StateDir, "oidc"), WebURLs: c.WebURLs})
}

func (c Config) openInbox() (*inbox.Inbox, error) {
	return inbox.New(inbox.Config{
		StateDir: filepath.Join(c.StateDir, "inbox"), APIKey: sendGridKey, TwilioSID: twilioSID, TwilioToken: twilioToken,
		SendGridWebhook: c.SendGridWebhook,
	})
}

// Run serves both until ctx is done.
func Run(ctx context.Context, cfg Config) error {
	provider, err := cfg.openOIDC()
	if err != nil {
		return err
	}
	mailbox, err := cfg.openInbox()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	serve := func(addr, setting string, handler http.Handler) error {
		lis, err := chassis.Listen(ctx, addr, setting)
		if err != nil {
			return err
		}
		return chassis.ServeHTTP(ctx, &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}, lis, drain)
	}
	group.Go(func() error { return serve(cfg.OIDCAddr, "PROVIDERS_OIDC_ADDR", provider) })
	group.Go(func() error { return serve(cfg.InboxAddr, "PROVIDERS_INBOX_ADDR", mailbox) })
	var admin chassis.Admin
	group.Go(func() error { return admin.Serve(ctx, cfg.AdminAddr) })
	return errors.Join(group.Wait(), mailbox.Close())
}
