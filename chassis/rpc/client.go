package rpc

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // the client side of health checks
	"google.golang.org/grpc/keepalive"
)

// callTimeout is set on a call that comes without a deadline.
const callTimeout = 10 * time.Second

// clientPolicy spreads calls over the addresses of a headless service, leaving out those
// whose health is not SERVING. gRPC itself retries a call that no server has seen, and
// nothing else is retried.
const clientPolicy = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"healthCheckConfig": {"serviceName": ""}
}`

// Dial returns a connection to a service of this system, established when first used
// and again whenever it breaks. With tokens, each call carries a bearer token.
//
// It is in plain text unless one of the options says otherwise ([MutualTLS.Client],
// [TLSClient]).
func Dial(target string, tokens oauth2.TokenSource, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	opts = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(clientPolicy),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithFilter(filters.Not(filters.HealthCheck())))),
		grpc.WithChainUnaryInterceptor(limitCall),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		// The default waits up to two minutes before it tries again: too long
		// for a service that has just been restarted.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
	}, opts...)
	if tokens != nil {
		opts = append(opts, grpc.WithPerRPCCredentials(bearerTokens{tokens}))
	}
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", target, err)
	}
	return conn, nil
}

func limitCall(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	return invoke(ctx, method, req, reply, conn, opts...)
}

// bearerTokens is grpc's oauth.TokenSource without its demand for TLS, which is left to
// the platform where [MutualTLS] is not configured.
type bearerTokens struct{ source oauth2.TokenSource }

func (b bearerTokens) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := b.source.Token()
	if err != nil {
		return nil, fmt.Errorf("fetching this process's token: %w", err)
	}
	return map[string]string{"authorization": "Bearer " + token.AccessToken}, nil
}

func (bearerTokens) RequireTransportSecurity() bool { return false }
