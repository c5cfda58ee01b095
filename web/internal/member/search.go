package member

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// searchAt is the address of the search by words, which are posted and in no address, title or log.
const searchAt = "/messagerie/recherche"

// mostFound is how many reasons are shown: a right one is nearly always among the first three.
const mostFound = 8

// searchPage is what was found.
type searchPage struct {
	Words string
	// Said is how many there are.
	Said string
	// Reasons answer the question, Near are what is nearest and the choices for all else.
	Reasons, Near []*taxonomypb.FoundReason
	Services      []*taxonomypb.OnlineService
}

// search leads to what is found; a page's script, which asks while one types, gets it at once.
func (v *visitor) search() error {
	if v.R.PostForm.Has("choix") {
		return v.chooseFound()
	}
	words := strings.TrimSpace(v.R.PostFormValue("q"))
	if words == "" {
		return v.Redirect("/messagerie/nouveau")
	}
	if mode := v.R.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return v.showFoundFor(words)
	}
	to, err := v.Hidden(searchAt, url.Values{"q": {firstCharacters(words)}})
	if err != nil {
		return err
	}
	return v.Redirect(to)
}

func (v *visitor) showFound() error {
	form, ok := v.Revealed()
	if !ok {
		return v.Redirect("/messagerie/nouveau")
	}
	return v.showFoundFor(form.Get("q"))
}

func (v *visitor) showFoundFor(words string) error {
	resp, err := v.taxonomy.SearchReasons(v.Ctx, &taxonomypb.SearchReasonsRequest{Audience: v.Session.Audience, Q: firstCharacters(words)})
	if err != nil {
		return err
	}
	page := searchPage{Words: words, Services: resp.GetServices()}
	for _, r := range resp.GetReasons() {
		if r.GetNear() {
			page.Near = append(page.Near, r)
		} else if len(page.Reasons) < mostFound {
			page.Reasons = append(page.Reasons, r)
		}
	}
	switch n := len(page.Reasons); {
	case n == 0 && page.Near == nil: // there is no word in it
		page.Said = v.Tr("Aucun motif ne correspond.", "No reason matches.")
	case n == 0:
		page.Said = v.Tr("Aucun motif ne correspond tout à fait. Voici les plus proches.", "No reason matches exactly. These are the nearest.")
	case n == 1:
		page.Said = v.Tr("Un motif trouvé.", "One reason found.")
	default:
		page.Said = v.Tr("%d motifs trouvés.", "%d reasons found.", n)
	}
	return v.Show(http.StatusOK, "search", page)
}

// chooseFound begins a message with a selection that was found by words.
func (v *visitor) chooseFound() error {
	tree, err := v.tree()
	if err != nil {
		return err
	}
	chosen, err := url.ParseQuery(v.R.PostFormValue("choix"))
	if err != nil {
		return refusal.ErrNoPage
	}
	d := writing.New(&messagingpb.Draft{Id: uuid.NewString(), Theme: chosen.Get("t"), Topic: chosen.Get("s"), Reason: chosen.Get("m")}, tree)
	if d.GetTheme() == "" {
		return refusal.ErrNoPage
	}
	if err := v.save(d); err != nil {
		return err
	}
	if missing := d.Missing(writing.Text); missing != "" {
		return v.Redirect(d.Path(missing))
	}
	return v.propose(d, writing.Text)
}
