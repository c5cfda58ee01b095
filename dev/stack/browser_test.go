package stack_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/dev/browser"
	"github.com/ma-messagerie/messagerie/dev/stack"
	"github.com/ma-messagerie/messagerie/web"
)

// browserTime bounds the tests in the browser.
const browserTime = 15 * time.Minute

// TestBrowser runs the tests of web/e2e, in a real Chromium, against a system of its
// own: the guide's seven steps with JavaScript and without, accessibility, the
// content security policy, weights. SHOTS=folder keeps pictures of all pages.
func TestBrowser(t *testing.T) {
	t.Parallel()
	const dir = "../../web/e2e"
	browser.Need(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), browserTime)
	defer cancel()
	state := stateDir(t)
	s := start(t, state)
	tests := exec.CommandContext(ctx, "node", "--test", "--test-concurrency=2", "--test-reporter=spec", ".")
	tests.Dir = dir
	tests.Env = append(os.Environ(), "WEB_URL="+s.Places().Web, "INBOX_URL="+s.Places().Inbox,
		"WEB_AWAY_URL="+startFront(t, s, state, codes.Unavailable), "WEB_LIMITED_URL="+startFront(t, s, state, codes.ResourceExhausted))
	out, err := tests.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// startFront starts one more front end, in front of a gateway that refuses everything
// with this code, and returns its address. Who is signed in to the stack's is signed in
// here: it has the same key, and cookies do not tell ports apart.
func startFront(t *testing.T, s *stack.Stack, state string, code codes.Code) string {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(state, "web.key"))
	if err != nil {
		t.Fatal(err)
	}
	refusing := grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return status.Error(code, "") }))
	// Connections are used only while the other side says that it is well.
	healthpb.RegisterHealthServer(refusing, health.NewServer())
	t.Cleanup(refusing.Stop)
	gateway, pages := listen(t), listen(t)
	go func() { _ = refusing.Serve(gateway) }() // ends with Stop
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	address := "http://" + pages.Addr().String()
	go func() {
		ended <- web.Run(ctx, web.Config{
			HTTPListener: pages, PublicURL: address, GatewayAddr: gateway.Addr().String(), SessionKey: string(key), FundName: "Caisse d’Armorique",
			Members: web.Provider{Issuer: s.Places().OIDC + "/usagers", ClientID: "web"}, Agents: web.Provider{Issuer: s.Places().OIDC + "/agents", ClientID: "web"},
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return address
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", free)
	if err != nil {
		t.Fatal(err)
	}
	return lis
}
