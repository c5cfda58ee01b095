// Package gateway is the only door to the system. It serves gRPC on one port and
// the same methods as REST/JSON on another.
//
// # What is promised
//
// Nothing reaches a service that was not admitted: a call must be of a forwarded
// service, its token must verify, its caller must be of the kind that the method's
// policy in the .proto names, and neither its rate nor its size may exceed the
// limits, nor may more calls be under way than are answered in time. There is one
// admission (internal/door) for both protocols; the REST side reaches a service only through
// a connection that sends admitted calls alone.
//
// Whatever one caller does, no other caller's call fails because of it. Whoever has signed in
// is a caller, by whatever protocol they come; those who have not are one caller for each
// address. Each has a bounded rate (refused calls included), and a bounded number of
// connections, of incomplete requests, of calls, of streams, and of bytes that wait to be
// read (package fair, internal/flow). A request takes one of the slots at the services only
// once it is complete, and gives it back before its answer is read.
//
// Methods for the system's own processes do not exist here. Services verify the
// token and apply the policy again: they trust no header from the gateway.
//
// gRPC calls pass through as the bytes they are, unknown fields included. REST
// calls are read strictly: an unknown field or parameter, a repeated one, or
// text that is not Unicode is refused, with the field and a stable reason.
// Errors are the same google.rpc.Status, with the same details, in both.
//
// Providers report to POST /webhooks/sendgrid and /webhooks/twilio/{delivery}. The
// gateway passes what they post on to the notifier, which verifies it, and holds
// none of their secrets.
//
// No text of a member, no token and no query is in a log, a trace or a metric of
// this package. Refusals never quote a value.
//
// # When it breaks
//
// A service that cannot be reached gives UNAVAILABLE (503, Retry-After); calls to the
// other services go on. The gateway becomes ready when all services and issuers
// answer (internal/readiness), and is unready afterwards only while it could serve nothing.
// While an issuer cannot be reached, tokens verified before are still accepted. Each replica
// counts rates and shares for itself. People behind one address who have not signed in are
// one caller. On SIGTERM the gateway reports that it is not ready, waits DrainDelay,
// ends the streams that have no end of their own, lets the calls under way end, and
// closes its connections last, so that no admitted call is lost to a shutdown shorter
// than DrainTimeout.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/stats"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/flow"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/readiness"
)

// defaultCallTimeout is that of a Config made without Load.
const defaultCallTimeout = 10 * time.Second

// maxHeaderBytes is above a token of 8 KiB and the rest of a head.
const maxHeaderBytes = 16 << 10

// Config is what the gateway needs. Its environment variables begin with
// GATEWAY_.
type Config struct {
	chassis.Process
	// ServerConfig is the gRPC port.
	rpc.ServerConfig
	auth.Config

	// HTTPAddr is where REST is served.
	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8080"`
	// HTTPListener is used instead of HTTPAddr when set.
	HTTPListener net.Listener
	// TLSCertPath and TLSKeyPath are PEM files for both ports, read again each minute.
	// Without them both ports are in plain text, behind something that terminates TLS.
	TLSCertPath string `env:"TLS_CERT_PATH"`
	TLSKeyPath  string `env:"TLS_KEY_PATH"`

	// TaxonomyAddr, MessagingAddr and NotifierAddr are gRPC targets, such as
	// "dns:///messaging:9090".
	TaxonomyAddr  string `env:"TAXONOMY_ADDR,required"`
	MessagingAddr string `env:"MESSAGING_ADDR,required"`
	NotifierAddr  string `env:"NOTIFIER_ADDR,required"`

	// CallTimeout bounds a call that does not stream, from its head on; a caller may
	// ask for less, not for more. A stream has as long for its request.
	CallTimeout time.Duration `env:"CALL_TIMEOUT" envDefault:"10s"`
	// ReadyPatience is how long after its start the gateway waits for all services
	// before it is ready with those that are there.
	ReadyPatience time.Duration `env:"READY_PATIENCE" envDefault:"30s"`
	// MaxConcurrent is how many calls that do not stream may wait for a service at
	// once; the next is refused, and the answer says when to retry. 0 sets no limit.
	MaxConcurrent int `env:"MAX_CONCURRENT" envDefault:"512"`
	// CallsPerCaller is how many of these calls one caller may have under way, and how
	// many requests that are not complete yet; an address may have four times as many of
	// those whose token has not been verified before. 0 sets no limit.
	CallsPerCaller int `env:"CALLS_PER_CALLER" envDefault:"64"`
	// Bounds are the other limits of one caller.
	fair.Bounds
	// WebhookRate and WebhookBurst are the same for providers' reports, by IP
	// address. Providers report in sets, from few addresses.
	WebhookRate  float64 `env:"WEBHOOK_RATE" envDefault:"500"`
	WebhookBurst int     `env:"WEBHOOK_BURST" envDefault:"1000"`

	// PublicURL is where callers find REST, such as "https://api.example.org". It is named
	// to callers that look for where to sign in (RFC 9728). Empty: only callers on the
	// machine itself are answered, with the name that they used.
	PublicURL string `env:"PUBLIC_URL"`
	// CORSOrigins are the origins whose pages may call REST from a browser, such
	// as "https://front.example.org"; "http://localhost:*" is every port of a host.
	// None by default.
	CORSOrigins []string `env:"CORS_ORIGINS"`
	// AccessLog writes one line for each call.
	AccessLog bool `env:"ACCESS_LOG" envDefault:"true"`
}

// Validate returns every fault at once.
func (cfg Config) Validate() error {
	faults := []error{cfg.MTLS.Validate(), cfg.Bounds.Validate()}
	fault := func(wrong bool, text string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(text, args...))
		}
	}
	fault((cfg.TLSCertPath == "") != (cfg.TLSKeyPath == ""), "TLS_CERT_PATH and TLS_KEY_PATH go together: one is missing")
	fault(cfg.MaxConcurrent < 0, "MAX_CONCURRENT must not be negative")
	fault(cfg.CallsPerCaller < 0, "CALLS_PER_CALLER must not be negative")
	fault(cfg.ReadyPatience < 0, "READY_PATIENCE %s is negative", cfg.ReadyPatience)
	fault(cfg.CallTimeout < 0, "CALL_TIMEOUT %s is negative", cfg.CallTimeout)
	fault(cfg.WebhookRate < 0, "WEBHOOK_RATE must not be negative")
	fault(cfg.WebhookRate > 0 && cfg.WebhookBurst < 1, "WEBHOOK_BURST must be at least 1")
	fault(cfg.PublicURL != "" && !isOrigin(cfg.PublicURL), "PUBLIC_URL: %q is not an origin such as https://api.example.org", cfg.PublicURL)
	for _, origin := range cfg.CORSOrigins {
		fault(!isOrigins(origin), "CORS_ORIGINS: %q is not an origin such as https://front.example.org or http://localhost:*", origin)
	}
	return errors.Join(faults...)
}

// Run serves until ctx is done and then drains.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	g, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer g.close()
	return g.serve(ctx)
}

// gateway is the running process.
type gateway struct {
	cfg   Config
	admin chassis.Admin
	// backends are the connections to the services, streams those for calls that last.
	backends, streams map[string]*grpc.ClientConn
	ready             *readiness.Readiness
	tls               *tls.Config
	grpc              *grpc.Server
	health            *health.Server
	http              *http.Server
	counts            *instruments
	// drain ends the streams that have no end of their own.
	draining context.Context //nolint:containedctx // a moment in the process's life
	drain    context.CancelFunc
}

// open builds everything that needs no port.
func open(ctx context.Context, cfg Config) (*gateway, error) {
	g := &gateway{cfg: cfg, backends: make(map[string]*grpc.ClientConn), streams: make(map[string]*grpc.ClientConn), health: health.NewServer()}
	g.draining, g.drain = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if g.counts, err = newInstruments(); err != nil {
		return nil, err
	}
	if cfg.TLSCertPath != "" {
		if g.tls, err = rpc.ServerCertificate(cfg.TLSCertPath, cfg.TLSKeyPath); err != nil {
			return nil, fmt.Errorf("reading TLS_CERT_PATH and TLS_KEY_PATH: %w", err)
		}
	}
	verifier := auth.NewVerifier(cfg.Config)
	d, err := g.openDoor(verifier)
	if err != nil {
		g.close()
		return nil, err
	}
	g.ready = readiness.New(g.backends, verifier.Ready, cfg.ReadyPatience)
	g.admin.Check("services", g.ready.Check)
	front, err := newREST(ctx, d, g.admin.Ready, cfg)
	if err == nil {
		front.webhooks, err = newWebhooks(g.backends[notifier], cfg, d.Timeout)
	}
	var handler http.Handler
	if err == nil {
		handler, err = front.handler()
	}
	if err != nil {
		g.close()
		return nil, err
	}
	g.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// The server's own answers would not be counted.
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               maxHeaderBytes,
		TLSConfig:                    g.tls,
		ConnContext:                  withConn,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: 64, MaxReceiveBufferPerConnection: 256 << 10, MaxReceiveBufferPerStream: 64 << 10},
	}
	g.grpc = g.newGRPC(d)
	if cfg.PublicURL == "" {
		slog.WarnContext(ctx, "PUBLIC_URL is not set: callers from other machines cannot find out where to sign in")
	}
	return g, nil
}

// openDoor connects to the services behind the gateway.
func (g *gateway) openDoor(verifier *auth.Verifier) (*door.Door, error) {
	secured, err := g.cfg.MTLS.Client()
	if err != nil {
		return nil, err
	}
	conns, streamConns := make(map[string]grpc.ClientConnInterface), make(map[string]grpc.ClientConnInterface)
	for name, target := range map[string]string{taxonomy: g.cfg.TaxonomyAddr, messaging: g.cfg.MessagingAddr, notifier: g.cfg.NotifierAddr} {
		if g.backends[name], err = rpc.Dial(target, nil, secured); err != nil {
			return nil, err
		}
		if g.streams[name], err = rpc.Dial(target, nil, secured); err != nil {
			return nil, err
		}
		conns[name], streamConns[name] = g.backends[name], g.streams[name]
	}
	routes, err := readRoutes(forwarded, conns, streamConns)
	if err != nil {
		return nil, fmt.Errorf("reading the forwarded services: %w", err)
	}
	policy := make(rpc.Policy)
	for method, rt := range routes {
		policy[method] = rt.Rule
	}
	timeout := g.cfg.CallTimeout
	if timeout == 0 {
		timeout = defaultCallTimeout
	}
	callers, addresses := g.cfg.Callers()
	return door.New(door.Config{
		Guard:   rpc.Guard{Policy: policy, Verifier: verifier, Recognise: true},
		Routes:  routes,
		Callers: callers, Addresses: addresses,
		CallsPerCaller: g.cfg.CallsPerCaller, StreamsPerCaller: g.cfg.StreamsPerCaller,
		MaxConcurrent: g.cfg.MaxConcurrent, MaxStreams: g.cfg.MaxStreams,
		Timeout:  timeout,
		Address:  g.cfg.Client,
		Draining: g.draining,
		Refused:  g.counts.refuse,
	}), nil
}

func (g *gateway) newGRPC(d *door.Door) *grpc.Server {
	f := &forwarder{door: d, codec: newRawCodec(), access: g.cfg.AccessLog}
	// A stranger may call methods of any name: only ours become span names and series.
	ours := otelgrpc.WithFilter(func(info *stats.RPCTagInfo) bool { return d.Routes[info.FullMethodName] != nil })
	creds := insecure.NewCredentials()
	if g.tls != nil {
		creds = credentials.NewTLS(g.tls)
	}
	server := grpc.NewServer(append(rpc.BaseOptions(ours),
		grpc.Creds(flow.Credentials(creds)), grpc.InTapHandle(f.arrive), grpc.StreamInterceptor(f.admitStream), grpc.UnaryInterceptor(f.admitUnary),
		grpc.MaxRecvMsgSize(door.MaxFrameBytes), grpc.ForceServerCodecV2(f.codec), grpc.UnknownServiceHandler(f.handle),
		// What a stranger sends before anybody reads it is bounded, where gRPC would let it
		// grow with the connection's speed.
		grpc.StaticStreamWindowSize(64<<10), grpc.StaticConnWindowSize(256<<10), grpc.ReadBufferSize(4<<10), grpc.WriteBufferSize(16<<10))...)
	healthpb.RegisterHealthServer(server, outsideHealth{g.health})
	if g.cfg.Reflection {
		options := reflection.ServerOptions{Services: reflected{server}}
		reflectionpb.RegisterServerReflectionServer(server, reflection.NewServerV1(options))
		reflectionalphapb.RegisterServerReflectionServer(server, reflection.NewServer(options))
	}
	return server
}

// reflected lists for reflection what the server answers: its own services and
// those that it forwards without knowing them.
type reflected struct{ *grpc.Server }

// GetServiceInfo implements reflection.ServiceInfoProvider.
func (r reflected) GetServiceInfo() map[string]grpc.ServiceInfo {
	info := r.Server.GetServiceInfo()
	for _, entry := range forwarded {
		info[entry.service] = grpc.ServiceInfo{}
	}
	return info
}

// serve listens, serves and drains.
func (g *gateway) serve(ctx context.Context) error {
	grpcListener, httpListener, err := g.listen(ctx)
	if err != nil {
		return err
	}
	defer g.counts.stop()
	all, allCtx := errgroup.WithContext(ctx)
	// The admin port outlives the others, so that a drain can be watched.
	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	all.Go(func() error { return g.admin.Serve(adminCtx, g.cfg.AdminAddr) })
	all.Go(func() error {
		defer stopAdmin()
		return g.admin.Linger(allCtx, g.cfg.DrainDelay, func(late context.Context) error {
			context.AfterFunc(late, g.drain)
			servers, late := errgroup.WithContext(late)
			servers.Go(func() error { return rpc.ServeGRPC(late, g.grpc, g.health, grpcListener, g.cfg.DrainTimeout) })
			servers.Go(func() error { return chassis.ServeHTTP(late, g.http, httpListener, g.cfg.DrainTimeout) })
			return servers.Wait()
		})
	})
	return all.Wait()
}

// listen opens both ports or none.
func (g *gateway) listen(ctx context.Context) (grpcListener, httpListener net.Listener, err error) {
	if grpcListener = g.cfg.Listener; grpcListener == nil {
		if grpcListener, err = chassis.ListenOutside(ctx, g.cfg.Addr, "GATEWAY_GRPC_ADDR"); err != nil {
			return nil, nil, err
		}
	}
	if httpListener = g.cfg.HTTPListener; httpListener == nil {
		if httpListener, err = chassis.ListenOutside(ctx, g.cfg.HTTPAddr, "GATEWAY_HTTP_ADDR"); err != nil {
			return nil, nil, errors.Join(err, grpcListener.Close())
		}
	}
	grpcFair := g.cfg.Listen(grpcListener, func() { g.counts.close("grpc") })
	httpFair := g.cfg.Listen(httpListener, func() { g.counts.close("http") })
	if err := g.counts.watch(map[string]*fair.Listener{"grpc": grpcFair, "http": httpFair}); err != nil {
		return nil, nil, errors.Join(err, grpcListener.Close(), httpListener.Close())
	}
	if g.tls != nil {
		return grpcFair, tls.NewListener(httpFair, g.tls), nil
	}
	return grpcFair, httpFair, nil
}

func (g *gateway) close() {
	g.drain()
	for _, conns := range []map[string]*grpc.ClientConn{g.backends, g.streams} {
		for _, conn := range conns {
			// Nothing is under way any more.
			_ = conn.Close()
		}
	}
}
