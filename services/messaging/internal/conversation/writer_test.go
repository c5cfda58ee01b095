package conversation

import "testing"

func TestNames(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, full, initial string }{
		{"Claire Bernard", "Claire Bernard", "Claire B."},
		{"Paul Le Goff", "Paul Le Goff", "Paul L."},
		{"Jean-Pierre de La Tour", "Jean-Pierre de La Tour", "Jean-Pierre L."},
		{"Anne d'Hauterive", "Anne d'Hauterive", "Anne H."},
		{"claire bernard", "claire bernard", "Service santé"},
		{"Claire de la fontaine", "Claire de la fontaine", "Claire D."},
		{"BERNARD Claire", "BERNARD Claire", "Service santé"},
		{"Bernard, Claire", "Bernard, Claire", "Service santé"},
		{"claire.bernard@msa.example", "claire.bernard@msa.example", "Service santé"},
		{"Mme Claire Bernard", "Mme Claire Bernard", "Service santé"},
		{"Claire (Retraite)", "Claire (Retraite)", "Service santé"},
		{"Claire ’Neill", "Claire ’Neill", "Claire N."},
		{"BERNARD-PETIT", "BERNARD-PETIT", "Service santé"},
		{"Élodie Éluard", "Élodie Éluard", "Élodie É."},
		{"Zoé", "Zoé", "Service santé"},
		{"  Zoé  Martin ", "  Zoé  Martin ", "Zoé M."},
		{"", "Service santé", "Service santé"},
		{" ", "Service santé", "Service santé"},
	} {
		for form, want := range map[Names]string{InFull: row.full, Initial: row.initial, OfService: "Service santé"} {
			if got := form.of(row.name, "Service santé"); got != want {
				t.Errorf("%s of %q is %q, want %q", form, row.name, got, want)
			}
		}
	}
	var form Names
	for text, good := range map[string]bool{"full": true, "initial": true, "service": true, "": false, "Full": false, "nom": false} {
		if err := form.UnmarshalText([]byte(text)); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
