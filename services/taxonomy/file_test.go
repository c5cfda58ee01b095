package taxonomy

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	if len(f.Themes) != 8 || topics != 51 || reasons != 199 || len(f.Services) != 34 || f.Version != 3 {
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
          - {code: autre, label: Autre}
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
          - {code: autre, label: Autre}
      - code: contrat
        label: Contrat
        audiences: [EMPLOYEUR]
      - {code: autre, label: Autre, audiences: [EMPLOYEUR]}
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
		{"version beyond the column", "version: 3", "version: 2147483648", "f.yaml:1: version must be"},
		{"unknown key", "depth: REASON,", "dept: REASON,", "f.yaml:4: field dept not found"},
		{"unknown key of a node", "label: Famille", "libelle: Famille", "f.yaml:13: field libelle not found"},
		{"key twice", "label: Famille", "label: Famille\n    label: Encore", `f.yaml:14: mapping key "label" already defined`},
		{"limits beyond the store", "max: 750", "max: 751", "f.yaml:2: text_limits 10 to 751"},
		{"limits the wrong way", "min: 10, max: 750", "min: 400, max: 300", "f.yaml:2: text_limits 400 to 300"},
		{"unknown audience", "code: EMPLOYEUR,", "code: RETRAITE,", `f.yaml:5: unknown audience "RETRAITE"`},
		{"audience twice", "code: EMPLOYEUR, depth: TOPIC", "code: PARTICULIER, depth: TOPIC", "f.yaml:5: audience PARTICULIER appears twice"},
		{"unknown depth", "depth: TOPIC", "depth: SUJET", `f.yaml:5: depth "SUJET"`},
		{"deposit address", "https://example.org/deposer", "javascript:alert(1)", `f.yaml:4: "javascript:alert(1)" is not`},
		{"queue without address", `postal_address: "1 rue", `, "", "f.yaml:7: queue accueil needs postal_address"},
		{"answer time", "answer_days: 3", "answer_days: 61", "f.yaml:7: answer_days 61"},
		{"no term of a theme", "label: Famille", "label: Famille\n    retention: 0", "f.yaml:12: retention 0 of theme famille is not within 1 to 30 years"},
		{"too long a term of a reason", "label: Pas reçu", "label: Pas reçu, retention: 31", "f.yaml:21: retention 31 of reason absent"},
		{"a term before the end", "label: Aides", "label: Aides\n        retention: -1", "f.yaml:18: retention -1 of topic aides"},
		{"a term that is no number", "label: Aides", "label: Aides\n        retention: dix ans", "f.yaml:20: cannot unmarshal"},
		{"unknown queue", "queue: accueil\n    services", "queue: guichet\n    services", `f.yaml:15: theme famille: unknown queue "guichet"`},
		{"missing queue", "    queue: accueil\n    services", "    services", `f.yaml:12: theme famille: unknown queue ""`},
		{"service without https", "https://example.org/payer", "http://example.org/payer", "f.yaml:9: \"http://example.org/payer\" is not"},
		{"service with a password", "https://example.org/payer", "https://a:b@example.org/payer", "f.yaml:9:"},
		{"service for nobody", "audiences: [PARTICULIER]}\n  - {code: embaucher", "audiences: []}\n  - {code: embaucher", "f.yaml:9: service payer is open to no audience"},
		{"service twice", "code: embaucher", "code: payer", "f.yaml:10: service payer appears twice"},
		{"unknown service", "services: [payer]\n    topics", "services: [remplir]\n    topics", `f.yaml:16: theme famille: unknown service "remplir"`},
		{"service of others", "services: [payer]\n    topics", "services: [embaucher]\n    topics", "f.yaml:16: theme famille: service embaucher is open to none"},
		{"theme twice", "code: commun", "code: famille", "f.yaml:24: theme famille appears twice"},
		{"topic twice", "code: contrat", "code: compte", "f.yaml:35: topic compte appears twice"},
		{"reason twice", "code: montant", "code: absent", "f.yaml:22: reason absent appears twice"},
		{"bad code", "code: famille", "code: Famille Nombreuse", `f.yaml:12: theme code "Famille Nombreuse"`},
		{"long code", "code: famille", "code: " + strings.Repeat("a", 65), "f.yaml:12: theme code"},
		{"no code", "{code: absent, label", "{label", "f.yaml:21: a reason has no code"},
		{"no code of a theme", "code: famille\n    label", "label", "f.yaml:12: a theme has no code"},
		{"no code of a topic", "- code: aides\n        label", "- label", "f.yaml:18: a topic has no code"},
		{"no label", "label: Famille", `label: " "`, "f.yaml:12: theme famille has no label"},
		{"long label", "label: Famille", "label: " + strings.Repeat("é", 201), "f.yaml:12: label of theme famille has 201 characters"},
		{"audience gap below", "label: Aides", "label: Aides\n        audiences: [EMPLOYEUR]", "f.yaml:20: topic aides is for EMPLOYEUR, the level above is not"},
		{"reason for others", "label: Pas reçu", "label: Pas reçu, audiences: [EMPLOYEUR]", "f.yaml:21: reason absent is for EMPLOYEUR"},
		{"unknown audience of a node", "label: Pas reçu", "label: Pas reçu, audiences: [TOUS]", `f.yaml:21: reason absent: unknown audience "TOUS"`},
		{"audience without theme", "label: Commun", "label: Commun\n    audiences: [PARTICULIER]", "f.yaml:5: audience EMPLOYEUR has no theme"},
		{"too deep", "{code: absent, label: Pas reçu}\n          - {code: montant, label: Montant, services: []}\n          - {code: autre, label: Autre}", "[]", "f.yaml:18: topic aides has no reason for PARTICULIER"},
		{"not YAML", "themes:", "themes: [", "f.yaml:"},
		{"a second document", "label: Autre, audiences: [EMPLOYEUR]}\n", "label: Autre, audiences: [EMPLOYEUR]}\n---\nversion: 4\n", "f.yaml:39: a second document"},
		{"empty entry", "topics:\n", "topics:\n      -\n", "f.yaml:18: an entry of a list is empty"},
		{"empty entry of a short list", "services: [payer]\n    topics", "services: [payer, ~]\n    topics", "f.yaml:16: an entry of a list is empty"},
		{"no topic for an audience", "code: contrat\n        label: Contrat\n        audiences: [EMPLOYEUR]", "code: contrat\n        label: Contrat\n        audiences: []", "f.yaml:35: topic contrat is open to no audience"},
		{"no other reason", "          - {code: autre, label: Autre}\n  - code: commun", "  - code: commun", "f.yaml:18: topic aides has no reason with the code autre for PARTICULIER"},
		{"another reason for others", "          - {code: autre, label: Autre}\n      - code", "          - {code: autre, label: Autre, audiences: [EMPLOYEUR]}\n      - code", "f.yaml:28: topic compte has no reason with the code autre for PARTICULIER"},
		{"no other topic", "- {code: autre, label: Autre, audiences: [EMPLOYEUR]}", "- {code: reste, label: Reste, audiences: [EMPLOYEUR]}", "f.yaml:24: theme commun has no topic with the code autre for EMPLOYEUR"},
		{"a keyword twice", "label: Famille", "label: Famille\n    keywords: [Né,\n      foyer, ne]", `f.yaml:15: theme famille: "ne" appears twice`},
		{"no word", "label: Pas reçu", "label: Pas reçu, keywords: [perdu, \"…\"]", `f.yaml:21: reason absent: "…" has no word`},
		{"a keyword that is a list", "label: Pas reçu", "label: Pas reçu, keywords: [[perdu]]", "f.yaml:21: a single word is wanted"},
		{"an empty keyword", "label: Pas reçu", "label: Pas reçu, keywords: [~]", "f.yaml:21: an entry of a list is empty"},
		{"a long keyword", "label: Aides", "label: Aides\n        keywords: [" + strings.Repeat("é", 81) + "]", "f.yaml:20: topic aides: \"" + strings.Repeat("é", 81) + "\" has 81 characters, at most 80"},
		{"a keyword with a control character", "label: Aides", "label: Aides\n        keywords: [\"a\\nb\"]", `f.yaml:20: topic aides: "a\nb" has a control character`},
		{"keywords of a service", "name: Payer", "name: Payer, keywords: [payer, Payer]", `f.yaml:9: service payer: "Payer" appears twice`},
		{"too many keywords", "label: Famille", "label: Famille\n    keywords: [" + many(maxKeywords+1) + "]", "f.yaml:14: theme famille has 81 keywords, at most 80"},
		{"a synonym alone", "themes:", "synonyms:\n  - [APL]\nthemes:", "f.yaml:12: a list of synonyms has 1, it needs 2 to 40"},
		{"no synonym", "themes:", "synonyms:\n  - [APL, ALS]\n  - []\nthemes:", "f.yaml:12: list 2 of synonyms is empty"},
		{"too many synonyms", "themes:", "synonyms:\n  - [" + many(maxSynonyms+1) + "]\nthemes:", "f.yaml:12: a list of synonyms has 41"},
		{"a synonym twice", "themes:", "synonyms:\n  - [l’aide, loyer,\n     aide]\nthemes:", `f.yaml:13: a list of synonyms: "aide" appears twice`},
		{"too many lists of synonyms", "themes:", "synonyms:\n" + strings.Repeat("  - [a, b]\n", maxSynonymous+1) + "themes:", "f.yaml:12: 1001 lists of synonyms, at most 1000"},
		{"not UTF-8", "label: Famille", "label: Famill\xe9", "f.yaml:1: the file is not text in UTF-8"},
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

// many are so many words.
func many(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("mot%d", i))
	}
	return strings.Join(list, ", ")
}

func TestParse_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	broken := strings.NewReplacer(
		"depth: TOPIC", "depth: TOPIC, deep: yes", "answer_days: 3", "answer_days: -1", "label: Famille", "label: ''",
		"code: absent", "code: [absent]", "code: montant", "code: adresse-", "label: Contrat", "label: Contrat\n        help: {a: b}",
	).Replace(sound)
	_, err := parse("f.yaml", []byte(broken))
	if err == nil {
		t.Fatal("a file full of faults is taken")
	}
	var lines []int
	for fault := range strings.Lines(err.Error()) {
		var line int
		if _, err := fmt.Sscanf(fault, "f.yaml:%d: ", &line); err != nil {
			t.Errorf("no file and line: %s", fault)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	// Line 21 counts twice: a list cannot be a code, and so there is none.
	if want := []int{5, 7, 12, 21, 21, 22, 37}; !slices.Equal(lines, want) {
		t.Errorf("faults on lines %v, want %v:\n%v", lines, want, err)
	}
}

// A place in the tree beside which a null was dropped keeps its own line.
func TestParse_LinesAfterAnEmptyEntry(t *testing.T) {
	t.Parallel()
	broken := strings.NewReplacer("reasons:\n          - {code: absent, label", "reasons:\n          -\n          - 7\n          - {label").Replace(sound)
	_, err := parse("f.yaml", []byte(broken))
	for _, want := range []string{"f.yaml:21: an entry", "f.yaml:22: cannot unmarshal", "f.yaml:23: a reason has no code"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got:\n%v", want, err)
		}
	}
}

func TestParse_Empty(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "# nothing\n", "~\n", "[]\n", "version\n"} {
		if _, err := parse("f.yaml", []byte(content)); err == nil || !strings.HasPrefix(err.Error(), "f.yaml:1: ") {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// What was published under other rules is served, short of what has no meaning.
func TestRead_OtherRules(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, old, new string
		served         bool
	}{
		{"a key of tomorrow", "label: Famille", "label: Famille\n    colour: blue", true},
		{"a label too long by today's rule", "label: Famille", "label: " + strings.Repeat("é", maxLabel+1), true},
		{"nothing for what is in none of the others", "code: autre, label: Autre}\n  - code", "code: reste, label: Reste}\n  - code", true},
		{"more synonyms than today", "themes:", "synonyms: [[" + many(maxSynonyms+1) + "], []]\nthemes:", true},
		{"a service that is gone", "services: [payer]\n", "services: [gone]\n", true},
		{"an audience of tomorrow", "code: EMPLOYEUR,", "code: RETRAITE,", false},
		{"a depth of tomorrow", "depth: TOPIC", "depth: DETAIL", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			content := []byte(strings.Replace(sound, test.old, test.new, 1))
			if _, err := parse("f.yaml", content); err == nil {
				t.Fatal("not a fault under today's rules")
			}
			f, err := read(content)
			if (err == nil) != test.served {
				t.Fatalf("got %v", err)
			}
			if test.served && len(newCatalogue(f, testTime).answers[taxonomypb.Audience_PARTICULIER].GetThemes()) != 2 {
				t.Error("themes are missing")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sound))
	f.Add(Default)
	f.Fuzz(func(t *testing.T, content []byte) {
		parsed, err := parse("f.yaml", content)
		if err == nil {
			newCatalogue(parsed, testTime)
		} else if !strings.HasPrefix(err.Error(), "f.yaml:") {
			t.Errorf("a fault without its file: %v", err)
		}
		if stored, err := read(content); err == nil {
			newCatalogue(stored, testTime)
		}
	})
}

// An audience is told how long is kept what it can choose, as far as the file says.
func TestRetention(t *testing.T) {
	t.Parallel()
	content := strings.NewReplacer("label: Famille", "label: Famille\n    retention: 10", "label: Montant", "label: Montant, retention: 1",
		"label: Compte", "label: Compte\n        retention: 30", "label: Siège", "label: Siège, retention: 6").Replace(sound)
	f, err := parse("f.yaml", []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	type term struct {
		topic, reason string
		years         int32
	}
	got := make(map[string][]term)
	for _, tree := range newCatalogue(f, testTime).whole.GetAudiences() {
		for _, theme := range tree.GetThemes() {
			for _, kept := range theme.GetRetentions() {
				at := tree.GetAudience().String() + " " + theme.GetTheme().GetCode()
				got[at] = append(got[at], term{kept.GetTopic(), kept.GetReason(), kept.GetYears()})
			}
		}
	}
	want := map[string][]term{
		"PARTICULIER famille": {{"", "", 10}, {"aides", "montant", 1}},
		"PARTICULIER commun":  {{"compte", "", 30}},
		"EMPLOYEUR commun":    {{"compte", "", 30}, {"compte", "siege", 6}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(term{})); diff != "" {
		t.Error(diff)
	}
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
// A version is published as the text that it is: who runs the default has these bytes in the
// database, and a process that comes with others under the same version does not start.
func TestDefault_IsWhatWasPublished(t *testing.T) {
	t.Parallel()
	published := map[int]string{
		1: "501caf2dcb5e90bc97de5fe7b12bdc9a13d3d4656cd6ec4734c04ba705afd806",
		2: "1f943b7d82e09cb8ef5f641dc940b402157a1c90b7e507891b0312d3470c31a3",
		3: "13ba0cceda0610ba0915d7690a634427e954958dc647214826d8e8cc585a21ff",
	}
	f, err := parse("catalogue.yaml", Default)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(Default)); got != published[f.Version] {
		t.Errorf("catalogue.yaml of version %d is %s, not %q: raise `version`, even for a comment, and note the new sum here", f.Version, got, published[f.Version])
	}
}

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
