package attack

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// noWindow: the server may send nothing that counts.
var noWindow = http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}

// unread are callers who ask and do not read the answer.
var unread = []Attack{
	{Name: "unread-grpc", About: "GetTaxonomy with no window to answer in, 100 streams on each of 50 connections", run: func(a *assault, ctx context.Context) {
		a.streams(ctx, 50, 100, a.ask(getTaxonomy, "", askTaxonomy), noWindow)
	}},
	{Name: "unread-rest", About: "200 connections with a pipeline of requests whose answers are never read", run: func(a *assault, ctx context.Context) {
		a.connections(ctx, 200, a.HTTP, a.pipeline("GET /openapi.json HTTP/1.1\r\nHost: gateway\r\n\r\n", "GET /v1/taxonomy?audience=PARTICULIER HTTP/1.1\r\nHost: gateway\r\n\r\n"))
	}},
	{Name: "unread-shared", About: "GetTaxonomy of two signed-in members in turn with no window, 20 streams on each of 100 connections that are both of theirs", run: func(a *assault, ctx context.Context) {
		var n atomic.Int64
		a.streams(ctx, 100, 20, func(f *frames) error {
			return a.ask(getTaxonomy, a.Tokens[[]string{"hoarder", "jeanne"}[n.Add(1)%2]], askTaxonomy)(f)
		}, noWindow)
	}},
	{Name: "unread-member", About: "a signed-in member's watches and exports, and a list, never read, over both protocols", run: together(
		func(a *assault, ctx context.Context) {
			a.streams(ctx, 10, 50, a.ask(watchConversations, a.Tokens["hoarder"], grpcMessage(&messagingpb.WatchConversationsRequest{})), noWindow)
		},
		func(a *assault, ctx context.Context) {
			a.streams(ctx, 10, 50, a.ask(exportMyData, a.Tokens["hoarder"], grpcMessage(&messagingpb.ExportMyDataRequest{})), noWindow)
		},
		func(a *assault, ctx context.Context) {
			a.streams(ctx, 10, 50, a.ask(listConversations, a.Tokens["hoarder"], grpcMessage(&messagingpb.ListConversationsRequest{PageSize: 100})), noWindow)
		},
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 100, a.HTTP, a.pipeline(fmt.Sprintf("GET /v1/me/export HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\n\r\n", a.Tokens["hoarder"])))
		},
	)},
}

// pipeline writes requests as long as they are taken and reads nothing.
func (a *assault) pipeline(requests ...string) func(context.Context, net.Conn) error {
	return func(ctx context.Context, conn net.Conn) error {
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10) // a small window is kinder to the attacker alone
		asks := strings.Join(requests, "")
		for range 500 {
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // a write tells
			if _, err := io.WriteString(conn, asks); err != nil {
				break
			}
		}
		// It stays, unread, until the server cuts it. A byte more every second finds out.
		for ctx.Err() == nil {
			pause(ctx, time.Second)
			_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // as above
			if _, err := io.WriteString(conn, "\r\n"); err != nil && outcome(err) != "no answer" {
				return err
			}
		}
		return ctx.Err()
	}
}
