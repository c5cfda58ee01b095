package attack

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// workers is how many requests of a flood are under way at once.
const workers = 32

// refused are floods of what is not allowed.
var refused = []Attack{
	{Name: "flood-refused", About: "forged tokens, others' methods, unknown paths and methods, as fast as it can, over REST and gRPC", run: together(
		func(a *assault, ctx context.Context) {
			a.flood(ctx, workers, func(ctx context.Context, c *client, i int) {
				switch i % 5 {
				case 0:
					c.rest(ctx, http.MethodGet, "/v1/conversations", a.forged(i%10 == 0), "")
				case 1:
					c.rest(ctx, http.MethodGet, "/v1/agent/conversations", a.Tokens["jeanne"], "")
				case 2:
					c.rest(ctx, http.MethodGet, "/v1/nothing/"+strconv.Itoa(i), "", "")
				case 3:
					c.rest(ctx, http.MethodDelete, "/v1/conversations", "", "")
				case 4:
					c.rest(ctx, http.MethodGet, "/v1/conversations", "", "")
				}
			})
		},
		func(a *assault, ctx context.Context) {
			a.flood(ctx, workers, func(ctx context.Context, c *client, i int) {
				switch i % 3 {
				case 0:
					c.grpc(ctx, listConversations, a.forged(i%2 == 0))
				case 1:
					c.grpc(ctx, "/messagerie.messaging.v1.AgentService/ListConversations", a.Tokens["jeanne"])
				case 2:
					c.grpc(ctx, "/nobody.v1.Nothing/Do"+strconv.Itoa(i), "")
				}
			})
		},
	)},
	{Name: "flood-forged", About: "forged tokens alone, half of them with a key that the issuer does not have", run: func(a *assault, ctx context.Context) {
		a.flood(ctx, workers, func(ctx context.Context, c *client, i int) {
			c.rest(ctx, http.MethodGet, "/v1/conversations", a.forged(i%2 == 0), "")
		})
	}},
	{Name: "issuer-hangs", About: "the issuers do not answer for their keys, while ten tokens a second name keys that nobody has", Silence: true, run: func(a *assault, ctx context.Context) {
		a.flood(ctx, 10, func(ctx context.Context, c *client, _ int) {
			go c.rest(ctx, http.MethodGet, "/v1/conversations", a.forged(true), "")
			pause(ctx, time.Second)
		})
	}},
	{Name: "rapid-reset", About: "streams begun and given up at once, on 8 connections, as fast as it can", run: func(a *assault, ctx context.Context) {
		crowd(ctx, 8, func(ctx context.Context, _ int) { a.beginAndReset(ctx) })
	}},
	{Name: "churn", About: "connections to both ports, closed at once, 16 beside each other", run: func(a *assault, ctx context.Context) {
		crowd(ctx, 16, func(ctx context.Context, i int) {
			conn, err := a.dial(ctx, []string{a.HTTP, a.GRPC}[i%2])
			if err != nil {
				pause(ctx, time.Millisecond)
				return
			}
			a.calls.Add(1)
			conn.Close()
		})
	}},
}

// forged is a token that nobody has signed. Of an unknown key, each names another.
func (a *assault) forged(unknown bool) string {
	encode := base64.RawURLEncoding.EncodeToString
	now := time.Now().Unix()
	// The head of a good token names a key that the issuer has.
	head, _, _ := strings.Cut(a.Tokens["jeanne"], ".")
	if unknown {
		head = encode([]byte(`{"alg":"RS256","typ":"JWT","kid":"` + rand.Text() + `"}`))
	}
	claims := encode(fmt.Appendf(nil, `{"iss":%q,"sub":"jeanne","aud":["messagerie"],"iat":%d,"exp":%d,"profiles":["PARTICULIER"]}`, a.Issuer, now, now+600))
	signature := make([]byte, 256)
	rand.Read(signature)
	return head + "." + claims + "." + encode(signature)
}

// beginAndReset begins streams and gives them up, in sets, until the connection ends.
func (a *assault) beginAndReset(ctx context.Context) {
	f, closed := a.connect(ctx)
	if f == nil {
		return
	}
	defer func() { f.close(); <-closed }()
	for i := 0; ctx.Err() == nil; i++ {
		id, err := f.begin(a, grpcHeaders(getTaxonomy, ""))
		if err == nil && i%2 == 0 {
			err = f.send(id, askTaxonomy)
		}
		if err == nil {
			err = f.reset(id)
		}
		if err != nil {
			pause(ctx, reconnectAfter)
			return
		}
	}
}

// client is one worker of a flood.
type client struct {
	a    *assault
	http *http.Client
	conn *grpc.ClientConn
}

// flood runs workers that call again and again, each on connections of its own. i
// counts a worker's calls.
func (a *assault) flood(ctx context.Context, n int, call func(ctx context.Context, c *client, i int)) {
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) { return a.dial(ctx, addr) }
	crowd(ctx, n, func(ctx context.Context, worker int) {
		conn, err := grpc.NewClient("passthrough:///"+a.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
			grpc.WithContextDialer(func(_ context.Context, addr string) (net.Conn, error) { return a.dial(ctx, addr) }))
		if err != nil {
			return
		}
		defer conn.Close()
		transport := &http.Transport{MaxIdleConnsPerHost: 1, DialContext: func(_ context.Context, network, addr string) (net.Conn, error) { return dial(ctx, network, addr) }}
		defer transport.CloseIdleConnections()
		c := &client{a: a, conn: conn, http: &http.Client{Transport: transport, Timeout: 15 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
		for i := worker; ctx.Err() == nil; i++ {
			call(ctx, c, i)
		}
	})
}

// reasonOf is in the body of an error.
var reasonOf = regexp.MustCompile(`"reason":\s*"([A-Z_]+)"`)

func (c *client) rest(ctx context.Context, method, path, token, body string, header ...string) {
	if token != "" {
		header = append(header, "Authorization", "Bearer "+token)
	}
	c.fetch(ctx, method, "http://"+c.a.HTTP+path, body, header...)
}

// page asks the front end as somebody who is signed in.
func (c *client) page(ctx context.Context, path, cookies string) {
	c.fetch(ctx, http.MethodGet, "http://"+c.a.Web+path, "", "Cookie", cookies)
}

func (c *client) fetch(ctx context.Context, method, url, body string, header ...string) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	c.a.calls.Add(1)
	defer c.a.hold()()
	resp, err := c.http.Do(req)
	if err != nil {
		c.failed(ctx)
		return
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // a cut answer shows in its status
	_, _ = io.Copy(io.Discard, resp.Body)
	what := strconv.Itoa(resp.StatusCode)
	if resp.StatusCode >= 400 {
		if found := reasonOf.FindSubmatch(raw); found != nil {
			what += " " + string(found[1])
		}
	}
	c.a.answered(what)
}

// failed counts what was not answered, and slows the worker down: a server that
// answers nobody is no reason to spin.
func (c *client) failed(ctx context.Context) {
	if ctx.Err() == nil {
		c.a.answered("no answer")
		pause(ctx, 10*time.Millisecond)
	}
}

func (c *client) grpc(ctx context.Context, method, token string) {
	c.invoke(ctx, method, token, &taxonomypb.GetTaxonomyRequest{Audience: taxonomypb.Audience_PARTICULIER})
}

func (c *client) invoke(ctx context.Context, method, token string, request any) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	c.a.calls.Add(1)
	defer c.a.hold()()
	err := c.conn.Invoke(ctx, method, request, &emptypb.Empty{})
	if ctx.Err() != nil {
		return
	}
	what := grpcCode(status.Code(err))
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(interface{ GetReason() string }); ok {
			what += " " + info.GetReason()
		}
	}
	c.a.answered(what)
}
