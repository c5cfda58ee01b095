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

// The vault is called by messaging and its migration, and by nobody else. The overlay dev
// has its server in the tree.
func TestVault(t *testing.T) {
	t.Parallel()
	tree, facts := repository(t)
	clean, err := tree.Overlay("dev")
	if err != nil {
		t.Fatal(err)
	}
	into := func(o Object) bool { return o.Kind() == "NetworkPolicy" && o.Name() == "messaging-to-vault" }
	for _, m := range []Mutant{
		{"nobody may call it", false, "vault may not be called by messaging at port 5432", func(m *mutation) { m.remove("NetworkPolicy into the vault", into) }},
		{"its migration may not", false, "vault may not be called by messaging-migrate at port 5432", func(m *mutation) {
			m.spec("NetworkPolicy", "messaging-to-vault")["ingress"] = []any{map[string]any{"from": []any{map[string]any{"podSelector": map[string]any{
				"matchLabels": map[string]any{"app.kubernetes.io/name": "messaging"},
			}}}}}
		}},
		{"everybody may", false, "notifier may call vault at port 5432", func(m *mutation) { m.spec("NetworkPolicy", "messaging-to-vault")["ingress"] = []any{map[string]any{}} }},
	} {
		all, _, err := m.Apply(clean)
		if err != nil {
			t.Error(err)
			continue
		}
		if said := faultsOf(all, facts); !strings.Contains(said, m.Message) {
			t.Errorf("%s: want %q, got:%s", m.Name, m.Message, said)
		}
	}
}

// What the broker is told in other words is compared in the same ones.
func TestFieldsOfBroker(t *testing.T) {
	t.Parallel()
	l := &linter{facts: &Facts{Services: map[string]Service{"messaging": service[struct{}]("messaging")}}}
	stream, consumer := fieldsOfStream(l.stream()), fieldsOfConsumer(consumer())
	for key, want := range map[string]string{
		"retention": "limits", "discard": "new", "storage": "file", "maxAge": "336h0m0s", "denyPurge": "true", "subjects": "[messagerie.>]",
	} {
		if got := stream[key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	for key, want := range map[string]string{"ackPolicy": "explicit", "deliverPolicy": "all", "ackWait": "10s", "maxDeliver": "-1"} {
		if got := consumer[key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}
