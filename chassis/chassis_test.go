package chassis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func TestListen_TakenPort(t *testing.T) {
	t.Parallel()
	lis, err := Listen(t.Context(), "127.0.0.1:0", "X_ADDR")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	_, err = Listen(t.Context(), lis.Addr().String(), "X_ADDR")
	if err == nil || !strings.Contains(err.Error(), lis.Addr().String()) || !strings.Contains(err.Error(), "X_ADDR") {
		t.Errorf("got %v, want the port and the setting", err)
	}
}

func TestAdmin_Ready(t *testing.T) {
	t.Parallel()
	admin := &Admin{}
	var fault error
	admin.Check("database", func(context.Context) error { return fault })
	ask := func(path string) (int, string) {
		rec := httptest.NewRecorder()
		admin.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return rec.Code, rec.Body.String()
	}
	if code, _ := ask("/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d", code)
	}
	fault = errors.New("connection refused")
	if code, body := ask("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "database: connection refused") {
		t.Errorf("fault: %d %s", code, body)
	}
	if code, _ := ask("/livez"); code != http.StatusOK {
		t.Errorf("alive: %d", code)
	}
	fault = nil
	admin.Drain()
	if code, body := ask("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "draining") {
		t.Errorf("draining: %d %s", code, body)
	}
}

// What a process goes on without is told, and is no fault.
func TestAdmin_Mention(t *testing.T) {
	t.Parallel()
	admin := &Admin{}
	var fault, lack error
	admin.Check("database", func(context.Context) error { return fault })
	admin.Mention("vault", func(context.Context) error { return lack })
	for _, row := range []struct {
		fault, lack error
		status      int
		body        string
	}{
		{nil, nil, http.StatusOK, "ok\n"},
		{nil, errors.New("away"), http.StatusOK, "ok\nwithout vault: away\n"},
		{errors.New("down"), errors.New("away"), http.StatusServiceUnavailable, "database: down\nwithout vault: away\n"},
	} {
		fault, lack = row.fault, row.lack
		answer := httptest.NewRecorder()
		admin.ServeReady(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
		if answer.Code != row.status || answer.Body.String() != row.body {
			t.Errorf("%v, %v: %d %q", row.fault, row.lack, answer.Code, answer.Body)
		}
		if err := admin.Ready(t.Context()); (err != nil) != (row.fault != nil) {
			t.Errorf("%v, %v: %v", row.fault, row.lack, err)
		}
	}
}

func TestAdmin_SlowCheckIsAFault(t *testing.T) {
	t.Parallel()
	admin := &Admin{}
	admin.Check("bus", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	if err := admin.Ready(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A probe that hangs is cut in the drain; a process does not end with a fault for it.
func TestAdmin_CutsAProbeThatHangs(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	admin := &Admin{}
	admin.Check("disk", func(context.Context) error { close(asked); <-release; return nil })
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- admin.serve(ctx, lis) }()
	probed := make(chan error, 1)
	go func() {
		resp, err := (&http.Client{}).Get("http://" + lis.Addr().String() + "/readyz")
		if err == nil {
			resp.Body.Close()
		}
		probed <- err
	}()
	<-asked
	cancel()
	if err := <-served; err != nil {
		t.Errorf("ended with %v", err)
	}
	if err := <-probed; err == nil {
		t.Error("the probe was answered")
	}
}

func TestAdmin_LingerOutlivesItsContext(t *testing.T) {
	t.Parallel()
	admin := &Admin{}
	ctx, cancel := context.WithCancel(t.Context())
	err := admin.Linger(ctx, 20*time.Millisecond, func(late context.Context) error {
		cancel()
		start := time.Now()
		<-late.Done()
		if waited := time.Since(start); waited < 20*time.Millisecond {
			t.Errorf("ended after %s", waited)
		}
		return admin.Ready(t.Context())
	})
	if err == nil || err.Error() != "draining" {
		t.Errorf("got %v, want draining", err)
	}
}

func TestServeHTTP_FinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		// The server is being shut down when this answers.
		for {
			if conn, err := net.DialTimeout("tcp", lis.Addr().String(), time.Second); err != nil {
				break
			} else {
				conn.Close()
			}
		}
		io.WriteString(w, "done")
	})}
	served := make(chan error, 1)
	go func() { served <- ServeHTTP(ctx, server, lis, 10*time.Second) }()
	resp, err := (&http.Client{}).Get("http://" + lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "done" {
		t.Errorf("got %q", body)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestTraceHandler(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := slog.New(traceHandler{slog.NewJSONHandler(&out, nil)}).With("service", "x").WithGroup("g")
	ctx, span := sdktrace.NewTracerProvider().Tracer("t").Start(t.Context(), "s")
	logger.InfoContext(ctx, "hello")
	if !strings.Contains(out.String(), span.SpanContext().TraceID().String()) {
		t.Errorf("no trace id in %s", out.String())
	}
}

func TestUnlessStopped(t *testing.T) {
	t.Parallel()
	going, stopped := context.Background(), canceled(t)
	interrupted := fmt.Errorf("reading the schema: %w", context.Canceled)
	fault := errors.New("port taken")
	for _, row := range []struct {
		name string
		ctx  context.Context
		err  error
		want error
	}{
		{"asked to stop", stopped, interrupted, nil},
		{"a fault while stopping", stopped, fault, fault},
		{"cancelled by nobody's wish", going, interrupted, interrupted},
		{"ended well", stopped, nil, nil},
	} {
		if got := UnlessStopped(row.ctx, row.err); got != row.want { //nolint:errorlint // the very same
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
}

func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
