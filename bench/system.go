package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/bench/internal/build"
	"github.com/ma-messagerie/messagerie/bench/internal/cpu"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging"
)

// readyPatience is how long the system has to start.
const readyPatience = 60 * time.Second

// system is the gateway with what stands behind a submission, each a process: the
// services' own programs, with their default settings but for the rates per caller
// and the access log, which are off.
type system struct {
	http, grpc string
	// version is that of its taxonomy.
	version  int32
	people   *people
	children []*child // in the order of their start
	undo     []func()
}

// startSystem starts a version's programs on empty databases, whose schema they
// make themselves, and returns when the gateway is ready.
func (r *rig) startSystem(ctx context.Context, p *build.Version, label string) (_ *system, err error) {
	s := &system{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop(ctx))
		}
	}()
	if s.people, err = r.everybody(); err != nil {
		return nil, err
	}
	nats, err := r.startBroker(true)
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, nats.stop)
	settings, err := s.settings(ctx, r, nats.url())
	if err != nil {
		return nil, err
	}
	for _, one := range settings {
		if err := s.start(ctx, r, p, label, one); err != nil {
			return nil, err
		}
	}
	return s, s.awaitTaxonomy(ctx)
}

// serviceSettings are the environment of a service.
type serviceSettings struct {
	service string
	environ []string
}

// settings are those of the services in the order of their start. An earlier
// version ignores those that it does not know.
func (s *system) settings(ctx context.Context, r *rig, nats string) ([]serviceSettings, error) {
	addrs, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	s.http, s.grpc = addrs[0], addrs[1]
	keyset, err := messaging.NewKeyset()
	if err != nil {
		return nil, err
	}
	machine, err := s.people.Machine("messaging")
	if err != nil {
		return nil, err
	}
	issuers, err := json.Marshal(s.people.Issuers())
	if err != nil {
		return nil, err
	}
	var databases [3]string
	for i := range databases {
		if databases[i], err = s.emptyDatabase(ctx, r); err != nil {
			return nil, err
		}
	}
	common := func(prefix string, more ...string) []string {
		return append(more, prefix+"ISSUERS="+string(issuers), prefix+"ADMIN_ADDR=127.0.0.1:0", prefix+"LOG_LEVEL=WARN")
	}
	return []serviceSettings{
		{"taxonomy", common("TAXONOMY_", "TAXONOMY_GRPC_ADDR="+addrs[2], "TAXONOMY_DATABASE_URL="+databases[0])},
		{"messaging", common(
			"MESSAGING_", "MESSAGING_GRPC_ADDR="+addrs[3], "MESSAGING_DATABASE_URL="+databases[1], "MESSAGING_NATS_URL="+nats,
			"MESSAGING_KEYSET="+keyset, "MESSAGING_VAULT_URL="+databases[2], "MESSAGING_TAXONOMY_ADDR="+addrs[2], "MESSAGING_TOKEN_URL="+machine.TokenURL,
			"MESSAGING_CLIENT_ID="+machine.ClientID, "MESSAGING_CLIENT_SECRET="+machine.ClientSecret,
		)},
		{"gateway", common(
			"GATEWAY_", "GATEWAY_HTTP_ADDR="+s.http, "GATEWAY_GRPC_ADDR="+s.grpc, "GATEWAY_TAXONOMY_ADDR="+addrs[2], "GATEWAY_MESSAGING_ADDR="+addrs[3],
			"GATEWAY_RATE_PER_CALLER=0", "GATEWAY_RATE_PER_ADDRESS=0", "GATEWAY_ACCESS_LOG=false",
			// There is no notifier, and nothing to wait for.
			"GATEWAY_NOTIFIER_ADDR=127.0.0.1:1", "GATEWAY_READY_PATIENCE=1s",
		)},
	}, nil
}

// emptyDatabase goes away with the system.
func (s *system) emptyDatabase(ctx context.Context, r *rig) (string, error) {
	name := fmt.Sprintf("bench_%d", r.databases)
	r.databases++
	if err := r.cluster.CreateDatabase(ctx, name); err != nil {
		return "", err
	}
	s.undo = append(s.undo, func() { _ = r.admin(context.WithoutCancel(ctx), `DROP DATABASE `+name+` WITH (FORCE)`) })
	return r.cluster.URL(name), nil
}

func (s *system) start(ctx context.Context, r *rig, p *build.Version, label string, settings serviceSettings) error {
	path, err := p.Program(ctx, settings.service)
	if err != nil {
		return err
	}
	vars := build.Environ(settings.environ...)
	profile := ""
	if p.Profile != "" {
		if profile, err = r.profilePath(p, label+"-"+settings.service); err != nil {
			return err
		}
		_ = os.Remove(profile) // of an earlier round: its name says that a profile is whole
		vars = append(vars, "BENCH_CPU_FILE="+profile)
	}
	c, err := startChild(settings.service, path, vars)
	if err != nil {
		return err
	}
	c.profile = profile
	s.children = append(s.children, c)
	return nil
}

// meters are those of the services, PostgreSQL, and this process, which makes the
// load and is the broker.
func (s *system) meters(r *rig) cpu.Meters {
	var list cpu.Meters
	for _, c := range slices.Backward(s.children) {
		list = append(list, cpu.Process(c.name, c.cmd.Process.Pid))
	}
	return append(list, r.postgres(), cpu.Ourselves(inLoad))
}

// awaitTaxonomy asks the gateway for what members choose from until it says.
func (s *system) awaitTaxonomy(ctx context.Context) error {
	conn, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := taxonomypb.NewTaxonomyServiceClient(conn)
	return s.await(ctx, func(ctx context.Context) error {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.people.token())
		tree, err := client.GetTaxonomy(ctx, &taxonomypb.GetTaxonomyRequest{Audience: taxonomypb.Audience_PARTICULIER})
		s.version = tree.GetVersion()
		return err
	})
}

// awaitAnswer submits until one submission is accepted: earlier versions say that
// they are ready when messaging has no taxonomy yet.
func (s *system) awaitAnswer(ctx context.Context, submit submitter) error {
	return s.await(ctx, func(ctx context.Context) error { return submit(ctx, 0) })
}

// await asks until there is no error, a service has ended, or the patience has.
func (s *system) await(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		for _, c := range s.children {
			select {
			case <-c.ended:
				return fmt.Errorf("%s has ended while it was waited for: %w", c.name, errors.Join(c.err, err))
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the gateway: %w", err)
		case <-ticker.C:
		}
	}
}

// stop ends the services, the gateway first, then what they used.
func (s *system) stop(ctx context.Context) error {
	var faults []error
	for _, c := range slices.Backward(s.children) {
		faults = append(faults, c.stop(ctx))
	}
	for _, undo := range slices.Backward(s.undo) {
		undo()
	}
	return errors.Join(faults...)
}

// broker is a NATS server of this process with its store in a folder of its own.
type broker struct {
	*server.Server
	dir string
}

// startBroker starts one that fsyncs before each acknowledgement, or, lazily,
// every two minutes, which is the broker's default.
func (r *rig) startBroker(syncAlways bool) (*broker, error) {
	dir, err := os.MkdirTemp(r.dir, "nats-")
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, SyncAlways: syncAlways, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, err
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("the broker does not answer")
	}
	return &broker{srv, dir}, nil
}

func (b *broker) url() string { return b.ClientURL() }

func (b *broker) stop() {
	b.Shutdown()
	b.WaitForShutdown()
	_ = os.RemoveAll(b.dir)
}

// freePorts returns addresses that were free a moment ago.
func freePorts(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		lis, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once
		if err != nil {
			return nil, err
		}
		defer lis.Close()
		addrs[i] = lis.Addr().String()
	}
	return addrs, nil
}
