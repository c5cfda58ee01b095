package auth

import "net/http"

// Through makes a verifier call its issuers by this transport: in a bubble of
// synctest, a real connection would keep time from passing.
func (v *Verifier) Through(transport http.RoundTripper) {
	for _, iss := range v.issuers {
		iss.client.Transport = transport
	}
}
