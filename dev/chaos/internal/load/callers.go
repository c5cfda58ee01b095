package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// callers are the ways of people to the gateways, with their tokens.
type callers struct {
	fleet *fleet.Fleet
	grpc  messagingpb.MessagingServiceClient
	conn  *grpc.ClientConn
	http  *http.Client
	// up says which gateways are ready, as a load balancer would know.
	up []atomic.Bool

	mu       sync.Mutex
	tokens   map[string]string
	tokensAt time.Time
	// fresh: every call has a token of its own, which nobody has seen before.
	fresh atomic.Bool
	// version is that of the taxonomy which was read last; 0: none was.
	version atomic.Int32
}

func newCallers(f *fleet.Fleet) (*callers, error) {
	c := &callers{fleet: f, up: make([]atomic.Bool, len(f.HTTPAddrs))}
	places := manual.NewBuilderWithScheme("gateways")
	var addrs []resolver.Address
	for _, addr := range f.GRPCAddrs {
		addrs = append(addrs, resolver.Address{Addr: addr})
	}
	places.InitialState(resolver.State{Addresses: addrs})
	var err error
	if c.conn, err = rpc.Dial("gateways:///", nil, grpc.WithResolvers(places), grpc.WithDisableHealthCheck()); err != nil {
		return nil, err
	}
	c.grpc = messagingpb.NewMessagingServiceClient(c.conn)
	c.http = &http.Client{Timeout: attemptTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 512, IdleConnTimeout: 20 * time.Second}}
	return c, nil
}

func (c *callers) close() {
	c.conn.Close()
	c.http.CloseIdleConnections()
}

// token returns a token of a persona that is good for some minutes.
func (c *callers) token(persona string) (string, error) {
	if c.fresh.Load() {
		return c.fleet.Token(persona)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.tokensAt) > 20*time.Minute {
		c.tokens, c.tokensAt = make(map[string]string), time.Now()
	}
	if c.tokens[persona] == "" {
		token, err := c.fleet.Token(persona)
		if err != nil {
			return "", err
		}
		c.tokens[persona] = token
	}
	return c.tokens[persona], nil
}

// as gives a gRPC call the token of a persona, and a key if there is one.
func (c *callers) as(ctx context.Context, persona, key string) (context.Context, error) {
	token, err := c.token(persona)
	if err != nil {
		return ctx, err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	if key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "idempotency-key", key)
	}
	return ctx, nil
}

// message is what a member sends, under one key always the same.
type message struct {
	member, key, text string
	// version is that of the taxonomy in which they chose; 0: they have not yet.
	version int32
}

// readVersion reads the taxonomy, as a front end does at first and when it is told that there
// is a newer version.
func (c *callers) readVersion(ctx context.Context, member string) error {
	var tree struct{ Version int32 }
	if err := c.rest(ctx, http.MethodGet, member, "/v1/taxonomy?audience=PARTICULIER", "", nil, &tree); err != nil {
		return err
	}
	c.version.Store(tree.Version)
	return nil
}

// submit sends a message, and again in the current version if its own was replaced.
func (c *callers) submit(ctx context.Context, m *message, rest bool) (id, reference string, err error) {
	if c.version.Load() == 0 {
		if err := c.readVersion(ctx, m.member); err != nil {
			return "", "", err
		}
	}
	if m.version == 0 {
		m.version = c.version.Load()
	}
	send := c.submitGRPC
	if rest {
		send = c.submitREST
	}
	id, reference, err = send(ctx, m)
	if err == nil || !strings.Contains(err.Error(), "has been replaced by version") {
		return id, reference, err
	}
	if err := c.readVersion(ctx, m.member); err != nil {
		return "", "", err
	}
	m.version = c.version.Load()
	return send(ctx, m)
}

func (c *callers) submitGRPC(ctx context.Context, m *message) (id, reference string, err error) {
	if ctx, err = c.as(ctx, m.member, m.key); err != nil {
		return "", "", err
	}
	resp, err := c.grpc.SubmitMessage(ctx, &messagingpb.SubmitMessageRequest{
		Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", Topic: "allocations-familiales", Reason: "paiement-absent",
		TaxonomyVersion: m.version, Text: m.text,
	})
	return resp.GetConversation().GetId(), resp.GetConversation().GetReference(), err
}

func (c *callers) submitREST(ctx context.Context, m *message) (id, reference string, err error) {
	var answer struct {
		Conversation struct{ ID, Reference string }
	}
	err = c.post(ctx, m.member, "/v1/conversations", m.key, map[string]any{
		"audience": "PARTICULIER", "theme": "famille-logement", "topic": "allocations-familiales", "reason": "paiement-absent",
		"taxonomyVersion": m.version, "text": m.text,
	}, &answer)
	return answer.Conversation.ID, answer.Conversation.Reference, err
}

// reply reads a conversation and answers it, as an agent.
func (c *callers) reply(ctx context.Context, agent, conversation, key string) error {
	var read struct {
		Conversation struct{ LastMessageID string }
	}
	path := "/v1/agent/conversations/" + conversation
	if err := c.rest(ctx, http.MethodGet, agent, path, "", nil, &read); err != nil {
		return err
	}
	return c.post(ctx, agent, path+":reply", key, map[string]any{
		"text": "Votre demande est en cours.", "final": true, "lastMessageId": read.Conversation.LastMessageID,
	}, nil)
}

// post calls a gateway that is ready, if one is.
func (c *callers) post(ctx context.Context, persona, path, key string, body, into any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.rest(ctx, http.MethodPost, persona, path, key, content, into)
}

// get reads something as somebody.
func (c *callers) get(ctx context.Context, persona, path string) error {
	return c.rest(ctx, http.MethodGet, persona, path, "", nil, nil)
}

func (c *callers) rest(ctx context.Context, method, persona, path, key string, body []byte, into any) error {
	req, err := c.request(ctx, method, persona, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d: %.400s", path, resp.StatusCode, raw)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}

// request is a request to a gateway that is ready, with the token of a persona.
func (c *callers) request(ctx context.Context, method, persona, path string, body io.Reader) (*http.Request, error) {
	token, err := c.token(persona)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.fleet.HTTPAddrs[c.pick()]+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return req, nil
}

// pick chooses a gateway: any that is ready, or any.
func (c *callers) pick() int {
	i := rand.IntN(len(c.up)) //nolint:gosec // spreads load
	if !c.up[i].Load() {
		i = len(c.up) - 1 - i
	}
	return i
}

// balance asks the gateways whether they are ready, until ctx is done.
func (c *callers) balance(ctx context.Context) {
	for {
		for i := range c.up {
			ask, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			c.up[i].Store(c.fleet.Ready(ask, fmt.Sprintf("gateway-%d", i+1)))
			cancel()
		}
		if !fleet.Sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
}
