package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/flow"
)

// visit is one request on its way through the door, from its head on: who it counts
// against, and what it holds while it is not whole.
type visit struct {
	door *door
	// conn is nil where a test has none.
	conn    *fair.Conn
	address string
	// subject is who has signed in; empty: nobody, or not known yet.
	subject string
	counted bool
	// quota is what was left of its caller's rate when it was counted; nil without one.
	quota *fair.Quota
	// hold is how long a refusal is held back, where its caller is refused often.
	hold time.Duration
	// refusal is what was decided before the request had a handler.
	refusal error
	// leave takes the request out of those that are not whole.
	leave   func()
	evicted atomic.Bool
	// patience ends a stream that has a part of its own to do and does not.
	patience *time.Timer
}

// arrive counts a request against its caller before anything else is done for it. A
// token that was seen before tells who that is; a new one must be verified first,
// which is for admit.
func (d *door) arrive(ctx context.Context, conn *fair.Conn, address, authorization string) *visit {
	v := &visit{door: d, conn: conn, address: address, leave: func() {}}
	token, given := rpc.Bearer(authorization)
	if given {
		if id := d.guard.Verifier.Known(token); id != nil {
			v.subject = id.Subject
		}
	}
	if !given || v.subject != "" {
		v.refusal = v.count(ctx)
	}
	return v
}

// identified counts a request whose token has been verified by now, or refused.
func (v *visit) identified(ctx context.Context) error {
	if id := auth.FromContext(ctx); id != nil {
		v.subject = id.Subject
	}
	return v.count(ctx)
}

// count takes one call off its caller's rate, once.
func (v *visit) count(ctx context.Context) error {
	if v.counted {
		return nil
	}
	v.counted = true
	now, rates, caller := time.Now(), v.door.addresses, v.address
	if v.subject != "" {
		v.conn.Prove(v.subject)
		rates, caller = v.door.callers, v.subject
	} else {
		v.conn.Asked()
	}
	wait := rates.Take(caller, now)
	if quota, limited := rates.Quota(caller, now); limited {
		v.quota = &quota
	}
	v.conn.Counted(flow.CallWork)
	if wait == 0 {
		return nil
	}
	v.hold = v.conn.Refused(wait)
	v.door.refused(ctx, rateLimited)
	return limited(wait)
}

// caller is who the visit's calls count against.
func (v *visit) caller() string {
	if v.subject != "" {
		return v.subject
	}
	return "address " + v.address
}

// begin puts the request among those of its caller that are not whole yet. end is
// called if it must give way to newer ones.
func (v *visit) begin(end func()) {
	waiting := v.door.begun
	if v.subject == "" {
		waiting = v.door.strange
	}
	v.leave = waiting.Enter(v.caller(), func() {
		v.evicted.Store(true)
		end()
	})
}

// unread explains why a request did not become whole.
func (v *visit) unread(err error) error {
	if !v.evicted.Load() {
		return err
	}
	v.door.refused(context.Background(), errTooSlow.Reason.String())
	return errTooSlow
}
