package load

import (
	"slices"
	"sync"
	"time"
)

// Phase is what happened to the calls that were begun in a span of time.
type Phase struct {
	group sync.WaitGroup

	mu      sync.Mutex
	took    []time.Duration
	reasons map[string]int
	failed  int
}

// Wait returns when every call of the phase has ended.
func (p *Phase) Wait() { p.group.Wait() }

// note adds a call, or with no time the failure of a stream. What did not succeed
// counts with the time after which it was known to have failed.
func (p *Phase) note(kind string, took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if took > 0 {
		p.took = append(p.took, took)
	}
	if err == nil {
		return
	}
	p.failed++
	if p.reasons == nil {
		p.reasons = make(map[string]int)
	}
	text := kind + ": " + err.Error()
	if len(text) > 200 {
		text = text[:200]
	}
	if len(p.reasons) < 50 || p.reasons[text] > 0 {
		p.reasons[text]++
	}
}

// Summary is a phase in figures.
type Summary struct {
	Calls, Failed int
	P50, P99, Max time.Duration
	// Reason is the most frequent reason of those that failed.
	Reason string
}

// Summary is of the calls that have ended: take it after Wait.
func (p *Phase) Summary() Summary {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Summary{Calls: len(p.took), Failed: p.failed}
	most := 0
	for text, n := range p.reasons {
		if n > most {
			most, s.Reason = n, text
		}
	}
	if s.Calls == 0 {
		return s
	}
	sorted := slices.Sorted(slices.Values(p.took))
	at := func(share float64) time.Duration { return sorted[min(int(share*float64(s.Calls)), s.Calls-1)] }
	s.P50, s.P99, s.Max = at(0.5), at(0.99), sorted[s.Calls-1]
	return s
}
