// Package attack is one caller who is idle, slow, greedy or hostile: a table of
// attacks, each run by a process of its own.
//
// Each attack goes on until its time is over, against the loopback address alone, and
// is bounded in connections, streams and bytes. What the server refuses or cuts is
// opened again, as an attacker would. It is told in a Report what was achieved: calls,
// what came back by status and reason, and how much was open at once.
//
// The process that runs it is niced by whoever starts it, and its processor time is
// measured from outside; Burn uses as much on nothing, at the same times, as a control.
//
// It breaks where the attacker's own machine is the limit: it shares processors, ports
// and loopback with what it attacks. A figure of a report is a floor of what a real
// attacker reaches.
package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Target is what an attacker is told.
type Target struct {
	// GRPC, HTTP and Web are the gateway's two ports and the front end, by address.
	GRPC, HTTP, Web string
	// Bind is the address that connections come from; empty: any.
	Bind string
	// Issuer is whose tokens are forged.
	Issuer string
	// Tokens are of personas, by name; Cookies are their sessions on the pages.
	Tokens, Cookies map[string]string
	// Seconds is how long it goes on.
	Seconds float64
	// Spending is the processor time that Burn uses meanwhile.
	Spending Spending
}

// Report is what an attacker achieved.
type Report struct {
	// Calls counts requests, streams or connections that were begun.
	Calls int64
	// Answers counts what came back, by status and reason.
	Answers map[string]int64
	// Open is the most connections or streams that were open at once.
	Open int64
}

// Attack is an entry of the table.
type Attack struct {
	Name string
	// About is a line for the reader of a table.
	About string
	// Silence: meanwhile the issuers do not answer for their keys, and everybody
	// else comes with new tokens.
	Silence bool
	run     func(*assault, context.Context)
}

// All is the table.
var All = slices.Concat(silent, slow, unread, refused, uncounted, valid, heavy)

// Named returns an attack of the table, or one that is made only when it is named.
func Named(name string) (Attack, bool) {
	for _, a := range slices.Concat(All, beyond) {
		if a.Name == name {
			return a, true
		}
	}
	return Attack{}, false
}

// Burn is the name of the control.
const Burn = "burn"

// Child runs an attack as a process: it reads the Target as JSON and writes the Report.
func Child(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	var target Target
	if err := json.NewDecoder(in).Decode(&target); err != nil {
		return fmt.Errorf("reading the target: %w", err)
	}
	if err := target.loopback(); err != nil {
		return err
	}
	a, ok := Named(name)
	if !ok && name != Burn {
		return fmt.Errorf("no attack is named %s", name)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(target.Seconds*float64(time.Second)))
	defer cancel()
	run := &assault{Target: target, answers: make(map[string]int64)}
	if name == Burn {
		burn(ctx, 0, target.Spending)
	} else {
		a.run(run, ctx)
	}
	return json.NewEncoder(out).Encode(run.report())
}

// loopback refuses every target that is not this machine.
func (t Target) loopback() error {
	for _, addr := range []string{t.GRPC, t.HTTP, t.Web} {
		at, err := netip.ParseAddrPort(addr)
		if err != nil || !at.Addr().IsLoopback() {
			return fmt.Errorf("%q is not a port of the loopback address: nothing else is attacked", addr)
		}
	}
	return nil
}

// assault is a running attack.
type assault struct {
	Target
	calls, open, most atomic.Int64

	mu      sync.Mutex
	answers map[string]int64
}

func (a *assault) report() Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Report{Calls: a.calls.Load(), Answers: a.answers, Open: a.most.Load()}
}

// answered counts what came back. Kinds are few: the rest is counted as others.
func (a *assault) answered(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.answers) >= 40 && a.answers[what] == 0 {
		what = "others"
	}
	a.answers[what]++
}

// hold counts something as open until release is called.
func (a *assault) hold() (release func()) {
	now := a.open.Add(1)
	for most := a.most.Load(); now > most && !a.most.CompareAndSwap(most, now); most = a.most.Load() {
	}
	return sync.OnceFunc(func() { a.open.Add(-1) })
}

// dial opens a connection, which ends with ctx.
func (a *assault) dial(ctx context.Context, addr string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if a.Bind != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(a.Bind)}
	}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		if ctx.Err() == nil {
			a.answered("no connection")
		}
		return nil, err
	}
	// A reset leaves no port behind in TIME_WAIT: they are everybody's.
	_ = conn.(*net.TCPConn).SetLinger(0)
	context.AfterFunc(ctx, func() { conn.Close() })
	return conn, nil
}

// crowd runs so many of do beside each other, each again and again until ctx is done.
func crowd(ctx context.Context, n int, do func(ctx context.Context, i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			for ctx.Err() == nil {
				do(ctx, i)
			}
		})
	}
	group.Wait()
}

// together runs attacks at the same time.
func together(parts ...func(*assault, context.Context)) func(*assault, context.Context) {
	return func(a *assault, ctx context.Context) {
		var group sync.WaitGroup
		for _, part := range parts {
			group.Go(func() { part(a, ctx) })
		}
		group.Wait()
	}
}

// pause waits, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// connections keeps so many connections open. speak uses one until the server ends it,
// and a new one follows after a while.
func (a *assault) connections(ctx context.Context, n int, addr string, speak func(ctx context.Context, conn net.Conn) error) {
	crowd(ctx, n, func(ctx context.Context, _ int) {
		conn, err := a.dial(ctx, addr)
		if err != nil {
			pause(ctx, reconnectAfter)
			return
		}
		defer conn.Close()
		defer a.hold()()
		a.calls.Add(1)
		if err := speak(ctx, conn); err != nil && ctx.Err() == nil {
			a.answered(outcome(err))
		}
		pause(ctx, reconnectAfter)
	})
}

// reconnectAfter is how soon an attacker comes again.
const reconnectAfter = 300 * time.Millisecond

// outcome names how a connection ended.
func outcome(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF):
		return "closed"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer"
	}
	return "cut"
}
