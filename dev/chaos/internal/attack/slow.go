package attack

import (
	"context"
	"fmt"
)

// slow are requests that do not come to their end.
var slow = []Attack{
	{Name: "slow-bodies", About: "a signed-in member's bodies, a byte a second, on 200 connections, and 100 anonymous reports of a provider", run: together(
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 200, a.HTTP, a.trickle(fmt.Sprintf(
				"POST /v1/conversations HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nIdempotency-Key: 0197f3a0-0000-7000-8000-000000000001\r\nContent-Length: 60000\r\n\r\n{", a.Tokens["jeanne"]), " "))
		},
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 100, a.HTTP, a.trickle("POST /webhooks/sendgrid HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n[", " "))
		},
	)},
	{Name: "slow-bodies-anonymous", About: "bodies of public and unknown methods without a token, a byte a second, on 500 connections", run: together(
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 250, a.HTTP, a.trickle("POST /v1/suggestion:outcome HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{", " "))
		},
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 250, a.HTTP, a.trickle("POST /v1/conversations HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{", " "))
		},
	)},
}
