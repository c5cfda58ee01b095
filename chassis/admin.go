package chassis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// checkTimeout bounds one readiness check, below the usual second of a probe.
const checkTimeout = 800 * time.Millisecond

// Admin is the plain-text port of a process for probes and metrics:
//
//	/livez    200 as long as the process answers
//	/readyz   200 when every check passes, with what the process does without for now;
//	          else 503 with the checks that fail
//	/metrics  Prometheus
//
// It must not be reachable from outside the cluster.
type Admin struct {
	draining atomic.Bool

	mu     sync.Mutex
	checks []check
}

type check struct {
	name string
	run  func(context.Context) error
	// spared: the process goes on without it.
	spared bool
}

// Check adds a condition of readiness. It is run at each probe, for at most 800
// milliseconds, and must have no effect.
func (a *Admin) Check(name string, run func(context.Context) error) {
	a.add(check{name: name, run: run})
}

// Mention adds what /readyz tells when it fails, although the process is ready without it.
func (a *Admin) Mention(name string, run func(context.Context) error) {
	a.add(check{name: name, run: run, spared: true})
}

func (a *Admin) add(c check) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks = append(a.checks, c)
}

// Drain makes /readyz answer 503 from now on, so that load balancers turn away
// before the process stops listening.
func (a *Admin) Drain() { a.draining.Store(true) }

// Linger runs serve with a context that outlives ctx by delay. In between,
// /readyz already answers that the process is draining.
func (a *Admin) Linger(ctx context.Context, delay time.Duration, serve func(context.Context) error) error {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		a.Drain()
		time.AfterFunc(delay, cancel)
	})
	defer stop()
	return serve(late)
}

// Ready runs the checks at once and returns the faults of those that fail.
func (a *Admin) Ready(ctx context.Context) error {
	fault, _ := a.ready(ctx)
	return fault
}

// ready returns the faults, and what the process does without.
func (a *Admin) ready(ctx context.Context) (fault, without error) {
	if a.draining.Load() {
		return errors.New("draining"), nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	a.mu.Lock()
	checks := a.checks
	a.mu.Unlock()
	faults, lacks := make([]error, len(checks)), make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			err := c.run(ctx)
			switch {
			case err == nil:
			case c.spared:
				lacks[i] = fmt.Errorf("without %s: %w", c.name, err)
			default:
				faults[i] = fmt.Errorf("%s: %w", c.name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(faults...), errors.Join(lacks...)
}

// Handler serves the three paths.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.ServeReady)
	mux.Handle("GET /metrics", promhttp.Handler())
	return mux
}

// ServeReady answers /readyz.
func (a *Admin) ServeReady(w http.ResponseWriter, r *http.Request) {
	fault, without := a.ready(r.Context())
	if fault != nil {
		http.Error(w, errors.Join(fault, without).Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
	if without != nil {
		fmt.Fprintln(w, without)
	}
}

// Serve answers on addr until ctx is done. With an empty addr it only waits. A scrape that
// is still under way a second later is cut, which loses nobody's work: it is no error.
func (a *Admin) Serve(ctx context.Context, addr string) error {
	if addr == "" {
		<-ctx.Done()
		return nil
	}
	lis, err := Listen(ctx, addr, "ADMIN_ADDR")
	if err != nil {
		return err
	}
	return a.serve(ctx, lis)
}

func (a *Admin) serve(ctx context.Context, lis net.Listener) error {
	err := ServeHTTP(ctx, &http.Server{Handler: a.Handler(), ReadHeaderTimeout: 5 * time.Second}, lis, time.Second)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// ServeHTTP serves until ctx is done and then lets requests under way end, for
// at most the time given.
func ServeHTTP(ctx context.Context, server *http.Server, lis net.Listener, drain time.Duration) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		stopped <- errors.Join(server.Shutdown(ctx), server.Close())
	})
	defer stop()
	if err := server.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", lis.Addr(), err)
	}
	err := <-stopped
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("draining %s: requests still ran after %s: %w", lis.Addr(), drain, err)
	}
	return err
}
