package fair

import (
	"container/list"
	"sync"
)

// Shares counts what each caller has under way and refuses what is over a limit.
type Shares struct {
	limit int

	mu    sync.Mutex
	taken map[string]int
}

// NewShares allows each caller limit at once; 0 sets no limit.
func NewShares(limit int) *Shares { return &Shares{limit: limit, taken: make(map[string]int)} }

// Take reports whether the caller may have one more. If so, Give must follow.
func (s *Shares) Take(caller string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limit > 0 && s.taken[caller] >= s.limit {
		return false
	}
	s.taken[caller]++
	return true
}

// Give gives one back.
func (s *Shares) Give(caller string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[caller]--; s.taken[caller] <= 0 {
		delete(s.taken, caller)
	}
}

// Queue holds requests that have begun and are not complete yet. One too many ends the
// oldest of the same caller.
type Queue struct {
	limit int

	mu      sync.Mutex
	waiting map[string]*list.List
}

// NewQueue lets each caller keep limit waiting; 0 sets no limit.
func NewQueue(limit int) *Queue { return &Queue{limit: limit, waiting: make(map[string]*list.List)} }

// Enter adds a request. end is called if it must make room, at most once, by another's Enter
// and never after leave has returned; it must neither block nor use the queue. leave must be
// called when the request waits no longer; it may be called again.
func (q *Queue) Enter(caller string, end func()) (leave func()) {
	q.mu.Lock()
	all := q.waiting[caller]
	if all == nil {
		all = list.New()
		q.waiting[caller] = all
	}
	entry := all.PushBack(end)
	if q.limit > 0 && all.Len() > q.limit {
		all.Remove(all.Front()).(func())() //nolint:forcetypeassert // put there above
	}
	q.mu.Unlock()
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		all.Remove(entry) // nothing if it is gone
		if all.Len() == 0 && q.waiting[caller] == all {
			delete(q.waiting, caller)
		}
	}
}
