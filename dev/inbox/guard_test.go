package inbox

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func post(t *testing.T, in *Inbox, path, body string, header ...string) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:8025"+path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	in.ServeHTTP(rec, r)
	return rec.Code
}

// A page of another site, open in the same browser, must not set a fault.
func TestFaults_NotFromAnotherSite(t *testing.T) {
	t.Parallel()
	in, err := New(Config{StateDir: t.TempDir(), APIKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	const fault = `{"channel":"EMAIL","mode":"refuse"}`
	if code := post(t, in, "/api/faults", fault, "Content-Type", "text/plain", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); code != http.StatusForbidden {
		t.Errorf("from another site: %d", code)
	}
	if code := post(t, in, "/api/faults", fault); code != http.StatusOK {
		t.Errorf("from curl: %d", code)
	}
}

// JSON escapes an angle in six bytes: the line is far longer than the mail.
func TestNew_ReadsItsLongestLines(t *testing.T) {
	t.Parallel()
	cfg := Config{StateDir: t.TempDir(), APIKey: "k"}
	in, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mail := `{"personalizations":[{"to":[{"email":"a@example.org"}]}],"from":{"email":"b@example.org"},"subject":"s","content":[{"type":"text/html","value":"` + strings.Repeat("<", 800_000) + `"}]}`
	if code := post(t, in, "/v3/mail/send", mail, "Authorization", "Bearer k"); code != http.StatusAccepted {
		t.Fatalf("answered %d", code)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if n := len(again.Messages()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestClose_Twice(t *testing.T) {
	t.Parallel()
	in, err := New(Config{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	_ = in.Close() // an error, no panic
}
