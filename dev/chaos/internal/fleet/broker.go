package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

// clusterSize is how many nodes a cluster of brokers has.
const clusterSize = 3

// node is one broker of the fleet.
type node struct {
	client, routes string // addresses
	store          string
}

// startBroker starts the broker, or three of them of which each keeps all events.
func (f *Fleet) startBroker(ctx context.Context, binaries string) error {
	size := 1
	if f.Options.Cluster {
		size = clusterSize
	}
	for i := range size {
		n := node{store: f.Path("nats")}
		if i > 0 {
			n.store = f.Path(fmt.Sprintf("nats-%d", i+1))
		}
		for _, addr := range []*string{&n.client, &n.routes} {
			var err error
			if *addr, err = freePort(ctx); err != nil {
				return err
			}
		}
		f.nodes = append(f.nodes, n)
	}
	if err := f.writeBrokers(); err != nil {
		return err
	}
	for i, n := range f.nodes {
		p := &Process{
			Name: fmt.Sprintf("broker-%d", i+1), path: filepath.Join(binaries, "dev"), args: []string{"broker", f.brokerConfig(i)}, logs: f.dir,
			env: os.Environ(), ready: dialable(n.client),
		}
		if size == 1 {
			p.Name = "broker"
		}
		f.Brokers = append(f.Brokers, p)
		if err := p.Start(); err != nil {
			return err
		}
	}
	f.Broker = f.Brokers[0]
	if size > 1 {
		return f.awaitLeader(ctx)
	}
	return nil
}

// awaitLeader waits until the cluster can be asked about streams.
func (f *Fleet) awaitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ReadyPatience)
	defer cancel()
	for {
		err := f.withStreams(ctx, func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.AccountInfo(ctx)
			return err
		})
		if err == nil || !Sleep(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

func (f *Fleet) brokerConfig(i int) string { return f.Path(fmt.Sprintf("broker-%d.conf", i+1)) }

// writeBrokers writes the configuration of each broker.
func (f *Fleet) writeBrokers() error {
	var routes []string
	for _, n := range f.nodes {
		routes = append(routes, fmt.Sprintf("%q", "nats://"+n.routes))
	}
	quoted := make([]string, len(f.denied))
	for i, subject := range f.denied {
		quoted[i] = fmt.Sprintf("%q", subject)
	}
	var faults []error
	for i, n := range f.nodes {
		text := fmt.Sprintf(`server_name: chaos-%d
listen: %q
jetstream { store_dir: %q, sync_interval: always }
authorization { users: [ { user: anybody, password: anybody, permissions: { publish: { deny: [%s] } } } ] }
no_auth_user: anybody
`, i+1, n.client, n.store, strings.Join(quoted, ", "))
		if len(f.nodes) > 1 {
			// Services know one of them, whatever becomes of the others.
			text += fmt.Sprintf("cluster { name: chaos, listen: %q, no_advertise: true, routes: [%s] }\n", n.routes, strings.Join(routes, ", "))
		}
		faults = append(faults, os.WriteFile(f.brokerConfig(i), []byte(text), 0o600))
	}
	return errors.Join(faults...)
}

// Deny has the broker refuse what is published to these subjects, and to no others.
func (f *Fleet) Deny(subjects ...string) error {
	f.denied = subjects
	if err := f.writeBrokers(); err != nil {
		return err
	}
	for _, p := range f.Brokers {
		p.Signal(syscall.SIGHUP)
	}
	return nil
}

// withStreams connects to the broker, past every link. What is asked while there is no
// leader is answered by nobody, so it has little time.
func (f *Fleet) withStreams(ctx context.Context, do func(context.Context, jetstream.JetStream) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := nats.Connect("nats://"+f.nodes[0].client, nats.Timeout(2*time.Second))
	if err != nil {
		return fmt.Errorf("connecting to the broker: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("opening JetStream: %w", err)
	}
	return do(ctx, js)
}

// Fill has the stream take nothing more, as when it is full; undo gives it room again.
func (f *Fleet) Fill(ctx context.Context) (undo func(context.Context) error, err error) {
	var before jetstream.StreamConfig
	set := func(ctx context.Context, most func(jetstream.StreamState) int64) error {
		return f.withStreams(ctx, func(ctx context.Context, js jetstream.JetStream) error {
			stream, err := js.Stream(ctx, eventspb.StreamName)
			if err != nil {
				return fmt.Errorf("looking at the stream: %w", err)
			}
			info, err := stream.Info(ctx)
			if err != nil {
				return fmt.Errorf("looking at the stream: %w", err)
			}
			config := info.Config
			if before.Name == "" {
				before = config
			}
			config.MaxBytes = most(info.State)
			if _, err := js.UpdateStream(ctx, config); err != nil {
				return fmt.Errorf("setting the stream's size: %w", err)
			}
			return nil
		})
	}
	err = set(ctx, func(state jetstream.StreamState) int64 { return max(int64(state.Bytes), 1) }) //nolint:gosec // far below 2^63
	return func(ctx context.Context) error {
		return set(ctx, func(jetstream.StreamState) int64 { return before.MaxBytes })
	}, err
}

// serveBroker runs a broker by its configuration, and reads that again with SIGHUP.
func serveBroker(ctx context.Context, config string) error {
	opts, err := server.ProcessConfigFile(config)
	if err != nil {
		return fmt.Errorf("reading the broker's configuration: %w", err)
	}
	opts.NoSigs = true
	broker, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("starting the broker: %w", err)
	}
	broker.ConfigureLogger()
	broker.Start()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	for {
		select {
		case <-again:
			if err := broker.Reload(); err != nil {
				broker.Errorf("reading the configuration again: %v", err)
			}
		case <-ctx.Done():
			broker.Shutdown()
			broker.WaitForShutdown()
			return nil
		}
	}
}

// brokerAddr is where services find the broker.
func (f *Fleet) brokerAddr() string { return f.nodes[0].client }
