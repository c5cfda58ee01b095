package gateway

import (
	"strings"
	"testing"
)

func TestIsOrigins(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]bool{
		"https://front.example.org": true, "http://localhost:5173": true, "http://localhost:*": true, "http://[::1]:*": true,
		"": false, "*": false, ":*": false, "http://*": false, "http://*:*": false, "https://*.example.org": false, "*://localhost:*": false,
		"http://localhost:51*": false, "http://localhost:5173:*": false, "http://localhost:*:*": false, "http://localhost:*/": false,
		"http://localhost*": false, "ftp://localhost:*": false, "http://:*": false, "http://a@localhost:*": false, "localhost:*": false,
	} {
		if got := isOrigins(setting); got != want {
			t.Errorf("%q: %t, want %t", setting, got, want)
		}
		if got := isOrigin(setting); got != (want && !strings.HasSuffix(setting, "*")) {
			t.Errorf("%q is one origin: %t", setting, got)
		}
	}
}

func TestAllowsOrigin(t *testing.T) {
	t.Parallel()
	settings := []string{"https://front.example.org", "http://localhost:*", "http://[::1]:*"}
	for origin, want := range map[string]bool{
		"https://front.example.org": true, "http://localhost:5173": true, "http://localhost:65535": true, "http://localhost": true, "http://[::1]:3000": true,
		"": false, "null": false, "*": false, "https://front.example.org:8443": false, "https://localhost:5173": false, "http://127.0.0.1:5173": false,
		"http://localhost:": false, "http://localhost:*": false, "http://localhost:+1": false, "http://localhost:65536": false, "http://localhost:1.evil.test": false,
		"http://localhost:5173@evil.test": false, "http://localhost.evil.test:5173": false, "http://localhostevil:5173": false,
	} {
		if got := allowsOrigin(settings, origin); got != want {
			t.Errorf("%q: %t, want %t", origin, got, want)
		}
	}
	if allowsOrigin(nil, "") {
		t.Error("no setting allows a call that comes from no page")
	}
}
