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

// searchPage is what was found.
type searchPage struct {
	Words    string
	Reasons  []*taxonomypb.FoundReason
	Services []*taxonomypb.OnlineService
}

func (v *visitor) search() error {
	page := searchPage{Words: strings.TrimSpace(v.R.FormValue("q"))}
	if page.Words == "" {
		return v.Redirect("/messagerie/nouveau")
	}
	resp, err := v.taxonomy.SearchReasons(v.Ctx, &taxonomypb.SearchReasonsRequest{Audience: v.Session.Audience, Q: firstCharacters(page.Words)})
	if err != nil {
		return err
	}
	page.Reasons, page.Services = resp.GetReasons(), resp.GetServices()
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
