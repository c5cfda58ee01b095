package attack

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// valid are calls that are allowed, by one person, too many of them.
var valid = []Attack{
	{Name: "flood-member", About: "one signed-in member's valid calls, as fast as it can", run: func(a *assault, ctx context.Context) {
		a.flood(ctx, workers, func(ctx context.Context, c *client, i int) {
			switch i % 4 {
			case 0:
				c.rest(ctx, http.MethodGet, "/v1/conversations", a.Tokens["jeanne"], "")
			case 1:
				c.grpc(ctx, listConversations, a.Tokens["jeanne"])
			case 2:
				c.rest(ctx, http.MethodGet, "/v1/taxonomy?audience=PARTICULIER", a.Tokens["jeanne"], "")
			case 3:
				c.rest(ctx, http.MethodGet, "/v1/reasons:search?audience=PARTICULIER&q=paiement", a.Tokens["jeanne"], "")
			}
		})
	}},
	{Name: "flood-web", About: "one signed-in member on the pages, from the address of everybody else's", run: func(a *assault, ctx context.Context) {
		paths := []string{"/messagerie?q=paiement", "/messagerie?q=logement", "/messagerie", "/messagerie/nouveau"}
		a.flood(ctx, workers, func(ctx context.Context, c *client, i int) { c.page(ctx, paths[i%len(paths)], a.Cookies["jeanne"]) })
	}},
	{Name: "watches", About: "as many watches of one member as it gets, directly (2 000) and on the pages (500)", run: together(
		func(a *assault, ctx context.Context) {
			a.streams(ctx, 20, 100, a.ask(watchConversations, a.Tokens["jeanne"], grpcMessage(&messagingpb.WatchConversationsRequest{})))
		},
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 300, a.Web, a.say(fmt.Sprintf("GET /evenements HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", a.Web, a.Cookies["jeanne"])))
		},
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 200, a.HTTP, a.say(fmt.Sprintf("GET /v1/conversations:watch HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\n\r\n", a.Tokens["jeanne"])))
		},
	)},
	{Name: "search", About: "long and odd words to search for, without a token, as fast as it can", run: func(a *assault, ctx context.Context) {
		words := []string{strings.Repeat("é", 100), strings.Repeat("a b ", 25), "%", "'; --", strings.Repeat("paiement ", 11), strings.Repeat("z", 100), "ﷺ" + strings.Repeat("́", 90), "allocations"}
		a.flood(ctx, workers, func(ctx context.Context, c *client, i int) {
			c.rest(ctx, http.MethodGet, "/v1/reasons:search?audience=PARTICULIER&q="+url.QueryEscape(words[i%len(words)]), "", "")
		})
	}},
	{Name: "health-loop", About: "/readyz and /openapi.json of the outside port, as fast as it can", run: func(a *assault, ctx context.Context) {
		a.flood(ctx, workers, func(ctx context.Context, c *client, i int) {
			c.rest(ctx, http.MethodGet, []string{"/readyz", "/openapi.json"}[i%2], "", "")
		})
	}},
}
