package messaging

import (
	"sync"
	"time"
)

// kind is what lists of agents are narrowed by.
type kind struct {
	caisse, queue, theme, topic, reason string
	audience                            int16
}

// seenKinds are those of which this process has stored a submission lately: the table
// conversation_kind has them, and the trigger need not look.
type seenKinds struct {
	mu   sync.Mutex
	seen map[kind]time.Time
}

// kindKnown is how long a kind is taken for known. It is shorter than what passes before one that
// no conversation has is deleted (package upkeep), by far.
const kindKnown = time.Hour

func kindOf(sub *submission) kind {
	c := &sub.conversation
	return kind{c.Caisse, c.Queue, c.Theme, c.Topic, c.Reason, c.Audience}
}

// known reports whether the kinds of all submissions are.
func (k *seenKinds) known(subs []*submission, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, sub := range subs {
		if seen, is := k.seen[kindOf(sub)]; !is || now.Sub(seen) > kindKnown {
			return false
		}
	}
	return true
}

// stored notes the kinds of submissions that were stored when they were not known; since is a
// time before that. Those that are not known any more are forgotten.
func (k *seenKinds) stored(subs []*submission, since time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for kind, seen := range k.seen {
		if since.Sub(seen) > kindKnown {
			delete(k.seen, kind)
		}
	}
	for _, sub := range subs {
		k.seen[kindOf(sub)] = since
	}
}
