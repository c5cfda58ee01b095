package door

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/flow"
)

// Visit is one request on its way through the door, from its head on: who it counts
// against, and what it occupies while it is incomplete.
type Visit struct {
	door *Door
	// conn is nil where a test has none.
	conn    *fair.Conn
	address string
	// subject is who has signed in; empty: nobody, or unknown yet.
	subject string
	counted bool
	// Quota is what was left of its caller's rate when it was counted; nil without one.
	Quota *fair.Quota
	// hold is how long a refusal is held back, where its caller is refused often.
	hold time.Duration
	// Refusal is what was decided before the request had a handler.
	Refusal error
	// Leave removes the request from those that are incomplete.
	Leave   func()
	evicted atomic.Bool
	// StreamTimer ends a stream whose caller does not send its request, or read an answer, in
	// time.
	StreamTimer *time.Timer
}

// Arrive counts a request against its caller before anything else is done for it. The
// caller is known if its token was verified before; a new token must be verified first,
// which Admit does.
func (d *Door) Arrive(ctx context.Context, conn *fair.Conn, address string, authorization []string) *Visit {
	v := &Visit{door: d, conn: conn, address: address, Leave: func() {}}
	token, given := rpc.Bearer(first(authorization))
	if given {
		if id := d.Guard.Verifier.Known(token); id != nil {
			v.subject = id.Subject
		}
	}
	if !given || v.subject != "" {
		v.Refusal = v.Count(ctx)
	}
	return v
}

// identify counts a request whose token has been verified by now, or refused.
func (v *Visit) identify(ctx context.Context) error {
	if id := auth.FromContext(ctx); id != nil {
		v.subject = id.Subject
	}
	return v.Count(ctx)
}

// Count takes one call off its caller's rate, once.
func (v *Visit) Count(ctx context.Context) error {
	if v.counted {
		return nil
	}
	v.counted = true
	now, rates, caller := time.Now(), v.door.Addresses, v.address
	if v.subject != "" {
		v.conn.Prove(v.subject)
		rates, caller = v.door.Callers, v.subject
	} else {
		v.conn.Asked()
	}
	wait := rates.Take(caller, now)
	if quota, limited := rates.Quota(caller, now); limited {
		v.Quota = &quota
	}
	v.conn.Counted(flow.CallWork)
	if wait == 0 {
		return nil
	}
	v.hold = v.conn.Refused(wait)
	v.door.Refused(ctx, rateLimited)
	return Limited(wait)
}

// HoldBack delays a refusal if its caller is refused often.
func (v *Visit) HoldBack(ctx context.Context) { v.conn.Hold(ctx, v.hold) }

// RefuseUnread refuses the request because of the answers that its connection has not read.
func (v *Visit) RefuseUnread(ctx context.Context) {
	v.conn.Refused(time.Second)
	v.door.Refused(ctx, errUnread.Reason.String())
	v.Refusal = retryLater(errUnread, time.Second)
}

type visitKey struct{}

// WithVisit returns a context that carries a visit.
func WithVisit(ctx context.Context, v *Visit) context.Context {
	return context.WithValue(ctx, visitKey{}, v)
}

// VisitOf returns the visit that a context carries, or nil.
func VisitOf(ctx context.Context) *Visit {
	v, _ := ctx.Value(visitKey{}).(*Visit)
	return v
}

// caller is who the visit's calls count against.
func (v *Visit) caller() string {
	if v.subject != "" {
		return v.subject
	}
	return "address " + v.address
}

// Await adds the request to those of its caller that are incomplete. evict is called if
// newer ones push it out.
func (v *Visit) Await(evict func()) {
	waiting := v.door.incomplete
	if v.subject == "" {
		waiting = v.door.strangersIncomplete
	}
	v.Leave = waiting.Enter(v.caller(), func() {
		v.evicted.Store(true)
		evict()
	})
}

// Incomplete returns why a request did not become complete.
func (v *Visit) Incomplete(err error) error {
	if !v.evicted.Load() {
		return err
	}
	v.door.Refused(context.Background(), errTooSlow.Reason.String())
	return errTooSlow
}
