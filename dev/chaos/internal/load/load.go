// Package load is the people: members who write and agents who answer, at a steady
// rate that does not wait for answers.
//
// Each submission has a key and is tried again with it until it is answered, as front
// ends do; what clients saw is kept as their account. What is drawn (who, over which
// protocol, a double click, a reply) comes from the seed; when it arrives does not.
//
// Beyond 20 000 open submissions none is begun: they are counted as shed, and the rate
// then says less than it seems.
package load

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
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

// Member is the name of one of them.
func Member(i int) string { return fmt.Sprintf("particulier-%04d", 100+i) }

// agents is how many different agents work.
const agents = 12

func agentNamed(i int) string { return fmt.Sprintf("conseiller-armorique-%03d", 100+i%agents) }

// Sent is one submission as its client saw it.
type Sent struct {
	Member, Key   string
	ID, Reference string
	Answered      time.Time // zero: never
}

// Reply is one reply as its agent saw it.
type Reply struct{ Conversation, Key string }

// Load writes at a steady rate.
type Load struct {
	*callers
	rng *rand.Rand

	// Begun counts submissions, Acked those answered, Open those not answered yet,
	// Shed those not begun for too many open; Failed counts tries.
	Begun, Failed, Shed, Open, Acked atomic.Int64

	mu       sync.Mutex
	failures map[string]int
	sent     []*Sent
	replies  []Reply
	group    sync.WaitGroup
}

// New makes a load that is not running yet. Call Close.
func New(f *fleet.Fleet, seed uint64) (*Load, error) {
	c, err := newCallers(f)
	if err != nil {
		return nil, err
	}
	return &Load{callers: c, rng: rand.New(rand.NewPCG(seed, 1)), failures: make(map[string]int)}, nil //nolint:gosec // drawn again from the same seed
}

// Run begins submissions until ctx is done. What is not answered then goes on
// until finish gives up.
func (l *Load) Run(ctx, finish context.Context, rate int) {
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
func (l *Load) begin(finish context.Context) {
	if l.Open.Load() >= mostAtOnce {
		l.Shed.Add(1)
		return
	}
	s := &Sent{Member: Member(l.rng.IntN(members)), Key: uuid.NewString()}
	text := fmt.Sprintf("Bonjour, %s. %s", s.Key, strings.Repeat("Où en est ma demande ? ", l.rng.IntN(20)))
	rest, twice, reply := l.rng.IntN(2) == 0, l.rng.IntN(clickShare) == 0, l.rng.IntN(replyShare) == 0
	l.Begun.Add(1)
	l.mu.Lock()
	l.sent = append(l.sent, s)
	l.mu.Unlock()
	clicks := 1
	if twice {
		clicks = 2
	}
	for range clicks {
		l.Open.Add(1)
		l.group.Go(func() {
			defer l.Open.Add(-1)
			if l.Submit(finish, s, text, rest) && reply {
				l.answer(finish, s.ID)
			}
		})
	}
}

// Submit tries until it is answered.
func (l *Load) Submit(finish context.Context, s *Sent, text string, rest bool) bool {
	m := message{member: s.Member, key: s.Key, text: text}
	for try := 0; finish.Err() == nil; try++ {
		ctx, cancel := context.WithTimeout(finish, attemptTimeout)
		id, reference, err := l.submit(ctx, &m, rest)
		cancel()
		if err == nil {
			l.note(s, id, reference)
			return true
		}
		l.fail(finish, err)
		// Front ends back off, and not in step: from a tenth of a second to twenty.
		// Without, those that wait would keep each other from being answered.
		if !fleet.Sleep(finish, time.Duration(100+rand.IntN(min(200<<min(try, 7), 20_000)))*time.Millisecond) { //nolint:gosec // spreads load
			return false
		}
	}
	return false
}

func (l *Load) note(s *Sent, id, reference string) {
	l.Acked.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.ID != "" && (s.ID != id || s.Reference != reference) {
		l.failures["one key, two answers"]++
	}
	s.ID, s.Reference, s.Answered = id, reference, time.Now()
}

func (l *Load) fail(finish context.Context, err error) {
	if finish.Err() != nil {
		return
	}
	l.Failed.Add(1)
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

// answer has an agent reply, and tries until it is done, by them or by whoever answers the same
// member's other click.
func (l *Load) answer(finish context.Context, conversation string) {
	reply := Reply{conversation, uuid.NewString()}
	for try := 0; finish.Err() == nil; try++ {
		ctx, cancel := context.WithTimeout(finish, attemptTimeout)
		err := l.reply(ctx, "crm", conversation, reply.Key)
		cancel()
		if err == nil {
			l.mu.Lock()
			l.replies = append(l.replies, reply)
			l.mu.Unlock()
			return
		}
		switch {
		case strings.Contains(err.Error(), "ALREADY_ANSWERED"):
			return
		case strings.Contains(err.Error(), "CONVERSATION_CHANGED"): // by the other: it is read again
			continue
		}
		l.fail(finish, err)
		if !fleet.Sleep(finish, time.Duration(100+rand.IntN(min(200<<min(try, 7), 20_000)))*time.Millisecond) { //nolint:gosec // as above
			return
		}
	}
}

// Replay has an operator try all dead letters again.
func (l *Load) Replay(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return l.post(ctx, "sofiane", "/v1/operator/deadletters:replay", "", map[string]any{"filter": map[string]any{}}, &struct{}{})
}

// Close waits for what is open.
func (l *Load) Close() {
	l.group.Wait()
	l.close()
}

// Account is what clients saw: submissions, replies, and how many keys were given
// two different answers.
func (l *Load) Account() (sent []*Sent, replies []Reply, confused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.replies, l.failures["one key, two answers"]
}

// Failures counts why tries failed.
func (l *Load) Failures() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.failures)
}

// Adopt makes submissions of the caller's part of the account.
func (l *Load) Adopt(list []*Sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, list...)
}

// Wait returns when nothing is open any more.
func (l *Load) Wait() { l.group.Wait() }
