// Package found is what a search by words has found, as pages show it to members who choose a
// reason and to agents who choose another.
package found

import (
	"context"
	"net/url"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

const (
	// most is how many reasons are shown: a right one is nearly always among the first three.
	most = 8
	// mostTyped is how many characters of the words are looked for.
	mostTyped = 100
)

// Reasons are those that were found by words.
type Reasons struct {
	Words string
	// Said is how many there are.
	Said string
	// Fit answer the question, Near are what is nearest and the choices for all else.
	Fit, Near []*taxonomypb.FoundReason
	Services  []*taxonomypb.OnlineService
}

// By searches by words, as far as these are looked for.
func By(ctx context.Context, client taxonomypb.TaxonomyServiceClient, p *render.Pages, audience taxonomypb.Audience, words string) (Reasons, error) {
	resp, err := client.SearchReasons(ctx, &taxonomypb.SearchReasonsRequest{Audience: audience, Q: First(words)})
	if err != nil {
		return Reasons{}, err
	}
	list := Reasons{Words: words, Services: resp.GetServices()}
	for _, r := range resp.GetReasons() {
		if r.GetNear() {
			list.Near = append(list.Near, r)
		} else if len(list.Fit) < most {
			list.Fit = append(list.Fit, r)
		}
	}
	switch n := len(list.Fit); {
	case n == 0 && list.Near == nil: // there is no word in it
		list.Said = p.Tr("Aucun motif ne correspond.", "No reason matches.")
	case n == 0:
		list.Said = p.Tr("Aucun motif ne correspond tout à fait. Voici les plus proches.", "No reason matches exactly. These are the nearest.")
	case n == 1:
		list.Said = p.Tr("Un motif trouvé.", "One reason found.")
	default:
		list.Said = p.Tr("%d motifs trouvés.", "%d reasons found.", n)
	}
	return list, nil
}

// First are the characters of words that are looked for.
func First(words string) string {
	characters := []rune(words)
	return string(characters[:min(len(characters), mostTyped)])
}

// Missing is about a search without words.
func Missing(p *render.Pages) render.Fault {
	return render.Fault{Field: "q", Text: p.Tr("Écrivez un mot ou une question.", "Enter a word or a question.")}
}

// Choice reads the value of a button that chooses what was found: theme, topic and reason, of
// which the later ones may be empty.
func Choice(value string) (theme, topic, reason string, ok bool) {
	chosen, err := url.ParseQuery(value)
	return chosen.Get("t"), chosen.Get("s"), chosen.Get("m"), err == nil && chosen.Get("t") != ""
}
