package provider

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// When a provider is not called.
const (
	// breakerShare of at least breakerCalls calls within breakerPeriod have
	// failed.
	breakerShare  = 0.5
	breakerCalls  = 20
	breakerPeriod = 30 * time.Second
	// breakerPause is how long it is then not called, give or take a quarter, before a
	// single delivery tries whether it is back.
	breakerPause = 10 * time.Second
)

// Gate guards one provider and holds back deliveries while calling it is of no use: while
// most calls fail (a circuit breaker), while our credentials are refused, and for as long as
// the provider has asked not to be called. A delivery that is held back costs no attempt.
//
// Each process has gates of its own: what one learns, another learns within
// twenty calls.
type Gate struct {
	Provider string
	breaker  circuitbreaker.CircuitBreaker[any]
	// quietUntil is when the provider may be called again, as it asked.
	quietUntil atomic.Pointer[time.Time]
}

// NewGate returns an open gate before the provider of that name. Once shut, it lets one
// call try after the pause, give or take a quarter.
func NewGate(provider string, pause time.Duration) *Gate {
	g := &Gate{Provider: provider}
	log := func(e circuitbreaker.StateChangedEvent) {
		slog.Warn("provider's breaker", "provider", provider, "from", e.OldState.String(), "to", e.NewState.String())
	}
	g.breaker = circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(breakerShare, breakerCalls, breakerPeriod).
		WithDelay(pause).WithJitterFactor(.25).
		WithSuccessThreshold(1).
		OnStateChanged(log).
		Build()
	return g
}

// Room is how many of the deliveries that so many workers could send are worth
// claiming: all, one to try, or none.
func (g *Gate) Room(workers int) int {
	switch {
	case g.Quiet() > 0:
		return 0
	case g.breaker.IsClosed():
		return workers
	case g.breaker.IsOpen() && g.breaker.RemainingDelay() > 0:
		return 0
	default:
		return 1
	}
}

// Quiet is for how much longer the provider has asked not to be called.
func (g *Gate) Quiet() time.Duration {
	if until := g.quietUntil.Load(); until != nil {
		return max(0, time.Until(*until))
	}
	return 0
}

// through makes a call unless the gate is shut, and learns from its answer.
func (g *Gate) through(call func() Answer) Answer {
	if wait := g.Quiet(); wait > 0 {
		return Answer{Class: Held, Reason: reasonPauseAsked, RetryAfter: wait, Provider: g.Provider}
	}
	if !g.breaker.TryAcquirePermit() {
		return Answer{Class: Held, Reason: reasonBreakerOpen, RetryAfter: g.breaker.RemainingDelay(), Provider: g.Provider}
	}
	a := call()
	a.Provider = g.Provider
	g.Learn(a)
	return a
}

// Learn takes note of how a call went. A refusal of one message shows that the provider
// works, and so does a request to pause.
func (g *Gate) Learn(a Answer) {
	if a.Class == NotSent && a.RetryAfter > 0 {
		until := time.Now().Add(a.RetryAfter)
		g.quietUntil.Store(&until)
	}
	switch {
	case a.Class == ConfigFault:
		g.breaker.RecordFailure()
		g.breaker.Open()
	case a.Class == Unknown, a.Class == NotSent && a.Status != http.StatusTooManyRequests:
		g.breaker.RecordFailure()
	default:
		g.breaker.RecordSuccess()
	}
}

// Opened reports whether the gate is shut because most calls fail.
func (g *Gate) Opened() bool { return g.breaker.IsOpen() }
