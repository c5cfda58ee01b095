package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/ma-messagerie/messagerie/dev/inbox"
)

// Child runs a stand-in as a process of its own: `dev broker CONFIG` or `dev
// inbox ADDR DIR KEY SID TOKEN WEBHOOK`. It ends with a signal.
func Child(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "broker":
		return serveBroker(ctx, args[1])
	case len(args) == 7 && args[0] == "inbox":
		return serveInbox(ctx, args[1], inbox.Config{StateDir: args[2], APIKey: args[3], TwilioSID: args[4], TwilioToken: args[5], SendGridWebhook: args[6], TextOnly: true})
	}
	return errors.New("usage: dev broker CONFIG | dev inbox ADDR DIR KEY SID TOKEN WEBHOOK")
}

func serveInbox(ctx context.Context, addr string, cfg inbox.Config) error {
	box, err := inbox.New(cfg)
	if err != nil {
		return err
	}
	var config net.ListenConfig
	lis, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return errors.Join(fmt.Errorf("opening the inbox: %w", err), box.Close())
	}
	srv := &http.Server{Handler: box, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(fmt.Errorf("serving the inbox: %w", err), box.Close())
	}
	return box.Close()
}
