package messaging

import (
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// caisseOf is the caller's caisse, as one token of a subject of the broker. A token
// that names none that can be one has the default.
func (s *server) caisseOf(id *auth.Identity) (string, error) {
	switch {
	case validCaisse(id.Caisse):
		return id.Caisse, nil
	case s.defaultCaisse != "":
		return s.defaultCaisse, nil
	}
	return "", errNoCaisse
}

// validCaisse reports whether a caisse is lower-case letters, digits and hyphens,
// at most 64.
func validCaisse(caisse string) bool {
	return caisse != "" && len(caisse) <= 64 && strings.Trim(caisse, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
