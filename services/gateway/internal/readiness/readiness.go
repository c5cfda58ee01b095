// Package readiness decides whether the gateway should be sent calls.
//
// # What is promised
//
// Before a gateway first reports that it is ready, every service has answered it over the
// connection that calls will use, and so has every issuer, so that the first call does not
// fail. After that it is unready only while it could serve nothing at all: if all gateways
// were taken out because one service is missing, that would become an outage of everything.
//
// # When it breaks
//
// A service that is missing for longer than the grace period at the gateway's start is not
// waited for, or its outage would keep new gateways from starting. A service may go away
// right after an answer, which is cached for a second.
package readiness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

const (
	// readyKept is how long an answer is cached, so that frequent probes do not reach the
	// services.
	readyKept = time.Second
	// readyTimeout bounds one round of checks, below the second of a probe.
	readyTimeout = 700 * time.Millisecond
)

// Readiness asks the services and issuers, and remembers what they answered.
type Readiness struct {
	services map[string]func(context.Context) error
	issuers  func(context.Context) error
	// began is when the grace period began.
	began time.Time
	grace time.Duration

	asking singleflight.Group
	mu     sync.Mutex
	// wasReady: it has been ready before.
	wasReady bool
	at       time.Time
	last     error
}

// New returns a readiness that asks backends for their health, and issuers whether their keys
// are available. For the grace period it waits for all of them.
func New(backends map[string]*grpc.ClientConn, issuers func(context.Context) error, grace time.Duration) *Readiness {
	r := &Readiness{services: make(map[string]func(context.Context) error), issuers: issuers, began: time.Now(), grace: grace}
	for name, conn := range backends {
		r.services[name] = serving(conn)
	}
	return r
}

// Check returns what keeps the gateway from being ready. All who ask at once, or within a
// second, get one answer.
func (r *Readiness) Check(ctx context.Context) error {
	if fresh, err := r.latest(); fresh {
		return err
	}
	asked := r.asking.DoChan("", func() (any, error) {
		// Not the caller's: others wait for the answer too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
		defer cancel()
		err := r.ask(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.at, r.last = time.Now(), err
		return nil, err
	})
	select {
	case result := <-asked:
		return result.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Readiness) latest() (fresh bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.at.IsZero() && time.Since(r.at) < readyKept, r.last
}

// ask asks every service and issuer at once.
func (r *Readiness) ask(ctx context.Context) error {
	checks := maps.Clone(r.services)
	checks["issuers"] = r.issuers
	var mu sync.Mutex
	faults := make(map[string]error)
	var group sync.WaitGroup
	for name, check := range checks {
		group.Go(func() {
			if err := check(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				faults[name] = fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	group.Wait()
	return r.judge(faults)
}

// judge applies the rule.
func (r *Readiness) judge(faults map[string]error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, issuersAway := faults["issuers"]
	answering := 0
	for name := range r.services {
		if faults[name] == nil {
			answering++
		}
	}
	inGrace := !r.wasReady && time.Since(r.began) < r.grace
	if len(faults) == 0 || !inGrace && answering > 0 && (r.wasReady || !issuersAway) {
		r.wasReady = true
		return nil
	}
	return errors.Join(slices.Collect(maps.Values(faults))...)
}

// serving asks a service whether it serves.
func serving(conn *grpc.ClientConn) func(context.Context) error {
	client := healthpb.NewHealthClient(conn)
	return func(ctx context.Context) error {
		resp, err := client.Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			return fmt.Errorf("asking for its health: %w", err)
		}
		if resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			return fmt.Errorf("is %s", resp.GetStatus())
		}
		return nil
	}
}
