package manifest

import (
	"strings"
	"testing"
)

// Each seeded fault that is Lint's business is caught, for the reason for which it
// was seeded, and the tree that they are put into has none.
func TestMutants(t *testing.T) {
	t.Parallel()
	tree, facts := repository(t)
	whole, err := tree.Whole()
	if err != nil {
		t.Fatal(err)
	}
	if faults := faultsOf(whole, facts); faults != "" {
		t.Fatalf("the tree is not clean:%s", faults)
	}
	caught, seeded := 0, 0
	for _, m := range Mutants() {
		if m.Server {
			continue
		}
		seeded++
		all, _, err := m.Apply(whole)
		if err != nil {
			t.Error(err)
			continue
		}
		if said := faultsOf(all, facts); strings.Contains(said, m.Message) {
			caught++
			t.Logf("caught  %-45s %s", m.Name, m.Message)
		} else {
			t.Errorf("MISSED  %-45s want %q, got:%s", m.Name, m.Message, said)
		}
	}
	t.Logf("%d of %d caught", caught, seeded)
}
