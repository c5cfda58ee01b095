package taxonomy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

func TestWords(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, label, query string }{
		{"", "", ""},
		{" \t!?…—", "", ""},
		{"Séparation, PENSION (isolé)", "separation pension isole", "separation pension isole"},
		{"E\u0301tranger E\u0301te\u0301", "etranger ete", "etranger ete"}, // decomposed, as macOS pastes it
		{"\u0301", "", ""}, // an accent without its letter
		{"Trop-perçu", "trop percu", "trop percu"},
		{"Cœur, ŒUVRE, curriculum vitæ", "coeur oeuvre curriculum vitae", "coeur oeuvre curriculum vitae"},
		{"d'accident", "d accident", "accident"},
		{"L’ARRÊT", "l arret", "arret"},
		{"qu\u02bcune jusqu'à", "qu une jusqu a", "une a"},
		{"aujourd'hui", "aujourd hui", "aujourd hui"},
		{"d'", "d", "d"},
		{"accident d' ", "accident d", "accident d"},
		{"''d''", "d", "d"},
		{"l d x", "l d x", "l d x"},
		{"48 h, 8 jours", "48 h 8 jours", "48 h 8 jours"},
		{"alloca\u00adtion\u200b", "allocation", "allocation"}, // soft hyphen, zero-width space
		{"Ωμέγα 年金 😀x", "ωμεγα 年金 x", "ωμεγα 年金 x"},
	}
	for _, tt := range tests {
		if got := strings.Join(words(tt.text), " "); got != tt.label {
			t.Errorf("label %q: %q, want %q", tt.text, got, tt.label)
		}
		if got := strings.Join(queryWords(tt.text), " "); got != tt.query {
			t.Errorf("query %q: %q, want %q", tt.text, got, tt.query)
		}
	}
}

// outline writes down what was found: codes of the selections | of the services.
func outline(resp *taxonomypb.SearchReasonsResponse) string {
	var reasons, services []string
	for _, r := range resp.GetReasons() {
		path := r.GetTheme().GetCode()
		if r.GetTopic() != nil {
			path += "/" + r.GetTopic().GetCode()
		}
		if r.GetReason() != nil {
			path += "/" + r.GetReason().GetCode()
		}
		reasons = append(reasons, path)
	}
	for _, s := range resp.GetServices() {
		services = append(services, s.GetCode())
	}
	return strings.Join(reasons, " ") + " | " + strings.Join(services, " ")
}

func TestSearchReasons(t *testing.T) {
	t.Parallel()
	s, err := run(t, testenv.Postgres(t, nil), "")
	if err != nil {
		t.Fatal(err)
	}
	const (
		particulier = taxonomypb.Audience_PARTICULIER
		exploitant  = taxonomypb.Audience_EXPLOITANT
		employeur   = taxonomypb.Audience_EMPLOYEUR
	)
	tests := []struct {
		name     string
		audience taxonomypb.Audience
		q, want  string
	}{
		{"a label with accents, without them", particulier, "echeancier", "solidarite/trop-percu/echeancier | "},
		{"accents where there are none", particulier, "échèancïer", "solidarite/trop-percu/echeancier | "},
		{"upper case, decomposed", particulier, "E\u0301CHE\u0301ANCIER", "solidarite/trop-percu/echeancier | "},
		{"the beginning of each word, in any order", particulier, "  matern   assist ", "famille-logement/garde/changement | "},
		{"not the middle of a word", particulier, "cheancier", " | "},
		{"more than the word", particulier, "echeanciers", " | "},
		{"no match", particulier, "zzz", " | "},
		{"one word of two", particulier, "echeancier zzz", " | "},
		{"no word at all", particulier, "'’ … !", " | "},
		{"four bytes", particulier, "😀", " | "},
		{"an elided article that no label has", particulier, "l’arrêt maladie d'indemnité", "arrets-accidents/arret-maladie/paiement | "},
		{"words over three levels", particulier, "handicap solidarite decision", "solidarite/handicap/decision | "},
		{
			"all words in the reason before the words over levels", particulier, "demande retraite",
			"retraite/deces-reversion/reversion retraite/preparer/entretien retraite/demande/deposer retraite/demande/suivi retraite/demande/piece retraite/demande/cessation | demander-retraite",
		},
		{"a service by its name", exploitant, "moduler", "exploitation/difficultes/moduler | moduler-appels"},
		{"a service that is open to others alone", particulier, "moduler", " | "},
		{"the topic is an employer's deepest", employeur, "accident", "employeur/accident-arret | at-salarie"},
		{"elided words of an employer", employeur, "d'accident d’un SALARIÉ", "employeur/accident-arret | at-salarie"},
		{
			"topic before theme", employeur, "documents",
			"compte-demarches/documents compte-demarches/coordonnees compte-demarches/acces compte-demarches/reclamation compte-demarches/donnees | mes-documents",
		},
		{"a reason is below an employer's depth", employeur, "bulletin", " | "},
		{"another audience's reason", employeur, "echeancier", " | "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp, err := s.SearchReasons(t.Context(), &taxonomypb.SearchReasonsRequest{Audience: tt.audience, Q: tt.q})
			if err != nil {
				t.Fatal(err)
			}
			if got := outline(resp); got != tt.want {
				t.Errorf("%q:\n got %s\nwant %s", tt.q, got, tt.want)
			}
		})
	}
}

func TestSearchReasons_Bounds(t *testing.T) {
	t.Parallel()
	s, err := run(t, testenv.Postgres(t, nil), sound)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		audience taxonomypb.Audience
		q        string
		want     codes.Code
	}{
		{"no audience", 0, "x", codes.InvalidArgument},
		{"an audience that the taxonomy does not serve", taxonomypb.Audience_EXPLOITANT, "x", codes.InvalidArgument},
		{"nothing typed", taxonomypb.Audience_PARTICULIER, "", codes.InvalidArgument},
		{"100 characters of four bytes", taxonomypb.Audience_PARTICULIER, strings.Repeat("😀", 100), codes.OK},
		{"101 characters", taxonomypb.Audience_PARTICULIER, strings.Repeat("x", 101), codes.InvalidArgument},
	}
	for _, tt := range tests {
		_, err := s.SearchReasons(t.Context(), &taxonomypb.SearchReasonsRequest{Audience: tt.audience, Q: tt.q})
		if status.Code(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// What is found carries its labels, but not the levels below.
func TestSearch_Content(t *testing.T) {
	t.Parallel()
	f, err := parse("f.yaml", []byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	c := newCatalogue(f, testTime)
	resp := c.indexes[taxonomypb.Audience_EMPLOYEUR].search(queryWords("commun compte"))
	if len(resp.GetReasons()) != 1 {
		t.Fatalf("found %v", resp)
	}
	found := resp.GetReasons()[0]
	if found.GetTheme().GetLabel() != "Commun" || found.GetTheme().GetTopics() != nil ||
		found.GetTopic().GetLabel() != "Compte" || found.GetTopic().GetReasons() != nil || found.GetReason() != nil {
		t.Errorf("found %v", found)
	}
	f.Audiences[1].Depth.word = "THEME"
	resp = newCatalogue(f, testTime).indexes[taxonomypb.Audience_EMPLOYEUR].search(queryWords("com"))
	if len(resp.GetReasons()) != 1 || resp.GetReasons()[0].GetTheme().GetCode() != "commun" || resp.GetReasons()[0].GetTopic() != nil {
		t.Errorf("found %v", resp)
	}
	resp = c.indexes[taxonomypb.Audience_EMPLOYEUR].search(queryWords("embaucher"))
	if len(resp.GetServices()) != 1 || resp.GetServices()[0].GetUrl() != "http://127.0.0.1:8080/x" || !resp.GetServices()[0].GetExternal() {
		t.Errorf("found %v", resp)
	}
}

// Of more than fit, the best are given, those with equal claim in display order.
func TestSearch_AtMost(t *testing.T) {
	t.Parallel()
	theme := &taxonomypb.Theme{Code: "t", Label: "Aides"}
	var services []*taxonomypb.OnlineService
	for i := range maxFoundReasons + 5 {
		theme.Topics = append(theme.Topics, &taxonomypb.Topic{Code: fmt.Sprintf("spread-%d", i), Label: "Logement"})
		services = append(services, &taxonomypb.OnlineService{Code: fmt.Sprint(i), Name: "Aides au logement"})
	}
	theme.Topics = append(theme.Topics, &taxonomypb.Topic{Code: "best", Label: "Logement, aides"})
	tree := &taxonomypb.GetTaxonomyResponse{Depth: taxonomypb.Depth_TOPIC, Themes: []*taxonomypb.Theme{theme}}
	resp := newIndex(tree, services).search(queryWords("aides logement"))
	var got []string
	for _, r := range resp.GetReasons() {
		got = append(got, r.GetTopic().GetCode())
	}
	if len(got) != maxFoundReasons || !slices.Equal(got[:3], []string{"best", "spread-0", "spread-1"}) {
		t.Errorf("%d selections: %v", len(got), got)
	}
	if found := resp.GetServices(); len(found) != maxFoundServices || found[9].GetCode() != "9" {
		t.Errorf("%d services: %v", len(found), found)
	}
}
