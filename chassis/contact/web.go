package contact

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// maxWeb is the most bytes of an address that every browser and proxy takes.
const maxWeb = 2000

var (
	// webSigns are the characters that an address may have (RFC 3986, 2.2 and 2.3), those
	// of an internationalised domain apart.
	webSigns = regexp.MustCompile(`^(?:[A-Za-z0-9._~:/?#@!$&'()*+,;=\[\]-]|%[0-9A-Fa-f]{2})*$`)
	// hidden are controls, a space or a backslash that are written with a per cent sign.
	hidden = regexp.MustCompile(`(?i)%(?:[01][0-9a-f]|5c|7f)`)
)

// Web checks an address that a member's browser is sent to: https, and a host that the public DNS
// can have, by the same rule as that of an e-mail address. On this machine, for tests, it may be
// http: localhost or 127.0.0.1. It is to be written as browsers send it: without accents, spaces
// and backslashes in its path, without a user's name, which makes people believe in another host.
// The error is a [*Fault].
func Web(address string) error {
	fault := func(hint string) error { return &Fault{errorpb.ErrorReason_FORMAT_INVALID, hint} }
	if len(address) > maxWeb {
		return fault("an address has at most 2000 characters")
	}
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok || scheme != "https" && scheme != "http" {
		return fault("write the whole address, such as https://www.exemple.fr/payer")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	if !webSigns.MatchString(rest[end:]) || hidden.MatchString(rest[end:]) {
		return fault("after the host is a character that an address has not: write letters without accents, no space and no backslash; others with a per cent sign, as %C3%A9")
	}
	u, err := url.Parse(address)
	if err != nil || strings.ContainsAny(rest[:end], "@\\% \t[]") {
		return fault("after https:// comes the name of a host, without a user's name: https://www.exemple.fr")
	}
	if strings.HasSuffix(address, "#") || strings.Count(address, "#") > 1 {
		return fault("an address has one # at most, and something behind it")
	}
	if _, port, found := strings.Cut(u.Host, ":"); found {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
			return fault("after the colon is a port, from 1 to 65535")
		}
	}
	host := u.Hostname()
	if scheme == "http" {
		if host == "localhost" || host == "127.0.0.1" {
			return nil
		}
		return fault("what is sent over http can be read and changed on its way: write https://")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return fault("an IP address has no certificate that browsers know: write the host's name")
	}
	ascii, ok := domainOf(host)
	if !ok || visible(host) != host {
		return fault("after https:// is no domain such as www.exemple.fr")
	}
	if !reachable(ascii) {
		return fault("no domain ends like this one: check what is after the last dot")
	}
	return nil
}

// domainOf is a domain of at least two labels, in A-labels.
func domainOf(domain string) (ascii string, ok bool) {
	ascii, err := domains.ToASCII(domain)
	last := ascii[strings.LastIndexByte(ascii, '.')+1:]
	return ascii, err == nil && last != ascii && strings.Trim(last, "0123456789") != ""
}

// reachable reports whether the DNS can have the domain: a suffix without a dot that is not of the
// ICANN part is one that the public suffix list does not know.
func reachable(ascii string) bool {
	suffix, icann := publicsuffix.PublicSuffix(ascii)
	return icann || strings.Contains(suffix, ".") || forTests[suffix]
}
