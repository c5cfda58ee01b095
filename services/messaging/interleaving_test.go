package messaging

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

var (
	interleavings    = flag.Int("interleavings", 120, "how many interleavings are drawn")
	interleavingSeed = flag.Uint64("interleaving-seed", 1, "what they are drawn from")
)

// interleaving is what three agents and a member do to one conversation, in a drawn order, some
// of it at once.
type interleaving struct {
	*stage
	id     string
	member caller
	agents []caller
	// views are the last messages that the agents have read.
	views []string

	mu sync.Mutex
	// answers are the last messages that the authors of final answers had read, by their texts.
	answers map[string]string
	*outcomes
}

// outcomes count what came of all interleavings, to show that they meet.
type outcomes struct{ answered, changed, held, other atomic.Int64 }

func (o *outcomes) tally(err error) {
	switch status.Code(err) {
	case codes.OK:
		o.answered.Add(1)
	case codes.Aborted:
		o.changed.Add(1)
	case codes.FailedPrecondition:
		o.held.Add(1)
	default:
		o.other.Add(1)
	}
}

// step does one thing, which it draws.
func (x *interleaving) step(t *testing.T, drawn uint64) {
	who := int(drawn % uint64(len(x.agents)))
	agent, last := x.agents[who], x.views[who]
	text := fmt.Sprintf("Réponse %s.", uuid.NewString())
	final := func(err error) {
		if x.tally(err); err == nil {
			x.mu.Lock()
			x.answers[text] = last
			x.mu.Unlock()
		}
	}
	switch drawn / 3 % 9 {
	case 0, 1:
		if _, err := x.member.followUp(t, x.id, uuid.NewString(), "J’ajoute une précision."); err != nil && status.Code(err) != codes.FailedPrecondition {
			t.Error(err)
		}
	case 2:
		_, err := agent.agent.ClaimConversation(agent.call(t), &messagingpb.ClaimConversationRequest{Id: x.id})
		x.expected(t, err)
	case 3:
		_, err := x.agents[0].takeOver(t, x.id, "")
		x.expected(t, err)
	case 4:
		queue := []string{"sante", "famille"}[drawn/27%2]
		_, err := agent.agent.TransferConversation(agent.call(t), &messagingpb.TransferConversationRequest{Id: x.id, Queue: queue, LastMessageId: last})
		x.expected(t, err)
	case 5:
		_, err := agent.agent.CloseConversation(agent.call(t), &messagingpb.CloseConversationRequest{Id: x.id, Text: text, LastMessageId: last})
		final(err)
	default:
		_, err := agent.agent.PostReply(agent.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{
			Id: x.id, Text: text, Final: drawn/27%4 != 0, Additional: drawn/108%2 == 0, LastMessageId: last,
		})
		if drawn/27%4 != 0 {
			final(err)
		} else {
			x.expected(t, err)
		}
	}
}

// expected fails for what is neither success nor a refusal of the state.
func (x *interleaving) expected(t *testing.T, err error) {
	t.Helper()
	if code := status.Code(err); code != codes.OK && code != codes.Aborted && code != codes.FailedPrecondition {
		t.Error(err)
	}
}

// run does it all, and checks that no final answer follows a message of the member's that its
// author had not read.
func (x *interleaving) run(t *testing.T, rng *rand.Rand) {
	sent := x.member.submit(t)
	x.id, x.answers = sent.GetId(), make(map[string]string)
	x.views = make([]string, len(x.agents))
	for i := range x.views {
		x.views[i] = sent.GetMessages()[0].GetId()
	}
	for range 3 + rng.IntN(4) {
		var group sync.WaitGroup
		for range 1 + rng.IntN(3) {
			drawn := rng.Uint64()
			group.Go(func() { x.step(t, drawn) })
		}
		group.Wait()
		if who := rng.IntN(2 * len(x.agents)); who < len(x.agents) {
			x.views[who] = x.agents[who].read(t, x.id).GetLastMessageId()
		}
	}
	unread := make(map[string]bool) // by the last message that somebody had read: the member wrote since
	for _, message := range x.agents[0].read(t, x.id).GetMessages() {
		if message.GetAuthor() == messagingpb.Author_MEMBER {
			for last := range unread {
				unread[last] = true
			}
		} else if last, ok := x.answers[message.GetText()]; ok {
			if written, known := unread[last]; written || !known {
				t.Errorf("conversation %s has a final answer to what its author had not seen", x.id)
			}
		}
		unread[message.GetId()] = false
	}
}

// No final answer is published to a message that its author had not seen, in whatever order
// follow-ups, claims, takeovers, transfers, replies and closings come.
func TestInterleavings(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	agents := []caller{s.supervisor(t, "sofiane"), s.clerk(t, "claire"), s.clerk(t, "omar")}
	var done outcomes
	var drawn atomic.Uint64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for n := drawn.Add(1); n <= uint64(*interleavings) && !t.Failed(); n = drawn.Add(1) {
				x := &interleaving{stage: s, member: jeanne, agents: agents, outcomes: &done}
				x.run(t, rand.New(rand.NewPCG(*interleavingSeed, n)))
			}
		})
	}
	group.Wait()
	t.Logf("of final answers and closings %d were stored, %d refused for news, %d for claims, answers or an end", done.answered.Load(), done.changed.Load(), done.held.Load())
	if done.other.Load() > 0 || done.answered.Load() == 0 || done.changed.Load() == 0 || done.held.Load() == 0 {
		t.Errorf("%d ended otherwise, or there was none of a kind", done.other.Load())
	}
}
