package load

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

const (
	// callPatience is after how long a call that was not answered has failed.
	callPatience = 10 * time.Second
	// visitors use the pages, watchers keep a stream open.
	visitors = 12
	watchers = 24
	// watchLeast is shorter than the ten minutes after which the gateway ends a watch.
	watchLeast = 9 * time.Minute
)

// Others are all whom an attack must not touch: members who write and read, agents,
// members on the front end's pages, and streams that stay open. Nobody tries again:
// what is not answered with success within ten seconds has failed. Each of them
// stays far below every limit.
type Others struct {
	calls, streams *callers
	agents         messagingpb.AgentServiceClient
	taxonomy       taxonomypb.TaxonomyServiceClient
	visitors       []*Visitor
	watches        *Watches

	mu    sync.Mutex
	phase *Phase // of the calls that begin now
	group sync.WaitGroup
	rng   *rand.Rand
	// open are conversations that an agent may answer.
	open chan string
}

// NewOthers signs people in to the pages and opens streams. Call Close after ctx is
// done.
func NewOthers(ctx context.Context, f *fleet.Fleet, seed uint64) (*Others, error) {
	o := &Others{phase: &Phase{}, rng: rand.New(rand.NewPCG(seed, 3)), open: make(chan string, 1000)} //nolint:gosec // drawn again from the same seed
	var err error
	if o.calls, err = newCallers(f); err != nil {
		return nil, err
	}
	if o.streams, err = newCallers(f); err != nil {
		return nil, err
	}
	o.calls.http.Timeout = callPatience
	o.agents = messagingpb.NewAgentServiceClient(o.calls.conn)
	o.taxonomy = taxonomypb.NewTaxonomyServiceClient(o.calls.conn)
	for i := range visitors {
		v, err := SignIn(ctx, f, "member", Member(i))
		if err == nil {
			err = v.Begin(ctx)
		}
		if err != nil {
			return nil, err
		}
		o.visitors = append(o.visitors, v)
	}
	o.watches = newWatches(o.streams, watchLeast, func(err error) { o.current().note("watch", 0, err) })
	o.watches.open(ctx, watchers)
	for _, v := range o.visitors[:3] {
		o.watches.group.Go(func() { o.watches.keep(ctx, "", func(ctx context.Context, _ string) error { return v.listen(ctx) }) })
	}
	return o, nil
}

// listen reads the events of the pages until they end.
func (v *Visitor) listen(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+"/evenements", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Cookie", v.Cookies())
	resp, err := v.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/evenements answers %d", resp.StatusCode)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// Begin starts a phase: calls begun from now on count for it.
func (o *Others) Begin() *Phase {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.phase = &Phase{}
	return o.phase
}

func (o *Others) current() *Phase {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.phase
}

// join counts one more call for the phase.
func (o *Others) join() *Phase {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.phase.group.Add(1)
	return o.phase
}

// UseFreshTokens has each call carry a token that nobody has seen before.
func (o *Others) UseFreshTokens(on bool) { o.calls.fresh.Store(on) }

// Close waits for everything; the context of NewOthers must be done.
func (o *Others) Close() {
	o.group.Wait()
	o.watches.Wait()
	o.calls.close()
	o.streams.close()
}

// Run makes calls at a steady rate until ctx is done.
func (o *Others) Run(ctx context.Context, rate int) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	start, begun := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for due := int(time.Since(start).Seconds() * float64(rate)); begun < due; begun++ {
			o.begin(begun)
		}
	}
}

// begin starts one call, in turn one of each kind.
func (o *Others) begin(i int) {
	kind := kinds[i%len(kinds)]
	member, draw, phase := Member(o.rng.IntN(members)), o.rng.Uint64(), o.join()
	o.group.Go(func() {
		defer phase.group.Done()
		ctx, cancel := context.WithTimeout(context.Background(), callPatience)
		defer cancel()
		begun := time.Now()
		err := kind.call(o, ctx, member, draw)
		phase.note(kind.name, time.Since(begun), err)
	})
}

// kinds are what people do, as often as they do it: of twenty, four are pages.
var kinds = []struct {
	name string
	call func(o *Others, ctx context.Context, member string, draw uint64) error
}{
	{"submit by REST", (*Others).submitREST},
	{"list by gRPC", (*Others).listGRPC},
	{"page", (*Others).page},
	{"taxonomy by REST", (*Others).taxonomyREST},
	{"submit by gRPC", (*Others).submitGRPC},
	{"list by REST", (*Others).listREST},
	{"search by gRPC", (*Others).searchGRPC},
	{"page", (*Others).page},
	{"agent's list", (*Others).queue},
	{"taxonomy by gRPC", (*Others).taxonomyGRPC},
	{"submit by REST", (*Others).submitREST},
	{"list by gRPC", (*Others).listGRPC},
	{"page", (*Others).page},
	{"search by REST", (*Others).searchREST},
	{"agent's reply", (*Others).reply},
	{"submit by gRPC", (*Others).submitGRPC},
	{"list by REST", (*Others).listREST},
	{"page", (*Others).page},
	{"taxonomy by REST", (*Others).taxonomyREST},
	{"agent's list", (*Others).queue},
}

func (o *Others) text(draw uint64) string {
	return "Bonjour. " + strings.Repeat("Où en est ma demande ? ", 1+int(draw%20))
}

func (o *Others) submitREST(ctx context.Context, member string, draw uint64) error {
	id, _, err := o.calls.submit(ctx, &message{member: member, key: uuid.NewString(), text: o.text(draw)}, true)
	o.written(id)
	return err
}

func (o *Others) submitGRPC(ctx context.Context, member string, draw uint64) error {
	id, _, err := o.calls.submit(ctx, &message{member: member, key: uuid.NewString(), text: o.text(draw)}, false)
	o.written(id)
	return err
}

// written keeps some conversations for the agents.
func (o *Others) written(id string) {
	if id == "" {
		return
	}
	select {
	case o.open <- id:
	default:
	}
}

func (o *Others) listGRPC(ctx context.Context, member string, _ uint64) error {
	ctx, err := o.calls.as(ctx, member, "")
	if err != nil {
		return err
	}
	_, err = o.calls.grpc.ListConversations(ctx, &messagingpb.ListConversationsRequest{})
	return err
}

func (o *Others) listREST(ctx context.Context, member string, _ uint64) error {
	return o.calls.get(ctx, member, "/v1/conversations")
}

func (o *Others) taxonomyREST(ctx context.Context, member string, _ uint64) error {
	return o.calls.get(ctx, member, "/v1/taxonomy?audience=PARTICULIER")
}

func (o *Others) taxonomyGRPC(ctx context.Context, member string, _ uint64) error {
	ctx, err := o.calls.as(ctx, member, "")
	if err != nil {
		return err
	}
	_, err = o.taxonomy.GetTaxonomy(ctx, &taxonomypb.GetTaxonomyRequest{Audience: taxonomypb.Audience_PARTICULIER})
	return err
}

func (o *Others) searchREST(ctx context.Context, member string, _ uint64) error {
	return o.calls.get(ctx, member, "/v1/reasons:search?audience=PARTICULIER&q=paiement")
}

func (o *Others) searchGRPC(ctx context.Context, member string, _ uint64) error {
	ctx, err := o.calls.as(ctx, member, "")
	if err != nil {
		return err
	}
	_, err = o.taxonomy.SearchReasons(ctx, &taxonomypb.SearchReasonsRequest{Audience: taxonomypb.Audience_PARTICULIER, Q: "allocations logement"})
	return err
}

func (o *Others) queue(ctx context.Context, _ string, draw uint64) error {
	ctx, err := o.calls.as(ctx, agentNamed(int(draw%agents)), "")
	if err != nil {
		return err
	}
	_, err = o.agents.ListConversations(ctx, &messagingpb.AgentServiceListConversationsRequest{})
	return err
}

// reply answers a conversation; where none waits, an agent looks at the list.
func (o *Others) reply(ctx context.Context, member string, draw uint64) error {
	select {
	case id := <-o.open:
		return o.calls.reply(ctx, agentNamed(int(draw%agents)), id, uuid.NewString())
	default:
		return o.queue(ctx, member, draw)
	}
}

func (o *Others) page(ctx context.Context, _ string, draw uint64) error {
	v := o.visitors[draw%uint64(len(o.visitors))]
	paths := v.paths()
	return v.visit(ctx, paths[draw/97%uint64(len(paths))])
}
