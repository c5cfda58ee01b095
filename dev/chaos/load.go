package chaos

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

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

const (
	// attemptTimeout is how long a client waits for one answer.
	attemptTimeout = 6 * time.Second
	// mostAtOnce bounds the submissions that are not answered yet; beyond, none
	// is begun.
	mostAtOnce = 20_000
	// replyShare is how many submissions are answered by an agent: one in so many.
	replyShare = 20
	// clickShare is how many are sent twice at once, as by a double click.
	clickShare = 50
)

// members is how many different people write.
const members = 900

// memberNamed is one of them.
func memberNamed(i int) string { return fmt.Sprintf("particulier-%04d", 100+i) }

// sent is one submission as its client saw it.
type sent struct {
	Member, Key   string
	ID, Reference string
	Answered      time.Time // zero: never
}

// answered is one reply as its agent saw it.
type answered struct{ Conversation, Key string }

// load writes at a steady rate.
type load struct {
	fleet *fleet
	rng   *rand.Rand
	grpc  messagingpb.MessagingServiceClient
	conn  *grpc.ClientConn
	http  *http.Client
	// up says which gateways are ready, as a load balancer would know.
	up [2]atomic.Bool

	begun, failed, shed, open, acked atomic.Int64
	// lastFailures keeps some failures for the report.
	mu       sync.Mutex
	failures map[string]int
	sent     []*sent
	replies  []answered
	tokens   map[string]string
	tokensAt time.Time
	group    sync.WaitGroup
}

func newLoad(f *fleet, seed uint64) (*load, error) {
	l := &load{fleet: f, rng: rand.New(rand.NewPCG(seed, 1)), failures: make(map[string]int)} //nolint:gosec // drawn again from the same seed
	places := manual.NewBuilderWithScheme("gateways")
	var addrs []resolver.Address
	for _, addr := range f.grpcAddrs {
		addrs = append(addrs, resolver.Address{Addr: addr})
	}
	places.InitialState(resolver.State{Addresses: addrs})
	var err error
	if l.conn, err = rpc.Dial("gateways:///", nil, grpc.WithResolvers(places)); err != nil {
		return nil, err
	}
	l.grpc = messagingpb.NewMessagingServiceClient(l.conn)
	l.http = &http.Client{Timeout: attemptTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 512, IdleConnTimeout: 20 * time.Second}}
	return l, nil
}

// token returns a token of a persona that is good for some minutes.
func (l *load) token(persona string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.tokensAt) > 20*time.Minute {
		l.tokens, l.tokensAt = make(map[string]string), time.Now()
	}
	if l.tokens[persona] == "" {
		token, err := l.fleet.oidc.Token(persona)
		if err != nil {
			return "", err
		}
		l.tokens[persona] = token
	}
	return l.tokens[persona], nil
}

// run begins submissions until ctx is done. What is not answered then goes on
// until finish gives up.
func (l *load) run(ctx, finish context.Context, rate int) {
	go l.balance(finish)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	start, begun := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for due := int(time.Since(start).Seconds() * float64(rate)); begun < due; begun++ {
			l.begin(finish)
		}
	}
}

// begin starts one submission, with what it will do drawn now.
func (l *load) begin(finish context.Context) {
	if l.open.Load() >= mostAtOnce {
		l.shed.Add(1)
		return
	}
	s := &sent{Member: memberNamed(l.rng.IntN(members)), Key: uuid.NewString()}
	text := fmt.Sprintf("Bonjour, %s. %s", s.Key, strings.Repeat("Où en est ma demande ? ", l.rng.IntN(20)))
	rest, twice, reply := l.rng.IntN(2) == 0, l.rng.IntN(clickShare) == 0, l.rng.IntN(replyShare) == 0
	l.begun.Add(1)
	l.mu.Lock()
	l.sent = append(l.sent, s)
	l.mu.Unlock()
	clicks := 1
	if twice {
		clicks = 2
	}
	for range clicks {
		l.open.Add(1)
		l.group.Go(func() {
			defer l.open.Add(-1)
			if l.submit(finish, s, text, rest) && reply {
				l.answer(finish, s.ID)
			}
		})
	}
}

// submit tries until it is answered.
func (l *load) submit(finish context.Context, s *sent, text string, rest bool) bool {
	for try := 0; finish.Err() == nil; try++ {
		ctx, cancel := context.WithTimeout(finish, attemptTimeout)
		var id, reference string
		var err error
		if rest {
			id, reference, err = l.submitREST(ctx, s, text)
		} else {
			id, reference, err = l.submitGRPC(ctx, s, text)
		}
		cancel()
		if err == nil {
			l.note(s, id, reference)
			return true
		}
		l.fail(finish, err)
		// Front ends back off, and not in step: from a tenth of a second to twenty.
		// Without, those that wait would keep each other from being answered.
		if !sleep(finish, time.Duration(100+rand.IntN(min(200<<min(try, 7), 20_000)))*time.Millisecond) { //nolint:gosec // spreads load
			return false
		}
	}
	return false
}

func (l *load) note(s *sent, id, reference string) {
	l.acked.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.ID != "" && (s.ID != id || s.Reference != reference) {
		l.failures["one key, two answers"]++
	}
	s.ID, s.Reference, s.Answered = id, reference, time.Now()
}

func (l *load) fail(finish context.Context, err error) {
	if finish.Err() != nil {
		return
	}
	l.failed.Add(1)
	text := err.Error()
	if len(text) > 160 {
		text = text[:160]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) < 50 || l.failures[text] > 0 {
		l.failures[text]++
	}
}

func (l *load) submitGRPC(ctx context.Context, s *sent, text string) (id, reference string, err error) {
	token, err := l.token(s.Member)
	if err != nil {
		return "", "", err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token, "idempotency-key", s.Key)
	resp, err := l.grpc.SubmitMessage(ctx, &messagingpb.SubmitMessageRequest{
		Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", Topic: "allocations-familiales", Reason: "paiement-absent",
		TaxonomyVersion: 1, Text: text,
	})
	return resp.GetConversation().GetId(), resp.GetConversation().GetReference(), err
}

func (l *load) submitREST(ctx context.Context, s *sent, text string) (id, reference string, err error) {
	var answer struct {
		Conversation struct{ ID, Reference string }
	}
	err = l.post(ctx, s.Member, "/v1/conversations", s.Key, map[string]any{
		"audience": "PARTICULIER", "theme": "famille-logement", "topic": "allocations-familiales", "reason": "paiement-absent",
		"taxonomyVersion": 1, "text": text,
	}, &answer)
	return answer.Conversation.ID, answer.Conversation.Reference, err
}

// post calls a gateway that is ready, if one is.
func (l *load) post(ctx context.Context, persona, path, key string, body, into any) error {
	token, err := l.token(persona)
	if err != nil {
		return err
	}
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	place := l.fleet.httpAddrs[l.pick()]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+place+path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d: %.100s", path, resp.StatusCode, raw)
	}
	return json.Unmarshal(raw, into)
}

// pick chooses a gateway: any that is ready, or any.
func (l *load) pick() int {
	i := rand.IntN(2) //nolint:gosec // spreads load
	if !l.up[i].Load() {
		i = 1 - i
	}
	return i
}

// balance asks the gateways whether they are ready.
func (l *load) balance(ctx context.Context) {
	for {
		for i := range l.up {
			ask, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			l.up[i].Store(httpReady("http://"+l.fleet.adminAddrs[fmt.Sprintf("gateway-%d", i+1)]+"/readyz")(ask) == nil)
			cancel()
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
}

// answer has an agent reply, and tries until it is done.
func (l *load) answer(finish context.Context, conversation string) {
	reply := answered{conversation, uuid.NewString()}
	for try := 0; finish.Err() == nil; try++ {
		ctx, cancel := context.WithTimeout(finish, attemptTimeout)
		err := l.post(ctx, "crm", "/v1/agent/conversations/"+conversation+":reply", reply.Key, map[string]any{"text": "Votre demande est en cours.", "final": true}, &struct{}{})
		cancel()
		if err == nil {
			l.mu.Lock()
			l.replies = append(l.replies, reply)
			l.mu.Unlock()
			return
		}
		l.fail(finish, err)
		if !sleep(finish, time.Duration(100+rand.IntN(min(200<<min(try, 7), 20_000)))*time.Millisecond) { //nolint:gosec // as above
			return
		}
	}
}

// replay has an operator try all dead letters again.
func (l *load) replay(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return l.post(ctx, "sofiane", "/v1/operator/deadletters:replay", "", map[string]any{"filter": map[string]any{}}, &struct{}{})
}

// close waits for what is open.
func (l *load) close() {
	l.group.Wait()
	l.conn.Close()
}
