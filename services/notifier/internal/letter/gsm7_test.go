package letter

import (
	"testing"
)

func TestSeptets(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		text string
		n    int
		ok   bool
	}{
		{"", 0, true},
		{"Accusé de réception à 14h05", 27, true},
		{"€", 2, true},
		{"[x]", 5, true},
		{"Ça", 2, true},
		{"reçu", 0, false},
		{"arrêt", 0, false},
		{"l’accusé", 0, false},
		{"a\u00a0b", 0, false},
		{"👍", 0, false},
	} {
		if n, ok := Septets(row.text); n != row.n || ok != row.ok {
			t.Errorf("septets(%q) = %d, %t; want %d, %t", row.text, n, ok, row.n, row.ok)
		}
	}
}
