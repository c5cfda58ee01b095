package chassis

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestDispatch(t *testing.T) {
	t.Parallel()
	fault := errors.New("out of luck")
	all := append(commands("x"), Command{"try", "tries", func(_ context.Context, args []string, out io.Writer) error {
		io.WriteString(out, strings.Join(args, "+"))
		return fault
	}})
	for _, row := range []struct {
		name, args string
		done       bool
		out, err   string
		misuse     bool
		isTheFault bool
	}{
		{name: "nothing: serve"},
		{name: "a command with arguments", args: "try a b", done: true, out: "a+b", err: "out of luck", isTheFault: true},
		{name: "version", args: "version", done: true, out: "x "},
		{name: "help", args: "--help", done: true, out: "without a command: serve, configured by X_*"},
		{name: "unknown", args: "serve", done: true, err: `unknown command "serve"`, misuse: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			done, err := dispatch(t.Context(), "x", strings.Fields(row.args), all, &out)
			if done != row.done || !strings.Contains(out.String(), row.out) {
				t.Errorf("done %v, printed %q", done, out.String())
			}
			if row.err == "" && err != nil || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
				t.Errorf("error %v, want %q", err, row.err)
			}
			if errors.As(err, &Misuse{}) != row.misuse || errors.Is(err, fault) != row.isTheFault {
				t.Errorf("error %v is a misuse: %v", err, !row.misuse)
			}
		})
	}
}

func TestCheckHealth(t *testing.T) {
	t.Parallel()
	admin := &Admin{}
	server := httptest.NewServer(admin.Handler())
	defer server.Close()
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkHealth(t.Context(), at.Host); err != nil {
		t.Errorf("ready: %v", err)
	}
	// What a process listens on is no address to ask: it is turned into one.
	if err := checkHealth(t.Context(), ":"+at.Port()); err != nil {
		t.Errorf("ready on every address: %v", err)
	}
	if err := checkHealth(t.Context(), "0.0.0.0:"+at.Port()); err != nil {
		t.Errorf("ready on every IPv4 address: %v", err)
	}
	admin.Check("database", func(context.Context) error { return errors.New("connection refused") })
	if err := checkHealth(t.Context(), at.Host); err == nil || !strings.Contains(err.Error(), "database: connection refused") {
		t.Errorf("not ready: %v", err)
	}
	// Nor is another program that has the port by now.
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	if err := checkHealth(t.Context(), strings.TrimPrefix(other.URL, "http://")); err == nil || errors.As(err, &Misuse{}) {
		t.Errorf("another program: %v", err)
	}
	server.Close()
	if err := checkHealth(t.Context(), at.Host); err == nil || errors.As(err, &Misuse{}) {
		t.Errorf("nobody there: %v", err)
	}
	if err := checkHealth(t.Context(), ""); !errors.As(err, &Misuse{}) {
		t.Errorf("no admin port: %v", err)
	}
}

func TestShowVersion(t *testing.T) {
	flush, err := StartTelemetry(t.Context(), "x", nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := flush(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	rec := httptest.NewRecorder()
	(&Admin{}).Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if page := rec.Body.String(); !strings.Contains(page, "messagerie_build_info{") || !strings.Contains(page, `version="`+Version()+`"`) {
		t.Error("no version on the metrics page")
	}
}
