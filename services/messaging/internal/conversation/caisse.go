package conversation

import (
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// CaisseOf is the caller's caisse, as one token of a subject of the broker. A token that
// names none that can be one has the default; [ErrNoCaisse] if there is none.
func CaisseOf(id *auth.Identity, byDefault string) (string, error) {
	switch {
	case ValidCaisse(id.Caisse):
		return id.Caisse, nil
	case byDefault != "":
		return byDefault, nil
	}
	return "", ErrNoCaisse
}

// ValidCaisse reports whether a caisse is lower-case letters, digits and hyphens,
// at most 64.
func ValidCaisse(caisse string) bool {
	return caisse != "" && len(caisse) <= 64 && strings.Trim(caisse, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
