package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ma-messagerie/messagerie/dev/inbox"
)

// Child runs a stand-in as a process of its own: `dev broker ADDR DIR` or `dev
// inbox ADDR DIR KEY SID TOKEN WEBHOOK`. It ends with a signal.
func Child(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "broker":
		return serveBroker(ctx, args[1], args[2])
	case len(args) == 7 && args[0] == "inbox":
		return serveInbox(ctx, args[1], inbox.Config{StateDir: args[2], APIKey: args[3], TwilioSID: args[4], TwilioToken: args[5], SendGridWebhook: args[6]})
	}
	return errors.New("usage: dev broker ADDR DIR | dev inbox ADDR DIR KEY SID TOKEN WEBHOOK")
}

func serveBroker(ctx context.Context, addr, dir string) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	broker, err := server.NewServer(&server.Options{
		ServerName: "chaos", Host: at.Addr().String(), Port: int(at.Port()), JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true,
	})
	if err != nil {
		return fmt.Errorf("starting the broker: %w", err)
	}
	broker.ConfigureLogger()
	broker.Start()
	<-ctx.Done()
	broker.Shutdown()
	broker.WaitForShutdown()
	return nil
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
