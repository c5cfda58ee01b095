package attack

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
)

func TestTable(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, a := range All {
		if a.Name == "" || a.About == "" || a.run == nil || seen[a.Name] || a.Name == Burn {
			t.Errorf("%q: %q", a.Name, a.About)
		}
		seen[a.Name] = true
	}
	if len(All) < 16 {
		t.Errorf("%d attacks, at least 16 were wanted", len(All))
	}
}

// Whatever it is told, an attacker calls this machine alone.
func TestOnlyLoopbackIsAttacked(t *testing.T) {
	t.Parallel()
	const own = "127.0.0.1:1"
	for _, row := range []Target{
		{GRPC: "192.0.2.1:80", HTTP: own, Web: own},
		{GRPC: own, HTTP: "messagerie.example.org:80", Web: own},
		{GRPC: own, HTTP: own, Web: "[2001:db8::1]:80"},
		{GRPC: own, HTTP: own},
	} {
		told, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := Child(t.Context(), "churn", strings.NewReader(string(told)), &out); err == nil || out.Len() > 0 {
			t.Errorf("%+v was attacked: %s", row, out.String())
		}
	}
}

// holder is a gRPC server that answers nobody, with so many streams a connection.
func holder(t *testing.T, most uint32) (addr string) {
	t.Helper()
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		<-stream.Context().Done()
		return nil
	}), grpc.MaxConcurrentStreams(most))
	go func() { _ = server.Serve(lis) }() // ends with Stop
	t.Cleanup(server.Stop)
	return lis.Addr().String()
}

func launched(t *testing.T, name string, most uint32) Report {
	t.Helper()
	a, ok := Named(name)
	if !ok {
		t.Fatalf("no attack is named %s", name)
	}
	addr := holder(t, most)
	run := &assault{Target: Target{GRPC: addr, HTTP: addr, Web: addr, Tokens: map[string]string{}}, answers: make(map[string]int64)}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	a.run(run, ctx)
	return run.report()
}

// An attack reaches what its line in the table says, of a server that lets it.
func TestStreamsAreHeld(t *testing.T) {
	t.Parallel()
	if got := launched(t, "silent-streams", 1000); got.Open != 600 || got.Calls != 600 {
		t.Errorf("%+v, want 600 streams", got)
	}
}

// What the server refuses is counted, and tried again.
func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	got := launched(t, "silent-streams", 10)
	if got.Answers["reset REFUSED_STREAM"] < 590 || got.Calls < 1000 {
		t.Errorf("%+v, want refusals and new tries", got)
	}
}

// The control spends what it is told to, and not much more.
func TestBurn(t *testing.T) {
	t.Parallel()
	// Others' tests spend time of this process too, so that less is burnt; it ends all
	// the same.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	before := spent()
	burn(ctx, before, Spending{50 * time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond})
	if got := spent() - before; got < 20*time.Millisecond {
		t.Errorf("%s were used of 150 ms", got)
	}
}

func TestSpending(t *testing.T) {
	t.Parallel()
	s := Spending{50 * time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond}
	for after, want := range map[time.Duration]time.Duration{
		0: 0, 50 * time.Millisecond: 25 * time.Millisecond, 150 * time.Millisecond: 50 * time.Millisecond,
		250 * time.Millisecond: 100 * time.Millisecond, time.Hour: 150 * time.Millisecond,
	} {
		if got := s.after(after); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
	if got := (Spending{}).Total(); got != 0 {
		t.Errorf("nothing is %s", got)
	}
	// What the kernel says of this process is what it says of itself.
	for used := spent(); spent() < used+30*time.Millisecond; {
	}
	const ticks = 20 * time.Millisecond // of both counters
	before := spent()
	got, err := processorTime(os.Getpid())
	if after := spent(); err != nil || got < before-ticks || got > after+ticks {
		t.Errorf("the kernel says %s, %v, want %s to %s", got, err, before, after)
	}
}
