package web

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/bound"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// One person's requests, and those of an address, count against them alone.
func TestRequestsCountAgainstTheirCaller(t *testing.T) {
	t.Parallel()
	s, pages := newTestSite(t, Config{Bounds: fair.Bounds{RatePerCaller: 0.01, BurstPerCaller: 1, RatePerAddress: 0.01, BurstPerAddress: 1}})
	ask := func(id string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/aide", nil)
		if id != "" {
			r = signedIn(t, s, r, session.Session{ID: id, Realm: session.Member, Audience: 1})
		}
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, r)
		return w
	}
	for _, id := range []string{"jeanne", "", "paul"} {
		if w := ask(id); w.Code != http.StatusOK {
			t.Errorf("%q, first: %d", id, w.Code)
		}
		if w := ask(id); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "Trop de demandes") {
			t.Errorf("%q, second: %d %s", id, w.Code, w.Body)
		}
	}
	// A cookie that was not sealed here is nobody's.
	forged := httptest.NewRequest(http.MethodGet, "/aide", nil)
	forged.AddCookie(&http.Cookie{Name: session.Cookie, Value: strings.Repeat("A", 300)})
	w := httptest.NewRecorder()
	if pages.ServeHTTP(w, forged); w.Code != http.StatusTooManyRequests {
		t.Errorf("with a forged cookie: %d", w.Code)
	}
}

// hints is a gateway that lets everybody watch.
type hints struct {
	messagingpb.UnimplementedMessagingServiceServer
}

func (hints) WatchConversations(_ *messagingpb.WatchConversationsRequest, stream grpc.ServerStreamingServer[messagingpb.WatchConversationsResponse]) error {
	if err := stream.Send(&messagingpb.WatchConversationsResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// serveHints starts such a gateway and returns a connection to it.
func serveHints(t *testing.T) *grpc.ClientConn {
	t.Helper()
	var listener net.ListenConfig
	lis, err := listener.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	messagingpb.RegisterMessagingServiceServer(server, hints{})
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	t.Cleanup(func() { server.Stop(); <-done })
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// One person has a number of streams; theirs are free again when they end, and are in
// the way of nobody's pages.
func TestStreamsOfCallers(t *testing.T) {
	t.Parallel()
	s, pages := siteBefore(t, Config{Bounds: fair.Bounds{StreamsPerCaller: 1, MaxStreams: 2}}, nowhere(t), serveHints(t))
	server := httptest.NewServer(pages)
	t.Cleanup(server.Close)
	watch := func(id string) (code int, end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/evenements", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(signedIn(t, s, req, session.Session{ID: id, Realm: session.Member, Audience: 1}))
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusOK {
			if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "event: conversation\n" {
				t.Errorf("%s's stream begins with %q, %v", id, line, err)
			}
		}
		return resp.StatusCode, func() { cancel(); resp.Body.Close() }
	}
	code, end := watch("jeanne")
	if code != http.StatusOK {
		t.Fatalf("a first stream: %d", code)
	}
	if code, _ := watch("jeanne"); code != http.StatusServiceUnavailable {
		t.Errorf("a second stream: %d", code)
	}
	_, endOther := watch("paul")
	if code, _ := watch("marc"); code != http.StatusServiceUnavailable {
		t.Errorf("a third person's stream where there are two places: %d", code)
	}
	end()
	for t.Context().Err() == nil {
		if code, end := watch("jeanne"); code == http.StatusOK {
			end()
			break
		}
	}
	endOther()
	// A refused stream does not count against its person.
	for t.Context().Err() == nil {
		if code, end := watch("marc"); code == http.StatusOK {
			end()
			break
		}
	}
}

// Requests that come slowly, or not at all, keep nobody out.
func TestSilentBrowsers(t *testing.T) {
	t.Parallel()
	s, pages := newTestSite(t, Config{})
	var listener net.ListenConfig
	lis, err := listener.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.ConnectionsPerAddress = 3
	server := &http.Server{Handler: pages, ConnContext: bound.WithConn, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(s.cfg.Listen(lis, nil)) }()
	t.Cleanup(func() { server.Close(); <-done })
	silent := func() net.Conn {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", lis.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	first := silent()
	for range 100 {
		silent()
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+lis.Addr().String()+"/aide", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a page: %d", resp.StatusCode)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, io.ErrNoProgress) {
		t.Error("the oldest silent connection is open")
	}
}

// Who is refused again and again gets those answers late, on connections that stay.
func TestRefusalsAreHeldBack(t *testing.T) {
	t.Parallel()
	s, pages := newTestSite(t, Config{Bounds: fair.Bounds{RatePerAddress: 0.01, BurstPerAddress: 1}})
	var listener net.ListenConfig
	lis, err := listener.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: pages, ConnContext: bound.WithConn, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(s.cfg.Listen(lis, nil)) }()
	t.Cleanup(func() { server.Close(); <-done })
	begun := time.Now()
	var group errgroup.Group
	for range 9 {
		group.Go(func() error {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+lis.Addr().String()+"/aide", nil)
			if err != nil {
				return err
			}
			resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.Close {
				t.Error("the connection of a refused request is closed")
			}
			// An answer that is not read to its end takes its connection with it, and
			// with the last one goes what is known of the address.
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	// The eighth in a row waits for a second.
	if late := time.Since(begun); late < time.Second {
		t.Errorf("the last of nine is answered after %s", late)
	}
}
