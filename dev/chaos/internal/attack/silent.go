package attack

import (
	"context"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

const (
	getTaxonomy        = "/messagerie.taxonomy.v1.TaxonomyService/GetTaxonomy"
	listConversations  = "/messagerie.messaging.v1.MessagingService/ListConversations"
	watchConversations = "/messagerie.messaging.v1.MessagingService/WatchConversations"
	exportMyData       = "/messagerie.messaging.v1.MessagingService/ExportMyData"
	healthWatch        = "/grpc.health.v1.Health/Watch"
	reflectionInfo     = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
)

// silent are attacks that say little and stay.
var silent = []Attack{
	{Name: "silent-streams", About: "600 streams of GetTaxonomy on one connection, headers only, no token", run: func(a *assault, ctx context.Context) {
		a.streams(ctx, 1, 600, a.headersOnly(getTaxonomy, ""))
	}},
	{Name: "silent-streams-member", About: "800 streams of a member's method on 8 connections, headers only", run: func(a *assault, ctx context.Context) {
		a.streams(ctx, 8, 100, a.headersOnly(listConversations, a.Tokens["jeanne"]))
	}},
	{Name: "silent-connections", About: "500 connections to each port that say nothing, 500 that say a byte a second", run: together(
		func(a *assault, ctx context.Context) { a.connections(ctx, 500, a.HTTP, a.wait) },
		func(a *assault, ctx context.Context) { a.connections(ctx, 500, a.GRPC, a.wait) },
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 500, a.HTTP, a.trickle("GET /v1/taxonomy HTTP/1.1\r\nHost: gateway\r\nX-Slow: ", "a"))
		},
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 500, a.GRPC, a.trickle(http2.ClientPreface[:8], ""))
		},
	)},
	{Name: "idle-connections", About: "2 000 idle connections of HTTP/2, 500 of HTTP/1.1 kept alive", run: together(
		func(a *assault, ctx context.Context) { a.streams(ctx, 2000, 0, nil) },
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 500, a.HTTP, a.say("GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n"))
		},
	)},
	{Name: "held-health", About: "1 000 streams of health Watch and server reflection", run: together(
		func(a *assault, ctx context.Context) {
			a.streams(ctx, 5, 100, a.ask(healthWatch, "", grpcMessage(&healthpb.HealthCheckRequest{})))
		},
		func(a *assault, ctx context.Context) {
			ask := grpcMessage(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
			a.streams(ctx, 5, 100, func(f *frames) error {
				id, err := f.begin(a, grpcHeaders(reflectionInfo, ""))
				if err != nil {
					return err
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.framer.WriteData(id, false, ask)
			})
		},
	)},
}

// beyond are attacks that cost the others time, as package fair says where it breaks.
// They are made only when they are named.
var beyond = []Attack{
	{Name: "too-many-connections", About: "4 000 connections of HTTP/2 without a call, 2 000 of HTTP/1.1 that say a byte a second, 2 000 that say nothing: more than an address may have of any kind", run: together(
		func(a *assault, ctx context.Context) { a.streams(ctx, 4000, 0, nil) },
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 2000, a.HTTP, a.trickle("GET /v1/taxonomy HTTP/1.1\r\nHost: gateway\r\nX-Slow: ", "a"))
		},
		func(a *assault, ctx context.Context) { a.connections(ctx, 2000, a.HTTP, a.wait) },
	)},
}

// headersOnly begins calls whose requests never come.
func (a *assault) headersOnly(method, token string) func(*frames) error {
	return func(f *frames) error {
		_, err := f.begin(a, grpcHeaders(method, token))
		return err
	}
}

// ask begins calls with their whole request.
func (a *assault) ask(method, token string, request []byte) func(*frames) error {
	return func(f *frames) error {
		id, err := f.begin(a, grpcHeaders(method, token))
		if err != nil {
			return err
		}
		return f.send(id, request)
	}
}

// wait says nothing until the server has had enough.
func (a *assault) wait(_ context.Context, conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	return ended(err)
}

// say says something once, reads what comes, and waits.
func (a *assault) say(text string) func(context.Context, net.Conn) error {
	return func(ctx context.Context, conn net.Conn) error {
		if _, err := io.WriteString(conn, text); err != nil {
			return err
		}
		return a.wait(ctx, conn)
	}
}

// trickle says something and then a piece of what follows each second; of nothing,
// the last piece never ends.
func (a *assault) trickle(begin, piece string) func(context.Context, net.Conn) error {
	return func(ctx context.Context, conn net.Conn) error {
		closed := make(chan error, 1)
		go func() { closed <- a.wait(ctx, conn) }()
		next := begin
		for {
			if _, err := io.WriteString(conn, next); err != nil {
				return err
			}
			next = piece
			select {
			case err := <-closed:
				return err
			case <-time.After(time.Second):
			}
		}
	}
}

// ended is how a connection ended that was read to its end.
func ended(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

func grpcCode(code codes.Code) string { return "grpc " + code.String() }
