package attack

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// heavy are few calls that cost much.
var heavy = []Attack{
	{Name: "metadata", About: "a stream with 14 MiB of metadata on each of 12 connections, a third of them a few bytes on the wire", run: func(a *assault, ctx context.Context) {
		crowd(ctx, 12, func(ctx context.Context, i int) { a.heavyHeaders(ctx, i%3 == 0) })
	}},
	{Name: "statistics", About: "8 times a second, an agent's figures of a year of 300 000 conversations", run: func(a *assault, ctx context.Context) {
		a.each(ctx, time.Second/8, func(ctx context.Context, c *client, i int) {
			query := fmt.Sprintf("/v1/agent/statistics?days=%d", 366-i%40)
			if i%3 == 0 {
				query += "&queue=prestations-" + strconv.Itoa(i%7)
			}
			c.rest(ctx, http.MethodGet, query, a.Tokens["conseiller"], "")
		})
	}},
	{Name: "exports", About: "exports of 500 conversations beside each other, lists of a caisse with 300 000, operators' lists", run: together(
		func(a *assault, ctx context.Context) {
			a.flood(ctx, 8, func(ctx context.Context, c *client, _ int) {
				c.rest(ctx, http.MethodGet, "/v1/me/export", a.Tokens["hoarder"], "")
			})
		},
		func(a *assault, ctx context.Context) {
			statuses := []string{"ANSWERED", "CLOSED", "SENT", "IN_PROGRESS"}
			a.flood(ctx, 8, func(ctx context.Context, c *client, i int) {
				c.rest(ctx, http.MethodGet, "/v1/agent/conversations?pageSize=100&status="+statuses[i%len(statuses)], a.Tokens["conseiller"], "")
			})
		},
		func(a *assault, ctx context.Context) {
			paths := []string{"/v1/operator/deadletters?pageSize=100", "/v1/operator/status/notifier", "/v1/operator/status/messaging", "/v1/operator/status/taxonomy"}
			a.flood(ctx, 4, func(ctx context.Context, c *client, i int) {
				c.rest(ctx, http.MethodGet, paths[i%len(paths)], a.Tokens["operator"], "")
			})
		},
	)},
	{Name: "oversized", About: "bodies of 64 KiB to 8 MiB and 16 KiB of headers, over both protocols", run: together(
		func(a *assault, ctx context.Context) {
			bodies := []string{strings.Repeat(" ", 70<<10), strings.Repeat("x", 1<<20), `{"text":"` + strings.Repeat("é", 4<<20) + `"}`}
			a.flood(ctx, 16, func(ctx context.Context, c *client, i int) {
				switch i % 4 {
				case 3:
					c.rest(ctx, http.MethodGet, "/v1/conversations", "", "", "X-Long", strings.Repeat("x", 15<<10))
				default:
					c.rest(ctx, http.MethodPost, "/v1/conversations", a.Tokens["jeanne"], bodies[i%4])
				}
			})
		},
		func(a *assault, ctx context.Context) {
			large, larger := strings.Repeat("x", 900<<10), strings.Repeat("x", 3<<20)
			a.flood(ctx, 16, func(ctx context.Context, c *client, i int) {
				switch i % 3 {
				case 0:
					c.invoke(ctx, listConversations, a.Tokens["jeanne"], &messagingpb.ListConversationsRequest{PageToken: large})
				case 1:
					c.invoke(ctx, getTaxonomy, "", &taxonomypb.SearchReasonsRequest{Q: larger})
				case 2:
					c.invoke(ctx, listConversations, strings.Repeat("x", 15<<10), &messagingpb.ListConversationsRequest{})
				}
			})
		},
	)},
}

// each begins a call in every span of time, however long those before take.
func (a *assault) each(ctx context.Context, span time.Duration, call func(ctx context.Context, c *client, i int)) {
	a.flood(ctx, 1, func(ctx context.Context, c *client, first int) {
		ticker := time.NewTicker(span)
		defer ticker.Stop()
		for i := first; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				go call(ctx, c, i)
			}
		}
	})
}

const (
	// heavyBytes is how large the headers are, as the server counts them.
	heavyBytes = 14 << 20
	// pieceBytes is one of them; it fits into the table of HPACK.
	pieceBytes = 3 << 10
)

// heavyHeaders begins a stream with headers that are too large, and stays.
func (a *assault) heavyHeaders(ctx context.Context, repeated bool) {
	f, closed := a.connect(ctx)
	if f == nil {
		return
	}
	defer func() { f.close(); <-closed }()
	fields := grpcHeaders(getTaxonomy, "")
	piece := strings.Repeat("x", pieceBytes)
	for i := range heavyBytes / pieceBytes {
		if !repeated {
			// Another value each time, so that the table is of no use.
			piece = strconv.Itoa(1e9+i) + piece[10:]
		}
		fields = append(fields, hpack.HeaderField{Name: "x-heavy", Value: piece})
	}
	for ctx.Err() == nil {
		if _, err := f.begin(a, fields); err != nil {
			break
		}
		// It stays while the server has it, and comes again.
		for f.alive.Load() > 0 && open(closed) && ctx.Err() == nil {
			pause(ctx, reconnectAfter)
		}
		if !open(closed) {
			break
		}
	}
	pause(ctx, reconnectAfter)
}

func open(closed <-chan struct{}) bool {
	select {
	case <-closed:
		return false
	default:
		return true
	}
}
