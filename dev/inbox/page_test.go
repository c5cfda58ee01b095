package inbox

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

var links = regexp.MustCompile(`<a href="/messages/([^"/]+)"( aria-current="page")?>`)

// shown reads a page: the messages listed, and the one that is marked as chosen.
func shown(page string) (list []string, chosen string) {
	for _, link := range links.FindAllStringSubmatch(page, -1) {
		list = append(list, link[1])
		if link[2] != "" {
			chosen += link[1]
		}
	}
	return list, chosen
}

// mustHold checks what a page says, and what it must not.
func mustHold(t *testing.T, page string, wants, nevers []string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing in %s", want, page)
		}
	}
	for _, never := range nevers {
		if strings.Contains(page, never) {
			t.Errorf("%q is in %s", never, page)
		}
	}
}

func TestPageShowsTheNewestOrTheOneAskedFor(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	at := time.Date(2026, 11, 23, 23, 30, 0, 0, time.UTC)
	headers := map[string]string{"X-Two": "deux", "X-One": "un"}
	d.put(Message{ID: "a", Channel: Email, To: "jeanne@example.org", Subject: "Premier", Text: "texte a", HTML: "<p>a</p>", ReceivedAt: at, Headers: headers},
		Message{ID: "b", Channel: SMS, To: "+33639980001", From: "MSA", Text: strings.Repeat("x", 161), ReceivedAt: at},
		Message{ID: "c", Channel: Email, To: "paul@example.org", Subject: "Dernier", HTML: "<p>c</p>", ReceivedAt: at})
	for path, row := range map[string]struct {
		chosen        string
		wants, nevers []string
	}{
		"/": {"c", []string{"<h2>Dernier</h2>", `src="/messages/c/html" sandbox>`, `data-count="3" data-chosen="c"`}, []string{"Partie texte", "En-têtes"}},
		"/messages/a": {"a", []string{
			"<h2>Premier</h2>", `src="/messages/a/html" sandbox>`, "<pre>texte a</pre>", "<title>Premier – ",
			"<dt>X-One</dt><dd>un</dd><dt>X-Two</dt><dd>deux</dd>", // in an order
			"24/11 00:30:00", // in Paris
		}, nil},
		"/messages/b": {"b", []string{"<h2>SMS à &#43;33639980001</h2>", "161 caractères, 2 parties", "de MSA"}, []string{"<iframe"}},
	} {
		got := d.get(path)
		list, chosen := shown(got.body)
		if got.status != http.StatusOK || strings.Join(list, "") != "cba" || chosen != row.chosen {
			t.Errorf("%s: %d, list %v, chosen %q", path, got.status, list, chosen)
		}
		mustHold(t, got.body, row.wants, row.nevers)
	}
	for _, path := range []string{"/messages/d", "/messages/", "/messages/d/html", "/messages/b/html", "/other"} {
		if got := d.get(path); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}

func TestEmptyPageSaysWhatToDo(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	got := d.get("/")
	mustHold(t, got.body, []string{"Aucun message", "Envoyez un message", `data-count="0"`}, []string{"<ul>", "<iframe", "data-chosen"})
}

// A mail that has no HTML is shown as text, not as an empty frame.
func TestMailOfTextAlone(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	d.put(Message{ID: "a", Channel: Email, Subject: "s", Text: "rien que du texte"})
	mustHold(t, d.get("/").body, []string{"<details open>", "<pre>rien que du texte</pre>"}, []string{"<iframe"})
}

// Whatever a message says is text on the page, in every place where it stands.
func TestPageEscapes(t *testing.T) {
	t.Parallel()
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(2)>`
	d, _ := open(t, t.TempDir())
	d.put(Message{ID: "a", Channel: Email, To: evil, From: evil, Subject: evil, Text: evil, HTML: evil, Headers: map[string]string{evil: evil}},
		Message{ID: "b", Channel: SMS, To: evil, From: evil, Text: evil})
	for _, path := range []string{"/messages/a", "/messages/b"} {
		mustHold(t, d.get(path).body, []string{"&lt;script&gt;alert(1)"}, []string{"<script>alert", "<img", `"'>`})
	}
}

// directives reads a Content-Security-Policy.
func directives(policy string) map[string]string {
	all := make(map[string]string)
	for directive := range strings.SplitSeq(policy, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), " ")
		all[name] = value
	}
	return all
}

// The page runs its own script and no other; a mail runs none, loads nothing,
// sends nothing and is nobody's origin, in the frame and on a page of its own.
func TestPolicies(t *testing.T) {
	t.Parallel()
	const hostile = `<script>alert(1)</script><form action="https://example.org"><img src="https://example.org/p.png">`
	d, _ := open(t, t.TempDir())
	d.put(Message{ID: "a", Channel: Email, Subject: "s", HTML: hostile})
	for path, wants := range map[string]map[string]string{
		"/":                {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'"},
		"/messages/a/html": {"default-src": "'none'", "sandbox": "", "style-src": "'unsafe-inline'", "form-action": "'none'"},
	} {
		got := d.get(path)
		policy := directives(got.header.Get("Content-Security-Policy"))
		for name, want := range wants {
			if value, ok := policy[name]; !ok || value != want {
				t.Errorf("%s: %s is %q (%t), want %q", path, name, value, ok, want)
			}
		}
		if got.header.Get("Content-Type") != "text/html; charset=utf-8" || got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, got.header)
		}
	}
	if got := d.get("/messages/a/html").body; got != hostile {
		t.Errorf("the mail is not shown as it was sent: %s", got)
	}
	policy := directives(d.get("/messages/a/html").header.Get("Content-Security-Policy"))
	for _, never := range []string{"script-src", "img-src", "connect-src"} {
		if value, ok := policy[never]; ok {
			t.Errorf("a mail has %s %s", never, value)
		}
	}
}

func TestPageFindsItsParts(t *testing.T) {
	t.Parallel()
	d, _ := open(t, t.TempDir())
	page := d.get("/").body
	for path, kind := range map[string]string{"/inbox.css": "text/css; charset=utf-8", "/inbox.js": "text/javascript; charset=utf-8"} {
		mustHold(t, page, []string{`"` + path + `"`}, nil)
		if got := d.get(path); got.status != http.StatusOK || got.header.Get("Content-Type") != kind || got.body == "" {
			t.Errorf("%s: %d %v", path, got.status, got.header)
		}
	}
}

func TestSMSParts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		unit  string
		times int
		want  int
	}{
		{"x", 0, 1},
		{"x", 1, 1},
		{"x", 160, 1},
		{"x", 161, 2},
		{"x", 306, 2},
		{"x", 307, 3},
		{"x", 459, 3},
		{"x", 460, 4},
		// All of French that the 7-bit alphabet has, and its capital Ç.
		{"é", 160, 1},
		{"à", 161, 2},
		{"Ç", 160, 1},
		{"ù\n", 80, 1},
		{"Ø@", 80, 1},
		// Two places each.
		{"€", 80, 1},
		{"€", 81, 2},
		{"[]", 40, 1},
		{"[]", 41, 2},
		{"€x", 53, 1},
		{"€x", 54, 2},
		{"€", 153, 2},
		{"€", 154, 3},
		// One character outside of it is enough for 16 bits each.
		{"ç", 1, 1},
		{"ç", 70, 1},
		{"ç", 71, 2},
		{"ç", 134, 2},
		{"ç", 135, 3},
		{"ê", 71, 2},
		{"’", 71, 2},
		{"\u00a0", 71, 2},
		{"`", 71, 2},
		// Outside of the basic plane: two places of 16 bits.
		{"👍", 35, 1},
		{"👍", 36, 2},
	} {
		if got := smsParts(strings.Repeat(row.unit, row.times)); got != row.want {
			t.Errorf("%d × %q: %d parts, want %d", row.times, row.unit, got, row.want)
		}
	}
	if got := smsParts(strings.Repeat("x", 70) + "ç"); got != 2 {
		t.Errorf("one ç in 71 characters: %d parts", got)
	}
}

// The two of the hour that clocks show twice are told apart.
func TestClock(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{"2026-10-25T00:30:00Z": "25/10 02:30:00 CEST", "2026-10-25T01:30:00Z": "25/10 02:30:00 CET", "2026-10-25T02:30:00Z": "25/10 03:30:00"} {
		moment, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := clock(moment); got != want {
			t.Errorf("%s is %s, want %s", at, got, want)
		}
	}
}
