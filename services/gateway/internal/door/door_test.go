package door

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
)

// TestPublicError: what gRPC itself says may name what is inside.
func TestPublicError(t *testing.T) {
	t.Parallel()
	const inside = "dial tcp 10.0.0.3:9090: connection refused"
	for _, code := range []codes.Code{codes.Unavailable, codes.Internal, codes.Unknown, codes.DataLoss, codes.ResourceExhausted, codes.Unimplemented, codes.DeadlineExceeded, codes.Canceled} {
		st := status.Convert(rpc.Report(t.Context(), "test", PublicError(status.Error(code, inside))))
		if strings.Contains(st.String(), "10.0.0.3") {
			t.Errorf("%s: told as %v", code, st)
		}
		if code == codes.Unavailable && st.Code() != code {
			t.Errorf("%s became %s", code, st.Code())
		}
	}
	detailed, err := status.New(codes.Unavailable, "the store is away").WithDetails(&errdetails.ErrorInfo{Reason: "STORE_UNAVAILABLE"})
	if err != nil {
		t.Fatal(err)
	}
	if st := status.Convert(rpc.Report(t.Context(), "test", PublicError(detailed.Err()))); len(st.Details()) != 1 || st.Message() != detailed.Message() {
		t.Errorf("a service's own refusal became %v", st)
	}
}

// TestAdmittedConn: the REST side's connection by itself.
func TestAdmittedConn(t *testing.T) {
	t.Parallel()
	other := context.WithValue(t.Context(), callKey{}, &Call{Route: &route.Route{Method: "/other/Method"}})
	for name, ctx := range map[string]context.Context{"no admission": t.Context(), "that of another method": other} {
		if err := (AdmittedConn{}).Invoke(ctx, "/some/Method", nil, nil); !errors.Is(err, ErrNoMethod) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := (AdmittedConn{}).NewStream(ctx, nil, "/some/Method"); !errors.Is(err, ErrNoMethod) {
			t.Errorf("%s, stream: %v", name, err)
		}
	}
}

// accepted is a new connection of a listener, on which something has come.
func accepted(t *testing.T, lis *fair.Listener) *fair.Conn {
	t.Helper()
	var dialer net.Dialer
	client, err := dialer.DialContext(t.Context(), "tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	conn, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	fairly, ok := conn.(*fair.Conn)
	if !ok {
		t.Fatalf("a connection of %T", conn)
	}
	return fairly
}

// Many people come at once from one address, on a connection each, with tokens that
// nobody has seen: while these are verified, none takes another's place.
func TestNewTokensTakeNobodysPlace(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lis := fair.Listen(listener, fair.Limits{Unproven: 2})
	t.Cleanup(func() { lis.Close() })
	callers, addresses := fair.Bounds{}.Callers()
	d := New(Config{
		Guard: rpc.Guard{Verifier: auth.NewVerifier(auth.Config{})}, Refused: func(context.Context, string) {},
		Callers: callers, Addresses: addresses,
	})
	const many = 20
	var conns []*fair.Conn
	var visits []*Visit
	for range many {
		conn := accepted(t, lis)
		conns = append(conns, conn)
		visits = append(visits, d.Arrive(t.Context(), conn, "127.0.0.1", []string{"Bearer new"}))
	}
	if open := lis.Open(); open != many {
		t.Errorf("%d of %d are open while their tokens are verified", open, many)
	}
	for i, v := range visits {
		if err := v.identify(auth.NewContext(t.Context(), &auth.Identity{Subject: fmt.Sprint("person ", i)})); err != nil {
			t.Error(err)
		}
	}
	if open := lis.Open(); open != many || !conns[0].Proven() {
		t.Errorf("%d of %d are open when it is known whose they are", open, many)
	}
	// Those whose tokens are refused are strangers, of whom there may be so many.
	for _, conn := range conns {
		conn.Close()
	}
	for range many {
		conn := accepted(t, lis)
		_ = d.Arrive(t.Context(), conn, "127.0.0.1", []string{"Bearer forged"}).identify(t.Context())
	}
	if open := lis.Open(); open >= many {
		t.Errorf("%d strangers are open", open)
	}
}

// What a call takes along is bounded, and of what cannot be metadata nothing passes.
func TestTakenAlong(t *testing.T) {
	t.Parallel()
	const method = "/some/Method"
	callers, addresses := fair.Bounds{}.Callers()
	d := New(Config{
		Guard:  rpc.Guard{Policy: rpc.Policy{method: {Access: accesspb.Access_ACCESS_PUBLIC}}, Verifier: auth.NewVerifier(auth.Config{})},
		Routes: map[string]*route.Route{method: {Method: method}}, Callers: callers, Addresses: addresses,
		Refused: func(context.Context, string) {},
	})
	headers := map[string][]string{
		"accept-language": {strings.Repeat("x", 257)}, "if-match": {`"a"`, `"b"`}, "if-none-match": {"é"}, "cookie": {"a"},
	}
	ctx, c, err := d.Admit(t.Context(), d.Arrive(t.Context(), nil, "192.0.2.1", nil), method, func(name string) []string { return headers[name] })
	if err != nil || CallOf(ctx) != c {
		t.Fatal(err)
	}
	want := metadata.MD{"accept-language": {strings.Repeat("x", 256)}, "if-match": {`"a", "b"`}}
	if diff := cmp.Diff(want, c.outgoing); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A caller cannot choose how long a refusal is. It names the key that the service will
// not see.
func TestRefuseUnreadable(t *testing.T) {
	t.Parallel()
	c := &Call{Route: &route.Route{}}
	if err := c.RefuseUnreadable(nil); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
	c.Idempotency = accesspb.Idempotency_IDEMPOTENCY_KEYED
	if faults := rpc.FaultsOf(c.RefuseUnreadable(nil)); len(faults) != 1 {
		t.Errorf("a key that is missing: %v", faults)
	}
	c.Unreadable = slices.Repeat([]rpc.Violation{{Field: "a"}}, MaxFaults+1)
	if faults := rpc.FaultsOf(c.RefuseUnreadable(nil)); len(faults) != MaxFaults {
		t.Errorf("%d faults", len(faults))
	}
}
