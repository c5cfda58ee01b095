package words

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{" \t!?…—", ""},
		{"Séparation, PENSION (isolé)", "separation pension isole"},
		{"E\u0301tranger E\u0301te\u0301", "etranger ete"}, // decomposed, as macOS pastes it
		{"\u0301", ""}, // an accent without its letter
		{"Trop-perçu", "trop percu"},
		{"Cœur, ŒUVRE, curriculum vitæ", "coeur oeuvre curriculum vitae"},
		{"d'accident", "accident"},
		{"L’ARRÊT", "arret"},
		{"qu\u02bcune jusqu'à", "une a"},
		{"aujourd'hui", "aujourd hui"},
		{"d'", "d"},
		{"accident d' ", "accident d"},
		{"''d''", "d"},
		{"48 h, 8 jours", "48 h 8 jours"},
		{"A.P.L. et r.s.a", "apl et rsa"},
		{"a. b", "a b"},
		{"fin.d", "fin d"},
		{"alloca\u00adtion\u200b", "allocation"}, // soft hyphen, zero-width space
		{"Ωμέγα 年金 😀x", "ωμεγα 年金 x"},
		{"\xff\xfebon", "bon"},
		{strings.Repeat("é", longest), strings.Repeat("e", longest/2)},
	} {
		if got := strings.Join(Split(tt.text), " "); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}

// What is left of a question is what it is about.
func TestContent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"Bonjour, comment puis-je obtenir une attestation ?", "attestation"},
		{"l'A.P.L. de ma fille, svp", "apl fille"},
		{"48 h", "48 h"},
		{"rib RIB", "rib rib"},
	} {
		if got := strings.Join(Content(tt.text), " "); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}

// Forms of one word have one stem, with accents and without; words of other meanings have others.
func TestStem(t *testing.T) {
	t.Parallel()
	for _, family := range [][]string{
		{"déclarer", "declarer", "déclarée", "déclaration", "declare"},
		{"payer", "payé", "payée", "paiement", "paiements", "paye"},
		{"déménager", "déménagé", "déménagement", "demenage"},
		{"remboursement", "remboursé", "remboursée", "rembourser"},
		{"perdu", "perdue", "perdus"},
		{"volé", "volée", "vol"},
		{"retraite", "retraites", "retraité"},
	} {
		for _, form := range family {
			if got, want := stemOf(Fold(form)), stemOf(Fold(family[0])); got != want {
				t.Errorf("%s: %s, %s: %s", form, got, family[0], want)
			}
		}
	}
	for _, pair := range [][2]string{{"retraite", "retrait"}, {"caisse", "cas"}, {"年金", "年"}} {
		if stemOf(pair[0]) == stemOf(pair[1]) && pair[0] != "retraite" {
			t.Errorf("%s is %s", pair[0], pair[1])
		}
	}
}

func TestSound(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{
		{"retraite", "retrete"},
		{"complementaire", "komplementaire"},
		{"solidaire", "solidere"},
		{"attestation", "atestassion"},
		{"pharmacie", "farmacie"},
		{"allocations", "alocassion"},
		{"hopital", "opital"},
		{"cotisation", "kotisation"},
	} {
		if a, b := soundOf(pair[0]), soundOf(pair[1]); a != b || a == "" {
			t.Errorf("%s: %q, %s: %q", pair[0], a, pair[1], b)
		}
	}
	for _, pair := range [][2]string{{"carte", "carotte"}, {"maison", "raison"}, {"conge", "gange"}} {
		if a := soundOf(pair[0]); a == soundOf(pair[1]) && a != "" {
			t.Errorf("%s and %s: %q", pair[0], pair[1], a)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		most int
		want int
	}{
		{"paiement", "paiement", 2, 0},
		{"paiment", "paiement", 2, 1},
		{"paiemment", "paiement", 2, 1},
		{"paiemant", "paiement", 2, 1},
		{"piaement", "paiement", 2, 1}, // neighbours swapped
		{"demenagment", "demenagement", 1, 1},
		{"pament", "paiement", 2, 2},
		{"abc", "xyz", 2, 3},
		{"abc", "abcdef", 2, 3},
		{strings.Repeat("a", 64), strings.Repeat("a", 64), 2, 3}, // too long to be compared
	} {
		if got := distance(tt.a, tt.b, tt.most); got != tt.want || got != distance(tt.b, tt.a, tt.most) {
			t.Errorf("%s, %s: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// tree is a small one: two topics of a theme, with reasons; the second view sees the topics alone.
func tree() *Index {
	label := func(text string, seen Views) []Text { return []Text{{Text: text, Weight: 1, Label: true, Seen: seen}} }
	both, first, second := View(0)|View(1), View(0), View(1)
	keyword := func(text string, seen Views) Text { return Text{Text: text, Weight: 0.85, Seen: seen} }
	return New([]Node{
		{Parent: -1, Texts: label("Santé", both)},                                                                    // 0
		{Parent: 0, Leaf: second, Texts: append(label("Carte Vitale", both), keyword("perdue", second))},             // 1
		{Parent: 1, Leaf: first, Texts: append(label("Carte perdue ou volée", first), keyword("opposition", first))}, // 2
		{Parent: 1, Leaf: first, Texts: label("Première carte", first)},                                              // 3
		{Parent: 1, Leaf: first, Last: true, Texts: label("Autre question", first)},                                  // 4
		{Parent: 0, Leaf: second, Texts: label("Remboursements de soins", both)},                                     // 5
		{Parent: 5, Leaf: first, Texts: label("Un paiement n’est pas arrivé", first)},                                // 6
		{Parent: 5, Leaf: first, Last: true, Texts: append(label("Autre question", first), keyword("code secret", first))},
	}, [][]string{{"pas arrivé", "pas reçu", "toujours rien"}, {"mot de passe", "code secret"}, {"paiement", "sous", "virement"}, {"où en est", "suivi"}})
}

func places(hits []Hit) string {
	var list []string
	for _, h := range hits {
		list = append(list, fmt.Sprint(h.Node))
	}
	return strings.Join(list, " ")
}

func TestSearch(t *testing.T) {
	t.Parallel()
	x := tree()
	for _, tt := range []struct {
		name, q string
		view    int
		want    string // the first, or all in order
	}{
		{"the entry before what is beside it", "carte volée", 0, "2"},
		{"what is above, in the order of the tree, the last one last", "vitale", 0, "2 3 4"},
		{"another form", "perdus", 0, "2"},
		{"a keyword", "faire opposition", 0, "2"},
		{"the first letters", "oppo", 0, "2"},
		{"the first letters, one of them wrong, of a long word", "remborsem", 0, "6 7"},
		{"not the first letters of a word that is over", "ma op ", 0, ""},
		{"a letter too few", "opositon", 0, "2"},
		{"an article without its apostrophe", "lopposition", 0, "2"},
		{"two words in one", "cartevolee", 0, "2"},
		{"one word in two", "oppo sition", 0, "2"},
		{"a synonym", "virement", 0, "6"},
		{"a synonym of several words, with others between", "je n’ai pas encore reçu", 0, "6"},
		{"a synonym of several words, the small one missing", "mot passe", 0, "7"},
		{"half a synonym of several words", "passe", 0, ""},
		{"nothing", "zzz", 0, ""},
		{"nothing but small words", "de la", 0, ""},
		{"numbers", "12 2026", 0, ""},
		{"a view as deep as it is", "carte perdue", 1, "1"},
		{"a view does not find what it does not see", "opposition", 1, ""},
		{"no view", "carte", 2, ""},
		{"no view at all", "carte", -1, ""},
	} {
		got := places(x.Search(tt.q, tt.view, 10))
		if len(tt.want) == 1 {
			got, _, _ = strings.Cut(got, " ")
		}
		if got != tt.want {
			t.Errorf("%s: %q finds %q, want %q", tt.name, tt.q, got, tt.want)
		}
	}
	if got := places(x.Search("carte", 0, 2)); len(strings.Fields(got)) != 2 {
		t.Errorf("of two at most: %s", got)
	}
}

// Strength is the share of a question that an entry answers.
func TestSearch_Strength(t *testing.T) {
	t.Parallel()
	x := tree()
	whole, half := x.Search("carte volée", 0, 1)[0].Strength, x.Search("carte volée hippopotame girafe crocodile", 0, 1)[0].Strength
	if whole != 1 || half < 0.1 || half > 0.5 {
		t.Errorf("whole %v, half %v", whole, half)
	}
}

func TestSearch_Why(t *testing.T) {
	t.Parallel()
	x := tree()
	for q, want := range map[string]string{
		"Ma carte VITALE Volées": "[{Volées volée 2} {VITALE Vitale 1} {carte Carte 2}]",
		"oposition":              "[{oposition opposition 2}]",
		"toujours rien reçu":     "[{toujours rien pas arrivé 6}]",
		"des sous":               "[{sous paiement 6}]",
		"mot de passe":           "[{mot de passe code secret 7}]",
	} {
		if got := fmt.Sprint(x.Search(q, 0, 1)[0].Why); got != want {
			t.Errorf("%q: %s, want %s", q, got, want)
		}
	}
}

// However long a question, and however often its words are in the tree, as much is looked at as
// may be.
func TestSearch_Bounds(t *testing.T) {
	t.Parallel()
	nodes := []Node{{Parent: -1, Texts: []Text{{Text: "Tout", Weight: 1, Label: true, Seen: 1}}}}
	for i := range 5000 {
		nodes = append(nodes, Node{Parent: 0, Leaf: 1, Texts: []Text{{Text: fmt.Sprintf("carte perdue numéro%d", i), Weight: 1, Label: true, Seen: 1}}})
	}
	x := New(nodes, nil)
	var long strings.Builder
	for i := range 200 {
		fmt.Fprintf(&long, "numero%d carte ", i)
	}
	if units := x.parse(long.String(), x.idf[0]); len(units) > MaxWords {
		t.Errorf("%d units", len(units))
	}
	for _, q := range []string{"carte", "carte perdue", long.String(), "numero", "tout", strings.Repeat("n", 5000)} {
		if n := len(x.Search(q, 0, 1000)); n > mostRanked {
			t.Errorf("%.20q: %d are ranked", q, n)
		}
	}
	s, _ := x.scratches.Get().(*scratch)
	if cap(s.entries) > 4*mostNodes {
		t.Errorf("%d entries took part", cap(s.entries))
	}
	if got := places(x.Search("carte perdue numéro4711", 0, 1)); got != "4712" {
		t.Errorf("the rare word finds %s", got)
	}
}

func TestSearch_ManyAtOnce(t *testing.T) {
	t.Parallel()
	x := tree()
	want := fmt.Sprint(x.Search("carte volée", 0, 5))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				x.Search("pas reçu mes sous", 0, 5)
				if got := fmt.Sprint(x.Search("carte volée", 0, 5)); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
		})
	}
	all.Wait()
}

func TestNew_Nothing(t *testing.T) {
	t.Parallel()
	for _, nodes := range [][]Node{nil, {{Parent: -1, Leaf: 1}}} {
		if hits := New(nodes, [][]string{nil, {""}, {"…", "de la"}}).Search("carte", 0, 5); len(hits) != 0 {
			t.Errorf("%v finds %v", nodes, hits)
		}
	}
}
