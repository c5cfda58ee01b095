package exported

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/dev/journey"
	"github.com/ma-messagerie/messagerie/dev/stack"
)

const root = "../../../.."

// scrape is the page of the whole system after a journey and a look at the front end.
func scrape(t *testing.T) Page {
	t.Helper()
	before := slog.Default()
	flush, err := chassis.StartTelemetry(t.Context(), "test", slog.LevelError, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slog.SetDefault(before); _ = flush(context.Background()) })
	dir, err := os.MkdirTemp("/var/tmp", "messagerie-exported-") //nolint:usetesting // user postgres cannot get through t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const free = "127.0.0.1:0"
	s, err := stack.Start(t.Context(), stack.Config{StateDir: dir, WebAddr: free, HTTPAddr: free, GRPCAddr: free, OIDCAddr: free, InboxAddr: free, NATSAddr: free})
	if err != nil {
		testenv.Unavailable(t, err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := journey.Run(t.Context(), s.Places(), io.Discard); err != nil {
		t.Fatal(err)
	}
	visit(t, s.Places().Web+"/")
	admin := &chassis.Admin{}
	answer := httptest.NewRecorder()
	admin.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	page, err := Read(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func visit(t *testing.T, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

func file(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// asked are all expressions, each by where it stands.
func asked(t *testing.T) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(file(t, "deploy/prometheus/alerts.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			all["alert "+rule.Alert] = append(all["alert "+rule.Alert], rule.Expr)
		}
	}
	boards, err := filepath.Glob(filepath.Join(root, "deploy/grafana/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, board := range boards {
		var d struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(file(t, strings.TrimPrefix(board, root)), &d); err != nil {
			t.Fatal(err)
		}
		for _, panel := range d.Panels {
			for _, target := range panel.Targets {
				where := filepath.Base(board) + ", " + panel.Title
				all[where] = append(all[where], target.Expr)
			}
		}
	}
	return all
}

// Not parallel: instruments and the page are the process's.
func TestEverythingAskedForIsExported(t *testing.T) { //nolint:paralleltest // see above
	page := scrape(t)
	for where, expressions := range asked(t) {
		for _, expr := range expressions {
			for _, fault := range page.Faults(expr) {
				t.Errorf("%s: %s", where, fault)
			}
		}
	}
	// The documentation's table: all of it is exported, and with the labels it says.
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `(messagerie_[a-z_]+)` \\| [^|]*\\|([^|]*)\\|").FindAllStringSubmatch(string(file(t, "docs/operations.md")), -1) {
		documented[row[1]] = true
		if !page.Has(row[1]) {
			t.Errorf("docs/operations.md has %s, which nothing exports", row[1])
			continue
		}
		for _, label := range strings.FieldsFunc(row[2], func(r rune) bool { return r == ',' || r == ' ' }) {
			if !page.labelled(row[1], label) && !page.labelled(row[1]+"_count", label) {
				t.Errorf("docs/operations.md: %s has no label %s", row[1], label)
			}
		}
	}
	for name := range page {
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if strings.HasPrefix(name, "messagerie_") && !documented[base] && !documented[name] {
			t.Errorf("docs/operations.md does not have %s", name)
		}
	}
	if len(documented) < 20 {
		t.Errorf("only %d rows found", len(documented))
	}
}

// Faults that a comparison must notice.
func TestSeededFaults(t *testing.T) {
	t.Parallel()
	page, err := Read(strings.NewReader(`# TYPE messagerie_a_total counter
messagerie_a_total{outcome="stored"} 1
# TYPE messagerie_b_seconds histogram
messagerie_b_seconds_bucket{channel="SMS",le="+Inf"} 1
messagerie_b_seconds_sum{channel="SMS"} 1
messagerie_b_seconds_count{channel="SMS"} 1
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ expr, want string }{
		{`sum by (job, outcome) (rate(messagerie_a_total{outcome="stored"}[1m]))`, ""},
		{`histogram_quantile(0.9, sum by (channel, le) (rate(messagerie_b_seconds_bucket[$__rate_interval])))`, ""},
		{`up{job="web"} == 0 or kube_pod_info`, ""},
		{`messagerie_b_seconds_count{channel="MAIL"}`, ""},
		{`rate(messagerie_a[1m])`, "nothing exports messagerie_a"},
		{`rate(messagerie_b_bucket[1m])`, "nothing exports messagerie_b_bucket"},
		{`messagerie_a_total{result="stored"}`, "has no label result"},
		{`messagerie_a_total{outcome=~"failed|lost"}`, "finds nothing"},
		{`sum by (channel) (messagerie_a_total)`, "has label channel"},
		{`sum by (le) (messagerie_b_seconds_count)`, "has label le"},
		{`sum(messagerie_a_total`, "unclosed"},
	} {
		got := strings.Join(page.Faults(row.expr), "; ")
		if row.want == "" && got != "" || !strings.Contains(got, row.want) {
			t.Errorf("%s: %q, want %q", row.expr, got, row.want)
		}
	}
}
