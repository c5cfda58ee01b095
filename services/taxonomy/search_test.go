package taxonomy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

const (
	particulier = taxonomypb.Audience_PARTICULIER
	exploitant  = taxonomypb.Audience_EXPLOITANT
	employeur   = taxonomypb.Audience_EMPLOYEUR
)

// path is a selection as its codes, with ~ behind those that are only near.
func path(r *taxonomypb.FoundReason) string {
	path := r.GetTheme().GetCode()
	if r.GetTopic() != nil {
		path += "/" + r.GetTopic().GetCode()
	}
	if r.GetReason() != nil {
		path += "/" + r.GetReason().GetCode()
	}
	if r.GetNear() {
		path += "~"
	}
	return path
}

// outline writes down what was found: codes of the selections | of the services.
func outline(resp *taxonomypb.SearchReasonsResponse) string {
	var reasons, services []string
	for _, r := range resp.GetReasons() {
		reasons = append(reasons, path(r))
	}
	for _, s := range resp.GetServices() {
		services = append(services, s.GetCode())
	}
	return strings.Join(reasons, " ") + " | " + strings.Join(services, " ")
}

// What is asked in the words of the taxonomy, or in others for the same, or misspelt, comes first.
func TestSearchReasons(t *testing.T) {
	t.Parallel()
	s, err := run(t, testenv.Postgres(t, nil), "")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		audience taxonomypb.Audience
		q        string
		first    string
		service  string // among those found; empty: any
	}{
		{"a typing error", particulier, "demenagment", "compte-demarches/coordonnees/adresse", "changement-situation"},
		{"a plural", particulier, "paiements", "famille-logement/allocations-familiales/paiement-absent", "mes-remboursements"},
		{"words in any order", particulier, "perte carte vitale", "sante/carte-vitale/perte-vol", "carte-vitale"},
		{"a sentence", particulier, "Bonjour, j’ai perdu ma carte vitale, que dois-je faire ? Merci", "sante/carte-vitale/perte-vol", "carte-vitale"},
		{"an abbreviation", particulier, "rib", "compte-demarches/coordonnees/rib", "mes-coordonnees"},
		{"an abbreviation with points", particulier, "R.I.B.", "compte-demarches/coordonnees/rib", "mes-coordonnees"},
		{"a synonym of several words", particulier, "mot de passe oublié", "compte-demarches/acces/technique", ""},
		{"accents where there are none, decomposed", particulier, "E\u0301CHE\u0301ANCI\u0308ER", "solidarite/trop-percu/echeancier", ""},
		{"the beginning of words", particulier, "matern assist", "famille-logement/garde/changement", ""},
		{"a word that is not finished", particulier, "déména", "famille-logement/aides-logement/demenagement", ""},
		{"an apostrophe that is missing", particulier, "lattestation de droits", "sante/droits/attestation", "attestation-droits"},
		{"as it sounds", particulier, "jé perdu ma carte vital", "sante/carte-vitale/perte-vol", "carte-vitale"},
		{"written together", particulier, "cartevitale volee", "sante/carte-vitale/perte-vol", ""},
		{"written apart", exploitant, "télé règlement", "exploitation/appels/moyen-paiement", "telereglement"},
		{"an old name", particulier, "CMU", "sante/complementaire/demande", "complementaire-sante"},
		{"English", particulier, "I lost my health card", "sante/carte-vitale/perte-vol", "carte-vitale"},
		{"what is not being paid", particulier, "je n’ai toujours pas reçu mes allocations", "famille-logement/allocations-familiales/paiement-absent", ""},
		{"one word of two", particulier, "echeancier zzz", "solidarite/trop-percu/echeancier", ""},
		{"thanks alone", particulier, "merci", "compte-demarches/reclamation/merci", ""},
		{"an employer's last level by a reason below it", employeur, "fiche de paie", "employeur/tesa", "tesa"},
		{"an employer's topic", employeur, "d'accident d’un SALARIÉ", "employeur/accident-arret", "at-salarie"},
		{"what an employer calls their account", employeur, "rib", "compte-demarches/coordonnees", ""},
		{"a service by its name", exploitant, "moduler mes appels", "exploitation/difficultes/moduler", "moduler-appels"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp, err := s.SearchReasons(t.Context(), &taxonomypb.SearchReasonsRequest{Audience: tt.audience, Q: tt.q})
			if err != nil {
				t.Fatal(err)
			}
			if len(resp.GetReasons()) == 0 || path(resp.GetReasons()[0]) != tt.first {
				t.Errorf("%q:\n got %s\nwant %s", tt.q, explain(resp, 5), tt.first)
			}
			if tt.service != "" && !slices.ContainsFunc(resp.GetServices(), func(s *taxonomypb.OnlineService) bool { return s.GetCode() == tt.service }) {
				t.Errorf("%q: %s, want %s", tt.q, outline(resp), tt.service)
			}
			for _, r := range resp.GetReasons() {
				if (r.GetReason() == nil) != (tt.audience == employeur) {
					t.Errorf("%q: %s is not as deep as the audience chooses", tt.q, path(r))
				}
			}
		})
	}
}

// Where nothing fits there are the choices for what is nowhere else, and behind what fits there is
// the one beside it.
func TestSearch_Near(t *testing.T) {
	t.Parallel()
	c := builtIn(t)
	themes := "famille-logement/autre/autre~ solidarite/autre/autre~ sante/autre/autre~ arrets-accidents/autre/autre~ retraite/autre/autre~"
	for _, tt := range []struct {
		audience taxonomypb.Audience
		q, want  string
	}{
		{particulier, "zzz", themes + " compte-demarches/autre/autre~ | "},
		{exploitant, "年金", themes + " exploitation/autre/autre~ compte-demarches/autre/autre~ | "},
		{employeur, "q", "employeur/autre~ compte-demarches/autre~ | "},
		{particulier, "de la", themes + " compte-demarches/autre/autre~ | "},
		{particulier, "2042", themes + " compte-demarches/autre/autre~ | "},
		{particulier, "'’ … !", " | "},
		{particulier, "😀", " | "},
		{particulier, "\u0301", " | "}, // an accent without its letter
		{particulier, "caution", "famille-logement/aides-logement/autre | "},
		{particulier, "médiateur", "compte-demarches/reclamation/mediation compte-demarches/reclamation/sans-reponse compte-demarches/reclamation/desaccord " +
			"compte-demarches/reclamation/merci compte-demarches/reclamation/autre | "},
		{employeur, "Tesa", "employeur/tesa employeur/autre~ | tesa"},
	} {
		if got := outline(c.finder.search(tt.audience, tt.q)); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.q, got, tt.want)
		}
	}
	for _, r := range c.finder.search(particulier, "mon cheval de course a gagné le tiercé à Vincennes hier soir").GetReasons() {
		if !r.GetNear() {
			t.Errorf("%s is taken for an answer", path(r))
		}
	}
}

// Each answer says what of the question was found in it, and where.
func TestSearch_Matches(t *testing.T) {
	t.Parallel()
	c := builtIn(t)
	for _, tt := range []struct {
		audience taxonomypb.Audience
		q        string
		want     []*taxonomypb.Match
	}{
		{particulier, " rib ", []*taxonomypb.Match{{Typed: "rib", Found: "RIB", Level: taxonomypb.Depth_REASON}}},
		{particulier, "carte vitale VOLEE", []*taxonomypb.Match{
			{Typed: "VOLEE", Found: "volée", Level: taxonomypb.Depth_REASON},
			{Typed: "vitale", Found: "perdu ma carte vitale", Level: taxonomypb.Depth_REASON},
			{Typed: "carte", Found: "Carte", Level: taxonomypb.Depth_REASON},
		}},
		{employeur, "dpae", []*taxonomypb.Match{{Typed: "dpae", Found: "DPAE", Level: taxonomypb.Depth_TOPIC}}},
	} {
		got := c.finder.search(tt.audience, tt.q).GetReasons()[0]
		if diff := cmp.Diff(tt.want, got.GetMatches(), protocmp.Transform()); diff != "" {
			t.Errorf("%q: %s\n%s", tt.q, path(got), diff)
		}
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
		{"an audience that the taxonomy does not serve", exploitant, "x", codes.InvalidArgument},
		{"nothing typed", particulier, "", codes.InvalidArgument},
		{"100 characters of four bytes", particulier, strings.Repeat("😀", 100), codes.OK},
		{"101 characters", particulier, strings.Repeat("x", 101), codes.InvalidArgument},
	}
	for _, tt := range tests {
		_, err := s.SearchReasons(t.Context(), &taxonomypb.SearchReasonsRequest{Audience: tt.audience, Q: tt.q})
		if status.Code(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// What is found carries its labels, but not the levels below; an audience finds what it sees, as
// deep as it chooses.
func TestSearch_Content(t *testing.T) {
	t.Parallel()
	f, err := taxonomyfile.Parse("f.yaml", []byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	found := newCatalogue(f, testTime).finder.search(employeur, "commun compte").GetReasons()[0]
	if found.GetTheme().GetLabel() != "Commun" || found.GetTheme().GetTopics() != nil ||
		found.GetTopic().GetLabel() != "Compte" || found.GetTopic().GetReasons() != nil || found.GetReason() != nil {
		t.Errorf("found %v", found)
	}
	if got := outline(newCatalogue(f, testTime).finder.search(employeur, "siège")); !strings.HasPrefix(got, "commun/compte ") {
		t.Errorf("by a reason of the employer: %s", got)
	}
	for _, hidden := range []string{"adresse", "famille"} {
		if found := newCatalogue(f, testTime).finder.search(employeur, hidden).GetReasons()[0]; !found.GetNear() {
			t.Errorf("an employer finds %s by %q", path(found), hidden)
		}
	}
	if got := newCatalogue(f, testTime).finder.search(employeur, "embaucher").GetServices(); len(got) != 1 || got[0].GetUrl() != "http://127.0.0.1:8080/x" || !got[0].GetExternal() {
		t.Errorf("found %v", got)
	}
	f.Audiences[1].Depth.Word = "THEME"
	if got := outline(newCatalogue(f, testTime).finder.search(employeur, "compte")); !strings.HasPrefix(got, "commun ") {
		t.Errorf("of themes: %s", got)
	}
}

// A version from before there were choices for all that is nowhere else is searched too.
func TestSearch_WithoutOthers(t *testing.T) {
	t.Parallel()
	f, err := taxonomyfile.Read([]byte(strings.NewReplacer("code: autre", "code: reste").Replace(sound)))
	if err != nil {
		t.Fatal(err)
	}
	c := newCatalogue(f, testTime)
	if got := outline(c.finder.search(particulier, "zzz")); got != "famille/aides/absent~ commun/compte/adresse~ | " {
		t.Error(got)
	}
	if got := outline(c.finder.search(employeur, "zzz")); got != "commun/compte~ | " {
		t.Error(got)
	}
}

// Of more than fit, the best are given, those with equal claim in display order, and one place is
// kept for the choice for all that is nowhere else.
func TestSearch_AtMost(t *testing.T) {
	t.Parallel()
	var topics strings.Builder
	for i := range maxFoundReasons + 5 {
		fmt.Fprintf(&topics, "      - {code: spread-%d, label: Logement, audiences: [EMPLOYEUR]}\n", i)
	}
	var services strings.Builder
	for i := range maxFoundServices + 2 {
		fmt.Fprintf(&services, "  - {code: s%d, name: Aides au logement, url: \"https://example.org/\", audiences: [EMPLOYEUR]}\n", i)
	}
	f, err := taxonomyfile.Read([]byte(strings.Replace(sound, "themes:\n", services.String()+"themes:\n", 1) + topics.String()))
	if err != nil {
		t.Fatal(err)
	}
	resp := newCatalogue(f, testTime).finder.search(employeur, "logement")
	var got []string
	for _, r := range resp.GetReasons() {
		got = append(got, r.GetTopic().GetCode())
	}
	if len(got) != maxFoundReasons || !slices.Equal(got[:3], []string{"spread-0", "spread-1", "spread-2"}) || got[len(got)-1] != taxonomyfile.Other {
		t.Errorf("%d selections: %v", len(got), got)
	}
	if found := resp.GetServices(); len(found) != maxFoundServices || found[9].GetCode() != "s9" {
		t.Errorf("%d services: %v", len(found), found)
	}
}

// With a letter in it, a question has an answer, and the same one each time.
func FuzzSearch(f *testing.F) {
	c := builtIn(f)
	for _, q := range []string{"rib", "j’ai perdu ma carte vitale", "''d''", "A.P.L. a.b", "E\u0301tat", "😀", "\xff", "Ωμέγα 年金", "qu'", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"} {
		for audience := range taxonomypb.Audience_name {
			f.Add(audience, q)
		}
	}
	f.Fuzz(func(t *testing.T, number int32, q string) {
		audience := taxonomypb.Audience(number)
		if c.answers[audience] == nil {
			return
		}
		resp := c.finder.search(audience, q)
		if letter := strings.ContainsFunc(q, unicode.IsLetter); letter && len(resp.GetReasons()) == 0 {
			t.Errorf("%s: nothing for %q", audience, q)
		}
		if len(resp.GetReasons()) > maxFoundReasons || len(resp.GetServices()) > maxFoundServices {
			t.Errorf("%s: %q finds %d", audience, q, len(resp.GetReasons()))
		}
		near := false
		for _, r := range resp.GetReasons() {
			if near && !r.GetNear() {
				t.Errorf("%q: %s is behind what is only near", q, path(r))
			}
			near = r.GetNear()
		}
		if again := c.finder.search(audience, q); !proto.Equal(resp, again) {
			t.Errorf("%q: %s, then %s", q, outline(resp), outline(again))
		}
	})
}
