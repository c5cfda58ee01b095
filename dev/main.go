// Command dev runs the whole system in one process on this machine.
//
//	dev run     start it and print where things are; state is kept in .dev/
//	dev demo    a fresh stack on free ports walks through the guide's steps
//	dev chaos   the system as many processes, under load and faults, see package chaos
//	dev journey the guide's steps on a system that runs elsewhere
//	dev providers, dev secrets DIR   for docker-compose.yml, see package providers
//
// Settings are DEV_*, see package stack, CHAOS_*, see package chaos, JOURNEY_*, see
// Places in package journey, and PROVIDERS_*, see package providers. Three more
// commands, broker, inbox and attack, are for the processes that chaos starts.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/dev/chaos"
	"github.com/ma-messagerie/messagerie/dev/journey"
	"github.com/ma-messagerie/messagerie/dev/providers"
	"github.com/ma-messagerie/messagerie/dev/stack"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "providers" {
		// A process like those of the services, with their commands.
		os.Args = append(os.Args[:1], os.Args[2:]...)
		chassis.Main("providers", providers.Run)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// A second Ctrl-C ends the process at once.
	context.AfterFunc(ctx, stop)
	commands := map[string]func(context.Context) error{"run": run, "demo": demo, "chaos": runChaos, "journey": walk, "secrets": writeSecrets}
	for _, name := range []string{"broker", "inbox", "attack"} {
		commands[name] = func(ctx context.Context) error { return chaos.Child(ctx, os.Args[1:]) }
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: dev run | dev demo | dev chaos | dev journey | dev providers | dev secrets DIR")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\n%v\n", err)
		os.Exit(1)
	}
}

// run starts the stack and waits for Ctrl-C.
func run(ctx context.Context) error {
	cfg, err := chassis.Load[stack.Config]("DEV_", os.Environ())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.StateDir, 0o755); err != nil { //nolint:gosec // user postgres must get through it
		return fmt.Errorf("making the state folder: %w", err)
	}
	logs, err := os.OpenFile(filepath.Join(cfg.StateDir, "messagerie.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer logs.Close()
	flush, err := chassis.StartTelemetry(ctx, "messagerie", slog.LevelInfo, logs)
	if err != nil {
		return err
	}
	s, err := stack.Start(ctx, cfg)
	if err != nil {
		return errors.Join(err, flush(ctx))
	}
	fmt.Printf(`Ma messagerie is running.

  Pages           http://%[7]s          members and agents, in a browser
  API (REST)      http://%[1]s          (OpenAPI: /openapi.json)
  API (gRPC)      %[2]s
  Sign-in         http://%[3]s          a token: /dev/token?as=jeanne
  Inbox           http://%[4]s          every mail and SMS that leaves
  Broker (NATS)   nats://%[5]s
  State and log   %[6]s

Ctrl-C stops it. The README has curl commands to try; docs/front-ends.md and
docs/tools.md are for who builds pages or a tool of their own.
`, s.HTTP, s.GRPC, s.OIDC, s.Inbox, s.NATS, cfg.StateDir, s.Web)
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	select {
	case <-ctx.Done():
		fmt.Println("\nstopping …")
	case err := <-ended:
		return errors.Join(fmt.Errorf("a service has ended: %w", err), s.Stop(), flush(ctx))
	}
	return errors.Join(s.Stop(), flush(ctx))
}

// runChaos breaks the system on purpose; exit status 1 says that a promise was
// broken.
func runChaos(ctx context.Context) error {
	cfg, err := chassis.Load[chaos.Config]("CHAOS_", os.Environ())
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	return chaos.Run(ctx, cfg, os.Stdout)
}

// demo walks through the guide on a stack of its own, which leaves nothing.
func demo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "messagerie-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // user postgres must get through it
		return fmt.Errorf("making a folder for the demo: %w", err)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	const free = "127.0.0.1:0"
	s, err := stack.Start(ctx, stack.Config{StateDir: dir, WebAddr: free, HTTPAddr: free, GRPCAddr: free, OIDCAddr: free, InboxAddr: free, NATSAddr: free})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	return journey.Run(ctx, s.Places(), os.Stdout)
}

// walk walks through the guide on a system that runs already.
func walk(ctx context.Context) error {
	places, err := chassis.Load[journey.Places]("JOURNEY_", os.Environ())
	if err != nil {
		return err
	}
	return journey.Run(ctx, places, os.Stdout)
}

// writeSecrets makes the secrets of the system of docker-compose.yml.
func writeSecrets(context.Context) error {
	if len(os.Args) != 3 {
		return errors.New("usage: dev secrets DIR")
	}
	cfg, err := chassis.Load[providers.Config]("PROVIDERS_", os.Environ())
	if err != nil {
		return err
	}
	return providers.WriteSecrets(cfg, os.Args[2])
}
