package notifier

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// When a provider is left alone.
const (
	// breakerShare of at least breakerCalls calls within breakerPeriod have
	// failed.
	breakerShare  = 0.5
	breakerCalls  = 20
	breakerPeriod = 30 * time.Second
	// breakerPause is how long it is then left alone, give or take a quarter,
	// before a single delivery tries whether it is back.
	breakerPause = 10 * time.Second
)

// gate stands before one provider and keeps deliveries back while calling it is
// no use: while most calls fail (a circuit breaker), while our credentials are
// refused, and for as long as the provider has asked to be left alone. What is
// kept back is not called, so it costs no attempt.
//
// Each process has gates of its own: what one learns, another learns within
// twenty calls.
type gate struct {
	provider string
	breaker  circuitbreaker.CircuitBreaker[any]
	// quietUntil is when the provider may be called again, as it asked.
	quietUntil atomic.Pointer[time.Time]
}

func newGate(provider string, pause time.Duration) *gate {
	g := &gate{provider: provider}
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

// room is how many of the deliveries that so many workers could send are worth
// claiming: all, one to try, or none.
func (g *gate) room(workers int) int {
	switch {
	case g.quiet() > 0:
		return 0
	case g.breaker.IsClosed():
		return workers
	case g.breaker.IsOpen() && g.breaker.RemainingDelay() > 0:
		return 0
	default:
		return 1
	}
}

// quiet is how long the provider still wants to be left alone.
func (g *gate) quiet() time.Duration {
	if until := g.quietUntil.Load(); until != nil {
		return max(0, time.Until(*until))
	}
	return 0
}

// through makes a call unless the gate is shut, and learns from its answer.
func (g *gate) through(call func() answer) answer {
	if wait := g.quiet(); wait > 0 {
		return answer{class: classHeld, reason: reasonQuietAsked, retryAfter: wait, provider: g.provider}
	}
	if !g.breaker.TryAcquirePermit() {
		return answer{class: classHeld, reason: reasonBreakerOpen, retryAfter: g.breaker.RemainingDelay(), provider: g.provider}
	}
	a := call()
	a.provider = g.provider
	g.learn(a)
	return a
}

// learn takes note of how a call went. A refusal of one message says that the
// provider works, and so does its asking for a pause.
func (g *gate) learn(a answer) {
	if a.class == classNotSent && a.retryAfter > 0 {
		until := time.Now().Add(a.retryAfter)
		g.quietUntil.Store(&until)
	}
	switch {
	case a.class == classConfigFault:
		g.breaker.RecordFailure()
		g.breaker.Open()
	case a.class == classUnknown, a.class == classNotSent && a.status != http.StatusTooManyRequests:
		g.breaker.RecordFailure()
	default:
		g.breaker.RecordSuccess()
	}
}

// mailRoute is a mailer behind its gate.
type mailRoute struct {
	mailer
	gate *gate
}

// mailRoutes are the providers of e-mail, the preferred one first. A mail goes to
// the next only when it was certainly not sent by the one before: refused for now,
// not reached, not called. One in doubt goes nowhere else.
type mailRoutes []mailRoute

// Mail returns the answer of the provider that took the mail, refused it for good
// or left it in doubt; of those that did not, the answer that says most.
func (routes mailRoutes) Mail(ctx context.Context, m email) answer {
	var told answer
	for _, route := range routes {
		a := route.gate.through(func() answer { return route.Mail(ctx, m) })
		if !passesOn[a.class] {
			return a
		}
		if told.class == "" || told.class == classHeld || told.class == classConfigFault && a.class == classNotSent {
			told = a
		}
	}
	return told
}

// passesOn are the classes after which a message was certainly not sent, and which
// are no word against the message itself.
var passesOn = map[class]bool{classNotSent: true, classConfigFault: true, classHeld: true}

// textRoute is a texter behind its gate.
type textRoute struct {
	texter
	gate *gate
}

// Text sends an SMS if the gate lets it.
func (r textRoute) Text(ctx context.Context, s sms) answer {
	return r.gate.through(func() answer { return r.texter.Text(ctx, s) })
}

// askableMail and askableText join senders to whom of them can be asked about a
// doubt. Questions go past the gate: what they meet says nothing about sending.
type askableMail struct {
	mailer
	finder[email]
}

type askableText struct {
	texter
	finder[sms]
}
