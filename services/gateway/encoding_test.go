package gateway

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plainly is a client that undoes no compression.
var plainly = &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}

func fetch(t *testing.T, verb, url string, pairs ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), verb, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		req.Header.Set(pairs[i], pairs[i+1])
	}
	resp, err := plainly.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

func TestCompressed(t *testing.T) {
	t.Parallel()
	s := start(t)
	whole := fetch(t, "GET", s.url+"/openapi.json")
	small := fetch(t, "GET", s.url+"/openapi.json", "Accept-Encoding", "br, gzip")
	if whole.header.Get("Content-Encoding") != "" || small.header.Get("Content-Encoding") != "gzip" || 3*len(small.body) > len(whole.body) {
		t.Fatalf("%d bytes %v, %d bytes %v", len(whole.body), whole.header, len(small.body), small.header)
	}
	reader, err := gzip.NewReader(strings.NewReader(small.body))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(reader); err != nil || string(text) != whole.body {
		t.Errorf("decompressed: %d bytes, %v", len(text), err)
	}
	if !strings.Contains(small.header.Get("Vary"), "Accept-Encoding") || whole.header.Get("ETag") == small.header.Get("ETag") {
		t.Errorf("caches cannot tell them apart: %v, %v", whole.header, small.header)
	}
	for name, tag := range map[string]string{"whole": whole.header.Get("ETag"), "compressed": small.header.Get("ETag")} {
		for _, accepted := range []string{"identity", "gzip"} {
			if got := fetch(t, "GET", s.url+"/openapi.json", "Accept-Encoding", accepted, "If-None-Match", `"other", W/`+tag); got.code != http.StatusNotModified || got.body != "" || got.header.Get("ETag") != tag {
				t.Errorf("%s, then %s: %d %s, want that of what the caller has, %s", name, accepted, got.code, got.header.Get("ETag"), tag)
			}
		}
	}
	// The lines of a list are one list.
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/openapi.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tags := range [][]string{{`"old-gzip"`, small.header.Get("ETag")}, {`"old"`, whole.header.Get("ETag")}} {
		req.Header["If-None-Match"] = tags
		resp, err := plainly.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotModified {
			t.Errorf("%s: %d", tags, resp.StatusCode)
		}
	}
	for _, none := range []string{"gzip;q=0", "identity", "br"} {
		if got := fetch(t, "GET", s.url+"/openapi.json", "Accept-Encoding", none); got.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %v", none, got.header)
		}
	}
	if got := fetch(t, "GET", s.url+"/v1/nothing", "Accept-Encoding", "gzip"); got.header.Get("Content-Encoding") != "" {
		t.Errorf("a short refusal: %v", got.header)
	}
	if got := s.rest(t, "member", "POST", "/v1/conversations", `{"audience":"PARTICULIER","theme":"x"}`, "Content-Encoding", "identity"); got.code != http.StatusOK {
		t.Errorf("a body that says it is not compressed: %d %s", got.code, got.body)
	}
}

// HEAD is GET without what it shows (RFC 9110, 9.3.2), streams included.
func TestHead(t *testing.T) {
	t.Parallel()
	s := start(t)
	for path, token := range map[string]string{"/v1/taxonomy?audience=PARTICULIER": "", "/v1/conversations": s.tokens["member"], "/v1/conversations:watch": s.tokens["member"], "/openapi.json": ""} {
		got := fetch(t, "HEAD", s.url+path, "Authorization", "Bearer "+token)
		if token == "" {
			got = fetch(t, "HEAD", s.url+path)
		}
		if got.code != http.StatusOK || got.body != "" {
			t.Errorf("%s: %d %v %q", path, got.code, got.header, got.body)
		}
	}
	for _, path := range []string{"/v1/taxonomy?audience=PARTICULIER", "/openapi.json", resourcePath, "/v1/nothing", "/livez"} {
		for _, accepted := range []string{"gzip", "identity"} {
			whole, head := fetch(t, "GET", s.url+path, "Accept-Encoding", accepted), fetch(t, "HEAD", s.url+path, "Accept-Encoding", accepted)
			// What is made with the content may be left out, and each request has its name.
			for _, name := range []string{"Content-Length", "Date", "X-Request-Id"} {
				whole.header.Del(name)
				head.header.Del(name)
			}
			if diff := cmp.Diff(whole.header, head.header); diff != "" || whole.code != head.code || head.body != "" {
				t.Errorf("%s with %s: %d, want %d:\n%s", path, accepted, head.code, whole.code, diff)
			}
		}
	}
	if got := fetch(t, "HEAD", s.url+"/v1/conversations"); got.code != http.StatusUnauthorized {
		t.Errorf("a stranger's: %d", got.code)
	}
	if got := fetch(t, "HEAD", s.url+"/v1/conversations:nothing"); got.code != http.StatusNotFound {
		t.Errorf("of nothing: %d", got.code)
	}
	if got := fetch(t, "HEAD", s.url+"/v1/suggestion:outcome"); got.code != http.StatusMethodNotAllowed {
		t.Errorf("of what is posted: %d", got.code)
	}
}
