package visit

import (
	"net/url"
	"time"
)

// hiddenMost is how long an address leads to what is hidden in it.
const hiddenMost = time.Hour

// hidden is a form in an address.
type hidden struct {
	// Of is the realm and subject of whose it is.
	Of   [2]string  `json:"o"`
	At   time.Time  `json:"t"`
	Form url.Values `json:"f"`
}

// Hidden is the address of a page that answers a form by GET, so that one comes back to it and
// loads it again. What people look for may say much about them, and addresses are shown, logged
// and kept: the form is sealed in it, for the person whose visit it is.
func (v *Visit) Hidden(at string, form url.Values) (string, error) {
	sealed, err := v.Seal.Seal(at, hidden{[2]string{string(v.Session.Realm), v.Session.Subject}, time.Now(), form})
	if err != nil {
		return "", err
	}
	return at + "?r=" + sealed, nil
}

// Revealed is the form in the visit's address. There is none in one that is somebody else's, or
// older than hiddenMost.
func (v *Visit) Revealed() (form url.Values, ok bool) {
	var h hidden
	if !v.Seal.Open(v.R.URL.Path, v.R.URL.Query().Get("r"), &h) || time.Since(h.At) > hiddenMost || h.Of != [2]string{string(v.Session.Realm), v.Session.Subject} {
		return nil, false
	}
	return h.Form, true
}
