package stack_test

import (
	"context"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/ma-messagerie/messagerie/dev/browser"
	"github.com/ma-messagerie/messagerie/dev/stack"
	"github.com/ma-messagerie/messagerie/web"
)

// typed has TestBrowser run matrix.test.mjs and nothing else.
var typed = flag.String("typed", "", "TestBrowser: type into the fields alone: all of the matrix, or its tenth")

// browserTime bounds the tests in the browser.
const browserTime = 40 * time.Minute

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
	key, err := os.ReadFile(filepath.Join(state, "web.key"))
	if err != nil {
		t.Fatal(err)
	}
	what := []string{"."}
	if *typed != "" {
		what = []string{"matrix.test.mjs"}
	}
	tests := exec.CommandContext(ctx, "node", append([]string{"--test", "--test-concurrency=2", "--test-reporter=spec"}, what...)...)
	tests.Dir = dir
	tests.Env = append(os.Environ(), "TYPED="+*typed, "WEB_URL="+s.Places().Web, "INBOX_URL="+s.Places().Inbox, "GATEWAY_URL="+s.Places().Gateway, "OIDC_URL="+s.Places().OIDC, "WEB_KEY="+string(key),
		"WEB_AWAY_URL="+startFront(t, s, string(key), refusing(codes.Unavailable)), "WEB_LIMITED_URL="+startFront(t, s, string(key), refusing(codes.ResourceExhausted)),
		"WEB_LOSSY_URL="+startFront(t, s, string(key), losing(t, s.GRPC)))
	tests.Stdout, tests.Stderr = t.Output(), t.Output() // as it comes: all of it takes a quarter of an hour
	if err := tests.Run(); err != nil {
		t.Fatal(err)
	}
}

// refusing is a gateway that refuses everything with this code.
func refusing(code codes.Code) grpc.StreamHandler {
	return func(any, grpc.ServerStream) error { return status.Error(code, "") }
}

// losing is a gateway that has everything done by the one at addr. What it is asked to read it
// answers; what else was done it says to be away, as if its answer were lost.
func losing(t *testing.T, addr string) grpc.StreamHandler {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		_, verb, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
		if strings.HasPrefix(verb, "Watch") {
			return status.Error(codes.Unavailable, "")
		}
		// Messages without fields of their own: all that they have is passed on as it came.
		request, answer := &emptypb.Empty{}, &emptypb.Empty{}
		if err := stream.RecvMsg(request); err != nil {
			return err
		}
		ctx, header := stream.Context(), metadata.MD{}
		if incoming, ok := metadata.FromIncomingContext(ctx); ok {
			ctx = metadata.NewOutgoingContext(ctx, incoming)
		}
		if err := conn.Invoke(ctx, method, request, answer, grpc.Header(&header)); err != nil {
			return err
		}
		if !slices.ContainsFunc([]string{"Get", "List", "Find", "Search"}, func(reads string) bool { return strings.HasPrefix(verb, reads) }) {
			return status.Error(codes.Unavailable, "")
		}
		if tag := header.Get("etag"); tag != nil {
			_ = stream.SetHeader(metadata.Pairs("etag", tag[0])) // fails only after an answer
		}
		return stream.SendMsg(answer)
	}
}

// startFront starts one more front end, in front of a gateway of its own, and returns its
// address. Who is signed in to the stack's is signed in here: it has the same key, and cookies do
// not tell ports apart.
func startFront(t *testing.T, s *stack.Stack, key string, answers grpc.StreamHandler) string {
	t.Helper()
	answering := grpc.NewServer(grpc.UnknownServiceHandler(answers), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}))
	// Connections are used only while the other side says that it is well.
	healthpb.RegisterHealthServer(answering, health.NewServer())
	t.Cleanup(answering.Stop)
	gateway, pages := listen(t), listen(t)
	go func() { _ = answering.Serve(gateway) }() // ends with Stop
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	address := "http://" + pages.Addr().String()
	go func() {
		ended <- web.Run(ctx, web.Config{
			HTTPListener: pages, PublicURL: address, GatewayAddr: gateway.Addr().String(), SessionKey: key, FundName: "Caisse d’Armorique",
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
