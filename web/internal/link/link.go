// Package link finds in what agents write the addresses of the fund's own sites and telephone
// numbers, so that pages make links of them.
//
// # What is promised
//
// Only https addresses of the hosts that [Sites] names, and of hosts below them, become links:
// whatever else looks like an address stays text, so that nobody is led elsewhere from what looks
// like the fund's own words. What is shown is what was written.
//
// # When it breaks
//
// A number that is written like a telephone number is taken for one, whatever it is.
package link

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/contact"
)

// Sites are the host names of the fund's own sites, such as msa.example.org.
type Sites []string

// host is a name of at least two labels, without a port.
var host = regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate reports all that are no host names. One of a single label, such as fr, would be a
// whole domain of others.
func (s Sites) Validate() error {
	var faults []error
	for _, site := range s {
		if !host.MatchString(site) || contact.Web("https://"+site) != nil {
			faults = append(faults, fmt.Errorf("OWN_SITES: %q is not a host name such as www.example.org, in lower case", site))
		}
	}
	return errors.Join(faults...)
}

// Piece is a part of a text, as it was written.
type Piece struct {
	Text string
	// URL is where it leads, on one of the fund's sites; Phone is the number to call. One of
	// them, or neither.
	URL, Phone string
}

// found is what may be an address or a telephone number: of France, as one writes it there, or of
// any country after a plus sign.
var found = regexp.MustCompile(`(?i:https://|www\.)[^\s<>"«»“”]+|\+[1-9]\d{0,2}(?: ?\(0\))?(?:[ .\x{00a0}\x{202f}-]?\d){6,12}|0[ .\x{00a0}\x{202f}-]?[1-9](?:[ .\x{00a0}\x{202f}-]?\d){8}`)

// behind is what ends a sentence rather than an address.
const behind = `.,;:!?)]}'’…`

// Divide cuts a text into pieces, which are the text when they are put together.
func (s Sites) Divide(text string) (pieces []Piece) {
	rest := 0
	for _, at := range found.FindAllStringIndex(text, -1) {
		piece := Piece{Text: text[at[0]:at[1]]}
		if c := piece.Text[0]; c == '+' || c == '0' {
			piece.Phone = number(text, at[0], at[1])
		} else {
			piece.Text = strings.TrimRight(piece.Text, behind)
			piece.URL = s.own(piece.Text)
		}
		if piece.URL == "" && piece.Phone == "" {
			continue
		}
		if at[0] > rest {
			pieces = append(pieces, Piece{Text: text[rest:at[0]]})
		}
		pieces = append(pieces, piece)
		rest = at[0] + len(piece.Text)
	}
	if rest < len(text) {
		pieces = append(pieces, Piece{Text: text[rest:]})
	}
	return pieces
}

// own is where an address of one of the sites leads; empty for any other.
func (s Sites) own(address string) string {
	if strings.EqualFold(address[:4], "www.") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.User != nil || u.Port() != "" {
		return ""
	}
	name := strings.ToLower(u.Hostname())
	for _, site := range s {
		if name == site || strings.HasSuffix(name, "."+site) {
			return u.String()
		}
	}
	return ""
}

// number is the telephone number between two places of a text, as one calls it; empty where it
// is a part of something longer, or too long.
func number(text string, from, to int) string {
	if joined.MatchString(text[:from]) || joins.MatchString(text[to:]) {
		return ""
	}
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '+' {
			return r
		}
		return -1
	}, strings.Replace(text[from:to], "(0)", "", 1))
	if len(digits) > len("+")+mostDigits {
		return ""
	}
	return digits
}

// mostDigits is how many a telephone number has at most (E.164).
const mostDigits = 15

// joined and joins are what makes of a number a part of a longer one, or of a word.
var (
	joined = regexp.MustCompile(`(?:[\pL\pN_/@#=-]|\pN[ .\x{00a0}\x{202f}])$`)
	joins  = regexp.MustCompile(`^(?:[\pL\pN_/@#=-]|[ .\x{00a0}\x{202f}]\pN)`)
)
