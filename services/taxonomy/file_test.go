package taxonomy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

func TestDefault_IsWhole(t *testing.T) {
	t.Parallel()
	f, err := taxonomyfile.Parse("catalogue.yaml", Default)
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
	if len(f.Themes) != 8 || topics != 51 || reasons != 199 || len(f.Services) != 34 || f.Version.Value != 3 {
		t.Errorf("%d themes, %d topics, %d reasons, %d services, version %d", len(f.Themes), topics, reasons, len(f.Services), f.Version.Value)
	}
	depths := map[string]string{"PARTICULIER": "REASON", "EXPLOITANT": "REASON", "EMPLOYEUR": "TOPIC"}
	for _, a := range f.Audiences {
		if depths[a.Code.Word] != a.Depth.Word {
			t.Errorf("%s chooses down to %s", a.Code.Word, a.Depth.Word)
		}
	}
}

// sound is a small file without faults.
var sound = readSound()

func readSound() string {
	content, err := os.ReadFile("taxonomyfile/testdata/sound.yaml")
	if err != nil {
		panic(err)
	}
	return string(content)
}

// many are so many words.
func many(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("mot%d", i))
	}
	return strings.Join(list, ", ")
}

// What was published under other rules is served, short of what has no meaning.
func TestRead_OtherRules(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, old, new string
		served         bool
	}{
		{"a key of tomorrow", "label: Famille", "label: Famille\n    colour: blue", true},
		{"a label too long by today's rule", "label: Famille", "label: " + strings.Repeat("é", 201), true},
		{"nothing for what is in none of the others", "code: autre, label: Autre}\n  - code", "code: reste, label: Reste}\n  - code", true},
		{"more synonyms than today", "themes:", "synonyms: [[" + many(41) + "], []]\nthemes:", true},
		{"a service that is gone", "services: [payer]\n", "services: [gone]\n", true},
		{"an audience of tomorrow", "code: EMPLOYEUR,", "code: RETRAITE,", false},
		{"a depth of tomorrow", "depth: TOPIC", "depth: DETAIL", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			content := []byte(strings.Replace(sound, test.old, test.new, 1))
			if _, err := taxonomyfile.Parse("f.yaml", content); err == nil {
				t.Fatal("not a fault under today's rules")
			}
			f, err := taxonomyfile.Read(content)
			if (err == nil) != test.served {
				t.Fatalf("got %v", err)
			}
			if test.served && len(newCatalogue(f, testTime).answers[taxonomypb.Audience_PARTICULIER].GetThemes()) != 2 {
				t.Error("themes are missing")
			}
		})
	}
}

func faultsOf(t *testing.T, err error) taxonomyfile.Faults {
	t.Helper()
	var faults taxonomyfile.Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("not faults: %v", err)
	}
	return faults
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sound))
	f.Add(Default)
	for _, seed := range []string{"\ufeff" + sound, strings.ReplaceAll(sound, " ", "\u00a0"), strings.ReplaceAll(sound, "\n", "\r\n"), "a:\t\u200b[{\u3000'", "themes: [~, *x]\n", "\x00", "- &a [*a]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		parsed, err := taxonomyfile.Parse("f.yaml", content)
		if err == nil {
			newCatalogue(parsed, testTime)
		} else {
			for _, fault := range faultsOf(t, err) {
				if fault.Line < 1 || fault.Column < 1 || fault.Code == "" || fault.Text == "" || fault.Hint == "" {
					t.Errorf("a fault without its place, code or words: %v", fault)
				}
			}
		}
		if stored, err := taxonomyfile.Read(content); err == nil {
			newCatalogue(stored, testTime)
		}
	})
}

// An audience is told how long is kept what it can choose, as far as the file says.
func TestRetention(t *testing.T) {
	t.Parallel()
	content := strings.NewReplacer("label: Famille", "label: Famille\n    retention: 10", "label: Montant", "label: Montant, retention: 1",
		"label: Compte", "label: Compte\n        retention: 30", "label: Siège", "label: Siège, retention: 6").Replace(sound)
	f, err := taxonomyfile.Parse("f.yaml", []byte(content))
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
	f, err := taxonomyfile.Parse("f.yaml", []byte(sound))
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
	published := map[int32]string{
		1: "501caf2dcb5e90bc97de5fe7b12bdc9a13d3d4656cd6ec4734c04ba705afd806",
		2: "1f943b7d82e09cb8ef5f641dc940b402157a1c90b7e507891b0312d3470c31a3",
		3: "13ba0cceda0610ba0915d7690a634427e954958dc647214826d8e8cc585a21ff",
	}
	f, err := taxonomyfile.Parse("catalogue.yaml", Default)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(Default)); got != published[f.Version.Value] {
		t.Errorf("catalogue.yaml of version %d is %s, not %q: raise `version`, even for a comment, and note the new sum here", f.Version.Value, got, published[f.Version.Value])
	}
}

func TestDefault_NoServiceIsForgotten(t *testing.T) {
	t.Parallel()
	f, err := taxonomyfile.Parse("catalogue.yaml", Default)
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
		if !offered[s.Code.Word] {
			t.Errorf("%s is never proposed", s.Code.Word)
		}
	}
}
