package gateway

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// anyPort ends an origin that includes every port of its host: a development server takes
// the first that is free.
const anyPort = ":*"

// isOrigin reports whether a text is scheme, host and port, and nothing else.
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" &&
		text == u.Scheme+"://"+u.Host && !strings.Contains(u.Host, "*")
}

// isOrigins reports whether a setting is an origin, or a host's with anyPort. There is no
// wildcard for hosts: each has to be named.
func isOrigins(setting string) bool {
	host, wild := strings.CutSuffix(setting, anyPort)
	u, err := url.Parse(host)
	return err == nil && isOrigin(host) && (!wild || u.Port() == "")
}

// allowsOrigin reports whether a page's origin is one of the settings.
func allowsOrigin(settings []string, origin string) bool {
	return slices.ContainsFunc(settings, func(setting string) bool {
		host, wild := strings.CutSuffix(setting, anyPort)
		if origin == host {
			return true // the scheme's default port
		}
		port, ok := strings.CutPrefix(origin, host+":")
		_, err := strconv.ParseUint(port, 10, 16)
		return wild && ok && err == nil
	})
}
