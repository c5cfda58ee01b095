package taxonomy

import (
	"slices"
	"strings"
	"testing"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

func TestDefault_IsWhole(t *testing.T) {
	t.Parallel()
	f, err := parse("catalogue.yaml", Default)
	if err != nil {
		t.Fatal(err)
	}
	topics, reasons := 0, 0
	for _, theme := range f.Themes {
		topics += len(theme.Topics)
		for _, topic := range theme.Topics {
			reasons += len(topic.Reasons)
		}
	}
	if len(f.Themes) != 8 || topics != 43 || reasons != 149 || len(f.Services) != 34 || f.Version != 1 {
		t.Errorf("%d themes, %d topics, %d reasons, %d services, version %d", len(f.Themes), topics, reasons, len(f.Services), f.Version)
	}
	depths := map[string]string{"PARTICULIER": "REASON", "EXPLOITANT": "REASON", "EMPLOYEUR": "TOPIC"}
	for _, a := range f.Audiences {
		if depths[a.Code.word] != a.Depth.word {
			t.Errorf("%s chooses down to %s", a.Code.word, a.Depth.word)
		}
	}
}

// sound is a small file without faults; each test breaks one thing in it.
const sound = `version: 3
text_limits: {min: 10, max: 750}
audiences:
  - {code: PARTICULIER, depth: REASON, document_deposit_url: "https://example.org/deposer"}
  - {code: EMPLOYEUR, depth: TOPIC}
queues:
  - {code: accueil, label: Accueil, postal_address: "1 rue", phone: "01 99 00 00 00", answer_days: 3}
services:
  - {code: payer, name: Payer, url: "https://example.org/payer", audiences: [PARTICULIER]}
  - {code: embaucher, name: Embaucher, url: "http://127.0.0.1:8080/x", audiences: [EMPLOYEUR], external: true}
themes:
  - code: famille
    label: Famille
    audiences: [PARTICULIER]
    queue: accueil
    services: [payer]
    topics:
      - code: aides
        label: Aides
        reasons:
          - {code: absent, label: Pas reçu}
          - {code: montant, label: Montant, services: []}
  - code: commun
    label: Commun
    queue: accueil
    topics:
      - code: compte
        label: Compte
        services: [payer, embaucher]
        reasons:
          - {code: adresse, label: Adresse, audiences: [PARTICULIER], services: [payer]}
          - {code: siege, label: Siège, audiences: [EMPLOYEUR]}
      - code: contrat
        label: Contrat
        audiences: [EMPLOYEUR]
`

func TestParse_Sound(t *testing.T) {
	t.Parallel()
	if _, err := parse("f.yaml", []byte(sound)); err != nil {
		t.Fatal(err)
	}
}

func TestParse_Faults(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, old, new, want string }{
		{"no version", "version: 3", "version: 0", "f.yaml:1: version must be"},
		{"unknown key", "depth: REASON,", "dept: REASON,", "f.yaml:4: field dept not found"},
		{"unknown key of a node", "label: Famille", "libelle: Famille", "f.yaml:13: field libelle not found"},
		{"key twice", "label: Famille", "label: Famille\n    label: Encore", `f.yaml:14: mapping key "label" already defined`},
		{"limits beyond the store", "max: 750", "max: 751", "text_limits 10 to 751"},
		{"limits the wrong way", "min: 10, max: 750", "min: 400, max: 300", "text_limits 400 to 300"},
		{"unknown audience", "code: EMPLOYEUR,", "code: RETRAITE,", `f.yaml:5: unknown audience "RETRAITE"`},
		{"audience twice", "code: EMPLOYEUR, depth: TOPIC", "code: PARTICULIER, depth: TOPIC", "f.yaml:5: audience PARTICULIER stands twice"},
		{"unknown depth", "depth: TOPIC", "depth: SUJET", `f.yaml:5: depth "SUJET"`},
		{"deposit address", "https://example.org/deposer", "javascript:alert(1)", `f.yaml:4: "javascript:alert(1)" is not`},
		{"queue without address", `postal_address: "1 rue", `, "", "f.yaml:7: queue accueil needs postal_address"},
		{"answer time", "answer_days: 3", "answer_days: 61", "f.yaml:7: answer_days 61"},
		{"unknown queue", "queue: accueil\n    services", "queue: guichet\n    services", `f.yaml:15: theme famille: unknown queue "guichet"`},
		{"missing queue", "    queue: accueil\n    services", "    services", `theme famille: unknown queue ""`},
		{"service without https", "https://example.org/payer", "http://example.org/payer", "f.yaml:9: \"http://example.org/payer\" is not"},
		{"service with a password", "https://example.org/payer", "https://a:b@example.org/payer", "f.yaml:9:"},
		{"service for nobody", "audiences: [PARTICULIER]}\n  - {code: embaucher", "audiences: []}\n  - {code: embaucher", "f.yaml:9: service payer is open to no audience"},
		{"service twice", "code: embaucher", "code: payer", "f.yaml:10: service payer stands twice"},
		{"unknown service", "services: [payer]\n    topics", "services: [remplir]\n    topics", `f.yaml:16: theme famille: unknown service "remplir"`},
		{"service of others", "services: [payer]\n    topics", "services: [embaucher]\n    topics", "f.yaml:16: theme famille: service embaucher is open to none"},
		{"theme twice", "code: commun", "code: famille", "f.yaml:23: theme famille stands twice"},
		{"topic twice", "code: contrat", "code: compte", "topic compte stands twice"},
		{"reason twice", "code: montant", "code: absent", "f.yaml:22: reason absent stands twice"},
		{"bad code", "code: famille", "code: Famille Nombreuse", `f.yaml:12: theme code "Famille Nombreuse"`},
		{"long code", "code: famille", "code: " + strings.Repeat("a", 65), "f.yaml:12: theme code"},
		{"no code", "{code: absent, label", "{label", "a reason has no code"},
		{"no label", "label: Famille", `label: " "`, "f.yaml:12: theme famille has no label"},
		{"long label", "label: Famille", "label: " + strings.Repeat("é", 201), "has 201 characters"},
		{"audience gap below", "label: Aides", "label: Aides\n        audiences: [EMPLOYEUR]", "f.yaml:20: topic aides is for EMPLOYEUR, the level above is not"},
		{"reason for others", "label: Pas reçu", "label: Pas reçu, audiences: [EMPLOYEUR]", "f.yaml:21: reason absent is for EMPLOYEUR"},
		{"unknown audience of a node", "label: Pas reçu", "label: Pas reçu, audiences: [TOUS]", `f.yaml:21: reason absent: unknown audience "TOUS"`},
		{"audience without theme", "label: Commun", "label: Commun\n    audiences: [PARTICULIER]", "f.yaml:5: audience EMPLOYEUR has no theme"},
		{"too deep", "adresse, label: Adresse, audiences: [PARTICULIER], services: [payer]", "adresse, label: Adresse, audiences: [EMPLOYEUR]", "topic compte has no reason for PARTICULIER"},
		{"not YAML", "themes:", "themes: [", "f.yaml:"},
		{"two documents", "version: 3", "---\nversion: 3\n---\nversion: 4", "f.yaml"},
		{"a list for a code", "code: famille", "code: [famille]", "f.yaml:12: a single word is wanted"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			broken := strings.Replace(sound, test.old, test.new, 1)
			if broken == sound {
				t.Fatalf("%q is not in the sound file", test.old)
			}
			_, err := parse("f.yaml", []byte(broken))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestParse_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	broken := strings.NewReplacer("label: Famille", "label: ''", "code: montant", "code: absent", "answer_days: 3", "answer_days: -1").Replace(sound)
	_, err := parse("f.yaml", []byte(broken))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three lines, got:\n%v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sound))
	f.Add(Default)
	f.Fuzz(func(t *testing.T, content []byte) {
		if parsed, err := parse("f.yaml", content); err == nil {
			newCatalogue(parsed, testTime)
		}
	})
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	f, err := parse("f.yaml", []byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	c := newCatalogue(f, testTime)
	const particulier, employeur = taxonomypb.Audience_PARTICULIER, taxonomypb.Audience_EMPLOYEUR
	tests := []struct {
		name   string
		at     place
		want   []string
		reason string
	}{
		{"theme", place{particulier, "famille", "", ""}, []string{"payer"}, ""},
		{"topic takes the theme's", place{particulier, "famille", "aides", ""}, []string{"payer"}, ""},
		{"reason takes the theme's", place{particulier, "famille", "aides", "absent"}, []string{"payer"}, ""},
		{"an empty list proposes none", place{particulier, "famille", "aides", "montant"}, nil, ""},
		{"no service at all", place{particulier, "commun", "", ""}, nil, ""},
		{"a topic's, those of the audience", place{employeur, "commun", "compte", ""}, []string{"embaucher"}, ""},
		{"a reason's own", place{particulier, "commun", "compte", "adresse"}, []string{"payer"}, ""},
		{"theme of others", place{employeur, "famille", "", ""}, nil, "THEME_UNKNOWN"},
		{"unknown theme", place{particulier, "x", "aides", "absent"}, nil, "THEME_UNKNOWN"},
		{"unknown topic", place{particulier, "famille", "x", ""}, nil, "TOPIC_UNKNOWN"},
		{"topic of others", place{particulier, "commun", "contrat", ""}, nil, "TOPIC_UNKNOWN"},
		{"reason of others", place{employeur, "commun", "compte", "adresse"}, nil, "REASON_UNKNOWN"},
		{"reason without topic", place{particulier, "famille", "", "absent"}, nil, "TOPIC_REQUIRED"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			services, err := c.suggest(test.at)
			if got := reasonOf(err); got != test.reason {
				t.Fatalf("got %q, want %q", got, test.reason)
			}
			var got []string
			for _, s := range services {
				got = append(got, s.GetCode())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// Every service of the default taxonomy is proposed somewhere, to somebody.
func TestDefault_NoServiceIsForgotten(t *testing.T) {
	t.Parallel()
	f, err := parse("catalogue.yaml", Default)
	if err != nil {
		t.Fatal(err)
	}
	offered := make(map[string]bool)
	for _, services := range newCatalogue(f, testTime).offers {
		for _, s := range services {
			offered[s.GetCode()] = true
		}
	}
	for _, s := range f.Services {
		if !offered[s.Code.word] {
			t.Errorf("%s is never proposed", s.Code.word)
		}
	}
}
